/* layout.h - what a Nexmark event looks like to tools and sinks. */
#ifndef WEIR_CONNECTORS_NEXMARK_LAYOUT_H
#define WEIR_CONNECTORS_NEXMARK_LAYOUT_H

#include "weir.h"

extern const struct weir_layout nexmark_layout;

#endif

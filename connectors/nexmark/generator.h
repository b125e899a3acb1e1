/*
 * generator.h - the events of Apache Beam's Nexmark generator, with its default configuration, field for field.
 *
 * Beam seeds a java.util.Random with the event's id, so an event is made from its id and its time alone: no state, any
 * order, any process. Of 50 events in a row the first is a person, the next three are auctions, the rest are bids.
 * Source of the algorithm: Beam's sdks/java/testing/nexmark, package sources.generator, and java.util.Random's
 * documentation. tests/data/nexmark_golden.tsv holds rows printed by Beam's own classes.
 *
 * One difference is possible in theory: a price is round(100 * 10^x), and where pow() of this C library and of the Java
 * machine differ in the last bit and the product lies within that bit of a half, the prices differ by one cent. It has
 * not been seen.
 */
#ifndef WEIR_CONNECTORS_NEXMARK_GENERATOR_H
#define WEIR_CONNECTORS_NEXMARK_GENERATOR_H

#include "weir.h"

/* What nexmark_event() may write: the struct, and the longest strings with the rest of the last word of eight bytes. */
#define NEXMARK_EVENT_BYTES_MAX 768
#define NEXMARK_EVENT_DELAY_MS 10 /* of event time, between one event and the next */
#define NEXMARK_BASE_TIME_MS INT64_C(1436918400000)

/* What kind the event of this id is. */
enum weir_nexmark_kind nexmark_event_kind(uint64_t event_id);

/* The most bytes that nexmark_event() writes for an event of this kind. */
size_t nexmark_event_bytes_max(enum weir_nexmark_kind kind);

/* Makes one event in `record`, aligned to 8 bytes and with room for nexmark_event_bytes_max(); returns its size. Every
 * byte of the record is defined. date_time_ms is the event's time: base time plus NEXMARK_EVENT_DELAY_MS times its
 * number, which counts from 0 at the first event id. event_id: below 2^63. Pure; any process; cannot fail. */
size_t nexmark_event(uint64_t event_id, int64_t date_time_ms, void *record);

#endif

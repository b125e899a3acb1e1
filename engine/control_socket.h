/* control_socket.h - what both ends of the control socket share: its address and the check of the peer. */
#ifndef WEIR_ENGINE_CONTROL_SOCKET_H
#define WEIR_ENGINE_CONTROL_SOCKET_H

#include "weir.h"

#include <sys/socket.h>
#include <sys/un.h>

/* DIR/control.sock by way of /proc/self/fd: a path of a few bytes however long DIR's is. */
socklen_t control_address(int directory_fd, struct sockaddr_un *ret_address);
/* Whether the process at the other end is root's, or of our own user. */
bool control_peer_is_trusted(int fd);

#endif

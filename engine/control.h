/*
 * control.h - the control socket of a running job: DIR/control.sock, a Unix stream socket, mode 0600.
 *
 * Protocol: one JSON object a line, in both directions, at most CONTROL_REQUEST_BYTES_MAX a request.
 *   request  {"command": "status", "args": {...}}         args may be left out
 *   answer   {"ok": true, ...}  or  {"ok": false, "code": "WEIR_EINVAL", "error": "..."}
 * A client may send one request after another on a connection; each is answered before the next is read.
 *
 * Commands (the coordinator's handler gives them their meaning):
 *   status                                             -> see docs/formats/control.md
 *   checkpoint                                         -> {"checkpoint": id, "duration_ms", "bytes"} once it is complete
 *   stop {"mode": "checkpoint" | "now"}                -> {"checkpoint": id or null} once the final checkpoint is complete
 *   kill {"operator": name, "subtask": index or null, "signal": number}  -> {"killed": [{"task": "count/0", "pid": n}]}
 *   arm {"list": as in WEIR_KILL}                      -> {"armed": list}; in builds with kill points
 *
 * The launcher makes the listening socket before the first fork, so that it outlives any one coordinator: requests made while
 * none runs wait in the backlog. The coordinator serves it from its poll loop. Only processes of the same user, or root, are
 * answered (SO_PEERCRED); the client demands the same of the server.
 */
#ifndef WEIR_ENGINE_CONTROL_H
#define WEIR_ENGINE_CONTROL_H

#include "weir.h"

#include <jansson.h>
#include <poll.h>

#define CONTROL_SOCKET_NAME "control.sock"
#define CONTROL_REQUEST_BYTES_MAX 65536
#define CONTROL_REPLY_BYTES_MAX (16u << 20)
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_IDLE_MS 30000 /* a client that neither sends nor takes a byte for so long is dropped, unless it waits for us */
#define CONTROL_POLL_FDS_MAX (CONTROL_CLIENTS_MAX + 1)

/* Launcher. Replaces a stale socket: the caller holds the directory's lock. Refuses a directory that others may write to
 * (WEIR_EPERM). The descriptor is non-blocking and close-on-exec. */
int control_listen(int directory_fd, int *ret_fd, struct weir_error *err);
/* Launcher, at the end of the job. */
void control_unlink(int directory_fd);

/* ---- server: the coordinator, single-threaded; never blocks ---- */

struct control_server;

/* Names a request that is still to be answered. Plain data: copy it to answer later. It stays safe to use when the client has
 * gone meanwhile (the answer is dropped), but not after control_server_free(). */
struct control_request {
    struct control_server *server;
    uint32_t slot;
    uint64_t serial;
};

/* Answers by control_reply() or control_reply_error(): within the call, or later from the same loop. `args` is an object (an
 * empty one where the client gave none), borrowed. `request` is the caller's: copy it to keep it. */
typedef void (*control_handler)(void *self, const struct control_request *request, const char *command,
                                const json_t *args);

/* listen_fd is borrowed: it is never closed here. */
int control_server_new(int listen_fd, control_handler handler, void *self, struct control_server **ret_server,
                       struct weir_error *err);
/* Drops all clients. Call it also in a process forked from the coordinator that does not serve. */
void control_server_free(struct control_server *server);

/* The loop: fill, poll, process. Fills at most capacity (best CONTROL_POLL_FDS_MAX) entries and returns how many. */
size_t control_server_fill(struct control_server *server, struct pollfd *fds, size_t capacity);
/* The longest time to wait in poll, -1: for ever. Then process must be called, to drop idle clients. */
int control_server_timeout_ms(const struct control_server *server);
/* `fds`: the entries that fill gave, after poll; calls the handler. */
void control_server_process(struct control_server *server, const struct pollfd *fds, size_t count);
/* Requests that the handler took and has not answered. */
size_t control_server_pending(const struct control_server *server);
/* Tries to hand out what is still buffered, for at most timeout_ms: at the end, before control_server_free(). */
void control_server_drain(struct control_server *server, int timeout_ms);

/* Steals `reply`, an object or NULL, and adds "ok": true. False: the client has gone. */
bool control_reply(const struct control_request *request, json_t *reply);
bool control_reply_error(const struct control_request *request, int code, const char *format, ...) WEIR_PRINTF(3, 4);
/* From an error trail. */
bool control_reply_failure(const struct control_request *request, const struct weir_error *failure);

/* ---- client: any process of the same user; blocks up to timeout_ms ---- */

/* Sends {"command": command, "args": args} (args NULL, or an object whose reference is stolen) to the job that runs on
 * `directory`. WEIR_ENOENT: no job runs there; WEIR_ETIMEOUT; else the code of the answer, with its text in err. *ret_reply
 * (NULL allowed) is to be json_decref'd. */
int control_call(const char *directory, const char *command, json_t *args, unsigned timeout_ms, json_t **ret_reply,
                 struct weir_error *err);
/* True where something listens. Takes no lock. */
bool control_is_served(const char *directory);
/* The process that listens: the job's launcher. WEIR_ENOENT: no job runs there. It may have ended by the time that it is looked at. */
int control_launcher(const char *directory, unsigned timeout_ms, pid_t *ret_pid, struct weir_error *err);
/* Waits until nothing listens any more: after `stop`. WEIR_ETIMEOUT. */
int control_wait_gone(const char *directory, unsigned timeout_ms, struct weir_error *err);

#endif

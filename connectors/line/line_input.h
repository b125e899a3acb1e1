/*
 * line_input.h - where the bytes of a line source come from: standard input, a Unix or a TCP connection.
 *
 * Reading never blocks; standard input is not switched to non-blocking for that (its open file is shared with the
 * user's terminal and shell): it is asked with poll(2) first.
 */
#ifndef WEIR_CONNECTORS_LINE_LINE_INPUT_H
#define WEIR_CONNECTORS_LINE_LINE_INPUT_H

#include "weir.h"

enum line_input_kind {
    LINE_INPUT_SOCKET, /* bytes that a dead process took in are lost with its connection */
    LINE_INPUT_PIPE,   /* can be moved into a file by the kernel, without passing through the process */
    LINE_INPUT_FILE,   /* standard input is a regular file; as a pipe */
    LINE_INPUT_OTHER   /* a terminal, a device */
};

struct line_input {
    int fd; /* -1: none */
    enum line_input_kind kind;
    bool is_own;       /* to be closed */
    uint64_t identity; /* the same number: the same pipe or file, so that its bytes go on where they stopped. 0: never
                          the same */
};

/* Checks "-", "unix:PATH" or "tcp:HOST:PORT" and connects. May block, up to 10 s for each address of the host. */
int line_input_open(struct weir_ctx *ctx, const char *address, struct line_input *ret_input);
void line_input_close(struct line_input *input);

/* Up to size_bytes at once. WEIR_OK and the count; WEIR_IDLE: nothing now; WEIR_END: the sender has closed. */
int line_input_read(struct weir_ctx *ctx, const struct line_input *input, void *buffer, size_t size_bytes,
                    size_t *ret_size_bytes);
/* The same from a pipe or file straight into `fd` at `offset`: bytes that are taken from the input are in the file
 * then, even if the process is killed in the middle. WEIR_EUNSUPPORTED: this input cannot (nothing was taken). */
int line_input_move(struct weir_ctx *ctx, const struct line_input *input, int fd, uint64_t offset, size_t size_bytes,
                    size_t *ret_size_bytes);

#endif

/*
 * fuzz_control.c - the server's side of the control socket takes anything that a client sends, in pieces of any size (the first byte says
 * of which). Every answer is one JSON object with "ok"; a request is answered once and in order; the server is usable afterwards.
 */
#include "engine/control.h"
#include "engine/control_socket.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void must(bool condition)
{
    if (!condition)
        abort();
}

struct handled {
    struct control_request later;
    bool has_later;
    uint64_t count;
};

/* Reads its arguments as the coordinator's does; a request in three is answered later. */
static void handle(void *self, const struct control_request *request, const char *command, const json_t *args)
{
    struct handled *handled = self;
    json_int_t number = 0;
    must(command != NULL && json_is_object(args));
    const char *mode = json_string_value(json_object_get(args, "mode"));
    handled->count++;
    if (strcmp(command, "later") == 0 || handled->count % 3 == 0) {
        handled->later = *request;
        handled->has_later = true;
    } else if (mode != NULL) {
        control_reply_error(request, WEIR_EINVAL, "mode '%s' of '%s'", mode, command);
    } else {
        number = json_integer_value(json_object_get(args, "signal"));
        control_reply(request, json_pack("{s:s, s:I}", "command", command, "signal", number));
    }
}

struct exchange {
    struct control_server *server;
    struct handled handled;
    int fd; /* the client's end */
    char *answers;
    size_t answer_bytes;
    uint64_t answered;
};

static void take_answers(struct exchange *x)
{
    char buffer[65536];
    ssize_t got;
    while ((got = recv(x->fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
        x->answers = realloc(x->answers, x->answer_bytes + (size_t)got);
        must(x->answers != NULL);
        memcpy(x->answers + x->answer_bytes, buffer, (size_t)got);
        x->answer_bytes += (size_t)got;
    }
}

static void turn(struct exchange *x)
{
    struct pollfd fds[CONTROL_POLL_FDS_MAX];
    size_t count = control_server_fill(x->server, fds, CONTROL_POLL_FDS_MAX);
    must(poll(fds, count, 0) >= 0);
    control_server_process(x->server, fds, count);
    if (x->handled.has_later) {
        x->handled.has_later = false;
        control_reply(&x->handled.later, NULL);
    }
    take_answers(x);
}

static void check_answers(struct exchange *x)
{
    for (size_t used = 0; used < x->answer_bytes;) {
        const char *at = x->answers + used;
        const char *line_end = memchr(at, '\n', x->answer_bytes - used);
        must(line_end != NULL);
        json_t *answer = json_loadb(at, (size_t)(line_end - at), JSON_REJECT_DUPLICATES, NULL);
        must(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
        must(json_is_true(json_object_get(answer, "ok")) || json_string_value(json_object_get(answer, "error")) != NULL);
        json_decref(answer);
        x->answered++;
        used += (size_t)(line_end - at) + 1;
    }
}

static uint64_t count_lines(const uint8_t *data, size_t size_bytes)
{
    uint64_t count = 0;
    for (size_t i = 0; i < size_bytes; i++)
        count += data[i] == '\n';
    return count;
}

static int connect_to(const struct sockaddr_un *address, socklen_t address_bytes)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (const struct sockaddr *)address, address_bytes) == 0);
    return fd;
}

static void send_all(struct exchange *x, const uint8_t *data, size_t size_bytes, size_t piece_bytes)
{
    for (size_t sent = 0; sent < size_bytes;) {
        size_t piece = size_bytes - sent < piece_bytes ? size_bytes - sent : piece_bytes;
        ssize_t n = send(x->fd, data + sent, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        turn(x);
        if (n < 0 && recv(x->fd, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
            return; /* the server has closed */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    struct exchange x = {.fd = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t address_bytes = sizeof address;
    if (size_bytes < 1)
        return 0;
    int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(listen_fd >= 0 && bind(listen_fd, (const struct sockaddr *)&address, sizeof address.sun_family) == 0 && listen(listen_fd, 4) == 0);
    must(getsockname(listen_fd, (struct sockaddr *)&address, &address_bytes) == 0); /* one that the kernel has chosen, without a file */
    must(control_server_new(listen_fd, handle, &x.handled, &x.server, NULL) == WEIR_OK);
    x.fd = connect_to(&address, address_bytes);
    send_all(&x, data + 1, size_bytes - 1, data[0] == 0 ? size_bytes : data[0]);
    for (uint64_t turns = count_lines(data, size_bytes) + 4; turns > 0; turns--)
        turn(&x);
    check_answers(&x);
    must(x.answered <= count_lines(data + 1, size_bytes - 1) + (size_bytes > CONTROL_REQUEST_BYTES_MAX));
    must(x.answered >= x.handled.count);
    close(x.fd);
    /* Whatever came, the next client is served. */
    static const char good[] = "{\"command\":\"status\"}\n";
    uint64_t before = x.handled.count;
    x.fd = connect_to(&address, address_bytes);
    turn(&x);
    send_all(&x, (const uint8_t *)good, sizeof good - 1, sizeof good);
    turn(&x);
    must(x.handled.count == before + 1);
    close(x.fd);
    control_server_free(x.server);
    close(listen_fd);
    free(x.answers);
    return 0;
}

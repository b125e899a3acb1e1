#include "base/clock.h"
#include "base/error.h"
#include "engine/control.h"
#include "engine/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int not_running(const char *directory, struct weir_error *err)
{
    return error_set(err, WEIR_ENOENT, "no job runs on '%s': 'weir list' shows those that do", directory);
}

static int connect_error(const char *directory, int errno_value, struct weir_error *err)
{
    if (errno_value == ENOENT || errno_value == ECONNREFUSED || errno_value == ENOTDIR)
        return not_running(directory, err);
    if (errno_value == EAGAIN)
        return error_set(err, WEIR_EBUSY, "job on '%s': too many control requests wait already: try again", directory);
    return error_set_errno(err, errno_value, "job on '%s': cannot reach its control socket", directory);
}

/* A full backlog is waited for until end_ns: connect() of a non-blocking Unix socket cannot be polled for. 0, or an errno. */
static int connect_until(int fd, const struct sockaddr_un *address, socklen_t address_bytes, int64_t end_ns)
{
    while (connect(fd, (const struct sockaddr *)address, address_bytes) != 0) {
        if ((errno != EAGAIN && errno != EINTR) || clock_monotonic_ns() >= end_ns)
            return errno;
        poll(NULL, 0, 5);
    }
    return 0;
}

static int control_connect(const char *directory, int64_t end_ns, int *ret_fd, struct weir_error *err)
{
    int directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return connect_error(directory, errno, err);
    struct sockaddr_un address;
    socklen_t address_bytes = control_address(directory_fd, &address);
    int code = WEIR_OK, refused;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        code = error_set_errno(err, errno, "control socket: cannot make a socket");
    else if ((refused = connect_until(fd, &address, address_bytes, end_ns)) != 0)
        code = connect_error(directory, refused, err);
    else if (!control_peer_is_trusted(fd))
        code = error_set(err, WEIR_EPERM, "job on '%s': its control socket is served by another user", directory);
    close(directory_fd);
    if (code == WEIR_OK)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return code;
}

struct exchange {
    const char *directory;
    int fd;
    unsigned timeout_ms;
    int64_t end_ns;
};

static int wait_for(const struct exchange *exchange, short events, struct weir_error *err)
{
    struct pollfd fds = {.fd = exchange->fd, .events = events};
    for (;;) {
        int64_t left_ns = exchange->end_ns - clock_monotonic_ns();
        if (left_ns <= 0)
            break;
        int ready = poll(&fds, 1, (int)(left_ns / NS_PER_MS) + 1);
        if (ready > 0)
            return WEIR_OK;
        if (ready < 0 && errno != EINTR)
            return error_set_errno(err, errno, "job on '%s': cannot wait for its answer", exchange->directory);
    }
    return error_set(err, WEIR_ETIMEOUT, "job on '%s': no answer within %u ms: what was asked for may still happen",
                     exchange->directory, exchange->timeout_ms);
}

static int send_request(const struct exchange *exchange, const char *line, size_t size_bytes, struct weir_error *err)
{
    for (size_t sent_bytes = 0; sent_bytes < size_bytes;) {
        ssize_t sent = send(exchange->fd, line + sent_bytes, size_bytes - sent_bytes, MSG_NOSIGNAL);
        if (sent >= 0) {
            sent_bytes += (size_t)sent;
        } else if (errno == EAGAIN) {
            int code = wait_for(exchange, POLLOUT, err);
            if (code != WEIR_OK)
                return code;
        } else if (errno != EINTR) {
            return not_running(exchange->directory, err);
        }
    }
    return WEIR_OK;
}

/* One line, without its end; to be freed. */
static int receive_line(const struct exchange *exchange, char **ret_line, size_t *ret_size_bytes, struct weir_error *err)
{
    char *line = NULL;
    size_t used = 0, capacity = 0;
    int code = WEIR_OK;
    while (code == WEIR_OK) {
        if (used == capacity) {
            capacity = capacity == 0 ? 16384 : 2 * capacity;
            char *grown = capacity <= 2 * CONTROL_REPLY_BYTES_MAX ? realloc(line, capacity) : NULL;
            if (grown == NULL) {
                code = error_set(err, WEIR_ELIMIT, "job on '%s': its answer is too long", exchange->directory);
                break;
            }
            line = grown;
        }
        ssize_t got = recv(exchange->fd, line + used, capacity - used, 0);
        if (got > 0) {
            char *line_end = memchr(line + used, '\n', (size_t)got);
            used += (size_t)got;
            if (line_end != NULL) {
                *ret_line = line;
                *ret_size_bytes = (size_t)(line_end - line);
                return WEIR_OK;
            }
        } else if (got < 0 && errno == EAGAIN) {
            code = wait_for(exchange, POLLIN, err);
        } else if (got == 0 || errno != EINTR) {
            code = error_set(err, WEIR_EFAILED, "job on '%s': it ended, or its coordinator was replaced, before it answered: "
                                                "look at 'weir status', then try again",
                             exchange->directory);
        }
    }
    free(line);
    return code;
}

static int status_of_name(const char *name)
{
    static const struct {
        int code;
        const char *name;
    } rows[] = {
#define STATUS_ROW(id, value, text) {value, #id},
        WEIR_STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
    };
    for (size_t i = 0; name != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0 && rows[i].code < 0)
            return rows[i].code;
    return WEIR_EFAILED;
}

static int parse_reply(const struct exchange *exchange, const char *line, size_t size_bytes, json_t **ret_reply,
                       struct weir_error *err)
{
    int ok = 0;
    const char *code_name = NULL, *text = "it gives no reason";
    json_t *reply = json_loadb(line, size_bytes, JSON_REJECT_DUPLICATES, NULL);
    int code = WEIR_OK;
    if (reply == NULL || json_unpack(reply, "{s:b, s?s, s?s}", "ok", &ok, "code", &code_name, "error", &text) != 0)
        code = error_set(err, WEIR_EFAILED, "job on '%s': its answer makes no sense", exchange->directory);
    else if (!ok)
        code = error_set(err, status_of_name(code_name), "%s", text);
    if (code == WEIR_OK && ret_reply != NULL)
        *ret_reply = json_incref(reply);
    json_decref(reply);
    return code;
}

static int call(const struct exchange *exchange, const char *line, size_t size_bytes, json_t **ret_reply, struct weir_error *err)
{
    char *answer = NULL;
    size_t answer_bytes = 0;
    int code = send_request(exchange, line, size_bytes, err);
    if (code == WEIR_OK)
        code = receive_line(exchange, &answer, &answer_bytes, err);
    if (code == WEIR_OK)
        code = parse_reply(exchange, answer, answer_bytes, ret_reply, err);
    free(answer);
    return code;
}

int control_call(const char *directory, const char *command, json_t *args, unsigned timeout_ms, json_t **ret_reply,
                 struct weir_error *err)
{
    struct exchange exchange = {directory, -1, timeout_ms, clock_monotonic_ns() + timeout_ms * NS_PER_MS};
    json_t *request = json_pack("{s:s, s:o*}", "command", command, "args", args);
    char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (line == NULL)
        return error_set(err, WEIR_ENOMEM, "control request: out of memory");
    size_t size_bytes = strlen(line);
    int code = size_bytes < CONTROL_REQUEST_BYTES_MAX ? control_connect(directory, exchange.end_ns, &exchange.fd, err)
                                                      : error_set(err, WEIR_ELIMIT, "control request: too long");
    line[size_bytes] = '\n'; /* in place of the ending zero */
    if (code == WEIR_OK) {
        code = call(&exchange, line, size_bytes + 1, ret_reply, err);
        close(exchange.fd);
    }
    free(line);
    return code;
}

bool control_is_served(const char *directory)
{
    int fd = -1;
    struct weir_error err = {0};
    int code = control_connect(directory, 0, &fd, &err);
    if (code == WEIR_OK)
        close(fd);
    return code == WEIR_OK || code == WEIR_EBUSY;
}

int control_launcher(const char *directory, unsigned timeout_ms, pid_t *ret_pid, struct weir_error *err)
{
    struct ucred peer;
    socklen_t size_bytes = sizeof peer;
    int fd = -1;
    int code = control_connect(directory, clock_monotonic_ns() + timeout_ms * NS_PER_MS, &fd, err);
    if (code != WEIR_OK)
        return code;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes) != 0)
        code = error_set_errno(err, errno, "job on '%s': cannot tell who listens on its control socket", directory);
    else
        *ret_pid = peer.pid; /* of the process that called listen() */
    close(fd);
    return code;
}

int control_wait_gone(const char *directory, unsigned timeout_ms, struct weir_error *err)
{
    int64_t end_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    while (control_is_served(directory)) {
        if (clock_monotonic_ns() >= end_ns)
            return error_set(err, WEIR_ETIMEOUT, "job on '%s': it has not ended within %u ms", directory, timeout_ms);
        poll(NULL, 0, 10);
    }
    return WEIR_OK;
}

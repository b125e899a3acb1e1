#include "connectors/line/line_input.h"

#include "connectors/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define HOST_BYTES 256

/* ------------------------------------------------------------------------------------------------- opening ------- */

static int open_stdin(struct weir_ctx *ctx, struct line_input *input)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) != 0)
        return io_fail_errno(ctx, errno, "cannot read lines from standard input");
    if (S_ISDIR(st.st_mode))
        return io_fail(ctx, WEIR_EINVAL, "cannot read lines from standard input: it is a directory");
    input->fd = STDIN_FILENO;
    input->kind = S_ISFIFO(st.st_mode) ? LINE_INPUT_PIPE : S_ISREG(st.st_mode) ? LINE_INPUT_FILE : LINE_INPUT_OTHER;
    if (S_ISSOCK(st.st_mode))
        input->kind = LINE_INPUT_SOCKET;
    input->identity = ((uint64_t)st.st_dev << 40) ^ (uint64_t)st.st_ino ^ 1;
    return WEIR_OK;
}

/* Connects with a deadline, and leaves the socket non-blocking. The socket, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t size_bytes)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int failure = connect(fd, address, size_bytes) == 0 ? 0 : errno;
    if (failure == EINPROGRESS) {
        struct pollfd writable = {.fd = fd, .events = POLLOUT};
        socklen_t length = sizeof(failure);
        int ready = poll(&writable, 1, CONNECT_MS);
        if (ready <= 0)
            failure = ready == 0 ? ETIMEDOUT : errno;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0)
            failure = errno;
    }
    if (failure == 0)
        return fd;
    close(fd);
    errno = failure;
    return -1;
}

static int open_unix(struct weir_ctx *ctx, const char *path, struct line_input *input)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address.sun_path))
        return io_fail(ctx, WEIR_EINVAL, "the address unix:%s has a path of %zu bytes: 1 to %zu are possible", path,
                       length, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, length + 1);
    input->fd = connect_to((const struct sockaddr *)&address, sizeof(address));
    return input->fd >= 0 ? WEIR_OK : io_fail_errno(ctx, errno, "cannot connect to unix:%s", path);
}

/* "HOST:PORT" or "[HOST]:PORT". */
static bool split_host(const char *text, char *ret_host, const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0')
        return false;
    size_t length = (size_t)(colon - text);
    if (text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= HOST_BYTES)
        return false;
    memcpy(ret_host, text, length);
    ret_host[length] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int open_tcp(struct weir_ctx *ctx, const char *text, struct line_input *input)
{
    char host[HOST_BYTES];
    const char *port;
    if (!split_host(text, host, &port))
        return io_fail(ctx, WEIR_EINVAL, "the address tcp:%s is not of the form tcp:HOST:PORT", text);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int status = getaddrinfo(host, port, &hints, &found);
    if (status != 0)
        return io_fail(ctx, WEIR_ENOENT, "cannot find the address tcp:%s: %s", text, gai_strerror(status));
    int failure = 0;
    for (const struct addrinfo *a = found; a != NULL && input->fd < 0; a = a->ai_next) {
        input->fd = connect_to(a->ai_addr, a->ai_addrlen);
        failure = errno;
    }
    freeaddrinfo(found);
    return input->fd >= 0 ? WEIR_OK : io_fail_errno(ctx, failure, "cannot connect to tcp:%s", text);
}

int line_input_open(struct weir_ctx *ctx, const char *address, struct line_input *ret_input)
{
    struct line_input input = {.fd = -1, .kind = LINE_INPUT_SOCKET, .is_own = true};
    int result;
    if (strcmp(address, "-") == 0) {
        input.is_own = false;
        result = open_stdin(ctx, &input);
    } else if (strncmp(address, "unix:", 5) == 0) {
        result = open_unix(ctx, address + 5, &input);
    } else if (strncmp(address, "tcp:", 4) == 0) {
        result = open_tcp(ctx, address + 4, &input);
    } else {
        result = io_fail(ctx, WEIR_EINVAL,
                         "the address \"%s\" of the line source is none of \"-\", unix:PATH, tcp:HOST:PORT", address);
    }
    if (result == WEIR_OK)
        *ret_input = input;
    return result;
}

void line_input_close(struct line_input *input)
{
    if (input->is_own && input->fd >= 0)
        close(input->fd);
    input->fd = -1;
}

/* ------------------------------------------------------------------------------------------------- reading ------- */

static int fail_reading(struct weir_ctx *ctx)
{
    return io_fail_errno(ctx, errno, "cannot read from the line source's input");
}

/* Whether a read would return at once; a closed pipe does. */
static bool is_ready(const struct line_input *input)
{
    struct pollfd readable = {.fd = input->fd, .events = POLLIN};
    return input->kind == LINE_INPUT_SOCKET || poll(&readable, 1, 0) != 0;
}

int line_input_read(struct weir_ctx *ctx, const struct line_input *input, void *buffer, size_t size_bytes,
                    size_t *ret_size_bytes)
{
    if (!is_ready(input))
        return WEIR_IDLE;
    ssize_t n = input->kind == LINE_INPUT_SOCKET ? recv(input->fd, buffer, size_bytes, MSG_DONTWAIT)
                                                 : read(input->fd, buffer, size_bytes);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WEIR_IDLE : fail_reading(ctx);
    *ret_size_bytes = (size_t)n;
    return n > 0 ? WEIR_OK : WEIR_END;
}

int line_input_move(struct weir_ctx *ctx, const struct line_input *input, int fd, uint64_t offset, size_t size_bytes,
                    size_t *ret_size_bytes)
{
    ssize_t n;
    if (input->kind == LINE_INPUT_PIPE) {
        loff_t to = (loff_t)offset;
        n = splice(input->fd, NULL, fd, &to, size_bytes, SPLICE_F_NONBLOCK);
    } else if (input->kind == LINE_INPUT_FILE && lseek(fd, (off_t)offset, SEEK_SET) >= 0) {
        n = sendfile(fd, input->fd, NULL, size_bytes);
    } else {
        return WEIR_EUNSUPPORTED;
    }
    if (n < 0 && (errno == EINVAL || errno == ENOSYS))
        return WEIR_EUNSUPPORTED;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return WEIR_IDLE;
    if (n < 0)
        return io_fail_errno(ctx, errno, "cannot move input to the journal at offset %llu", (unsigned long long)offset);
    *ret_size_bytes = (size_t)n;
    return n > 0 ? WEIR_OK : WEIR_END;
}

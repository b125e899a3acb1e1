/*
 * The server's side of the control socket. One slot a client: reading its request, having the handler answer it (at once or
 * later), writing the answer, reading the next. While an answer is due or being written nothing more is read from that
 * client, so a client can neither pile up requests nor make us hold more than one answer for it.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/control.h"
#include "engine/control_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum client_state {
    CLIENT_FREE,
    CLIENT_READING,  /* until a whole line is there */
    CLIENT_ANSWERED_LATER, /* the handler has it */
    CLIENT_WRITING
};

struct client {
    enum client_state state;
    int fd;
    uint64_t serial;       /* of the request it is at; never the same twice in a server */
    int64_t active_ns;     /* the last byte in or out */
    bool line_ready;       /* reading, and a whole request is buffered */
    bool close_after;      /* when the answer is out: what it sent makes no sense any more */
    size_t in_bytes;
    size_t out_bytes, out_used;
    char *in;  /* CONTROL_REQUEST_BYTES_MAX */
    char *out; /* malloc'ed by jansson */
};

struct control_server {
    int listen_fd;
    control_handler handler;
    void *self;
    uint64_t serial;
    bool accepting; /* false after EMFILE: until a client has gone */
    struct client clients[CONTROL_CLIENTS_MAX];
};

int control_server_new(int listen_fd, control_handler handler, void *self, struct control_server **ret_server,
                       struct weir_error *err)
{
    struct control_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(err, WEIR_ENOMEM, "control socket: out of memory");
    server->listen_fd = listen_fd;
    server->handler = handler;
    server->self = self;
    server->accepting = true;
    *ret_server = server;
    return WEIR_OK;
}

static void drop_client(struct control_server *server, struct client *client)
{
    close(client->fd);
    free(client->in);
    free(client->out);
    *client = (struct client){.state = CLIENT_FREE, .fd = -1};
    server->accepting = true;
}

void control_server_free(struct control_server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].state != CLIENT_FREE)
            drop_client(server, &server->clients[i]);
    free(server);
}

/* ------------------------------------------------------------------------------------------------ answering ------ */

static void write_out(struct control_server *server, struct client *client)
{
    while (client->out_used < client->out_bytes) {
        ssize_t sent = send(client->fd, client->out + client->out_used, client->out_bytes - client->out_used,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (sent < 0) {
            drop_client(server, client);
            return;
        }
        client->out_used += (size_t)sent;
        client->active_ns = clock_monotonic_ns();
    }
    free(client->out);
    client->out = NULL;
    client->out_used = client->out_bytes = 0;
    client->state = CLIENT_READING;
    if (client->close_after)
        drop_client(server, client);
}

/* The object and a line end, ready to be sent. Steals `reply`. NULL when out of memory, or too long. */
static char *encode(json_t *reply, size_t *ret_size_bytes)
{
    size_t needed = json_dumpb(reply, NULL, 0, JSON_COMPACT | JSON_PRESERVE_ORDER);
    char *line = needed > 0 && needed <= CONTROL_REPLY_BYTES_MAX ? malloc(needed + 1) : NULL;
    if (line != NULL) {
        json_dumpb(reply, line, needed, JSON_COMPACT | JSON_PRESERVE_ORDER);
        line[needed] = '\n';
        *ret_size_bytes = needed + 1;
    }
    json_decref(reply);
    return line;
}

static struct client *find_client(const struct control_request *request)
{
    CHECK(request->slot < CONTROL_CLIENTS_MAX);
    struct client *client = &request->server->clients[request->slot];
    return client->state == CLIENT_ANSWERED_LATER && client->serial == request->serial ? client : NULL;
}

/* Steals `whole`. The bytes go out from the loop, so that no answer is sent in the middle of a handler. */
static bool answer(const struct control_request *request, json_t *whole)
{
    struct client *client = find_client(request);
    if (client == NULL) {
        json_decref(whole);
        return false;
    }
    client->out = whole != NULL ? encode(whole, &client->out_bytes) : NULL;
    if (client->out == NULL) {
        drop_client(request->server, client);
        return false;
    }
    client->state = CLIENT_WRITING;
    client->active_ns = clock_monotonic_ns();
    return true;
}

bool control_reply(const struct control_request *request, json_t *reply)
{
    json_t *whole = json_pack("{s:b}", "ok", 1);
    if (whole != NULL && reply != NULL)
        json_object_update_missing(whole, reply);
    json_decref(reply);
    return answer(request, whole);
}

bool control_reply_failure(const struct control_request *request, const struct weir_error *failure)
{
    json_t *text = json_string(failure->text);
    if (text == NULL) /* bytes that are not UTF-8, of a file's name perhaps */
        text = json_string("a failure whose text cannot be shown");
    return answer(request, json_pack("{s:b, s:s, s:o}", "ok", 0, "code", weir_status_name(failure->code), "error", text));
}

bool control_reply_error(const struct control_request *request, int code, const char *format, ...)
{
    struct weir_error failure = {0};
    va_list args;
    va_start(args, format);
    error_set_va(&failure, code, format, args);
    va_end(args);
    return control_reply_failure(request, &failure);
}

/* ------------------------------------------------------------------------------------------------ requests ------- */

static void refuse_line(const struct control_request *request, struct client *client, const char *why)
{
    client->close_after = true;
    control_reply_error(request, WEIR_EINVAL, "request: %s; expected one JSON object a line: {\"command\": NAME, \"args\": {...}}", why);
}

static void handle_line(struct control_server *server, struct client *client, const char *line, size_t size_bytes)
{
    struct control_request request = {server, (uint32_t)(client - server->clients), ++server->serial};
    client->serial = request.serial;
    client->state = CLIENT_ANSWERED_LATER;
    const char *command = NULL;
    json_t *args = NULL;
    json_t *no_args = NULL;
    json_t *object = json_loadb(line, size_bytes, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object))
        refuse_line(&request, client, "no JSON object");
    else if (json_unpack(object, "{s:s, s?o}", "command", &command, "args", &args) != 0)
        refuse_line(&request, client, "no \"command\"");
    else if (args != NULL && !json_is_object(args))
        refuse_line(&request, client, "\"args\" is no object");
    else if (args == NULL && (args = no_args = json_object()) == NULL)
        control_reply_error(&request, WEIR_ENOMEM, "out of memory");
    else
        server->handler(server->self, &request, command, args);
    json_decref(no_args);
    json_decref(object);
}

/* Handles the first whole line that is buffered, if there is one. */
static void take_line(struct control_server *server, struct client *client)
{
    char *line_end = memchr(client->in, '\n', client->in_bytes);
    if (line_end != NULL) {
        size_t line_bytes = (size_t)(line_end - client->in);
        handle_line(server, client, client->in, line_bytes);
        if (client->state == CLIENT_FREE)
            return;
        client->in_bytes -= line_bytes + 1;
        memmove(client->in, line_end + 1, client->in_bytes);
    } else if (client->in_bytes == CONTROL_REQUEST_BYTES_MAX) {
        struct control_request request = {server, (uint32_t)(client - server->clients), ++server->serial};
        client->serial = request.serial;
        client->state = CLIENT_ANSWERED_LATER;
        client->in_bytes = 0;
        refuse_line(&request, client, "longer than 65536 bytes");
    }
}

/* At most one request of each client a round, however many it has sent: the coordinator has other things to do. */
static void serve_client(struct control_server *server, struct client *client)
{
    if (client->line_ready)
        take_line(server, client);
    if (client->state == CLIENT_WRITING)
        write_out(server, client);
    client->line_ready = client->state == CLIENT_READING && memchr(client->in, '\n', client->in_bytes) != NULL;
}

static void read_client(struct control_server *server, struct client *client)
{
    ssize_t got = recv(client->fd, client->in + client->in_bytes, CONTROL_REQUEST_BYTES_MAX - client->in_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got <= 0) {
        drop_client(server, client);
        return;
    }
    client->in_bytes += (size_t)got;
    client->active_ns = clock_monotonic_ns();
    client->line_ready = true; /* or too long a line: take_line() finds out */
}

/* ------------------------------------------------------------------------------------------------ the loop ------- */

static struct client *free_slot(struct control_server *server)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].state == CLIENT_FREE)
            return &server->clients[i];
    return NULL;
}

/* With every slot taken further clients stay in the backlog until one is free; an idle one is dropped in time. */
static void accept_clients(struct control_server *server)
{
    struct client *client;
    while ((client = free_slot(server)) != NULL) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            /* Out of descriptors: the pending connection would keep poll from ever waiting. */
            server->accepting = errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
            return;
        }
        char *in = control_peer_is_trusted(fd) ? malloc(CONTROL_REQUEST_BYTES_MAX) : NULL;
        if (in == NULL)
            close(fd);
        else
            *client = (struct client){.state = CLIENT_READING, .fd = fd, .active_ns = clock_monotonic_ns(), .in = in};
    }
}

size_t control_server_fill(struct control_server *server, struct pollfd *fds, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX && used < capacity; i++) {
        const struct client *client = &server->clients[i];
        if (client->state == CLIENT_FREE)
            continue;
        /* While an answer is due only the client's end is of interest, which poll reports unasked. */
        int events = client->state == CLIENT_READING && !client->line_ready ? POLLIN : client->state == CLIENT_WRITING ? POLLOUT : 0;
        fds[used++] = (struct pollfd){.fd = client->fd, .events = (short)events};
    }
    if (used < capacity && server->accepting && free_slot(server) != NULL)
        fds[used++] = (struct pollfd){.fd = server->listen_fd, .events = POLLIN};
    return used;
}

static int64_t deadline_ns(const struct client *client)
{
    bool waits_for_us = client->state == CLIENT_FREE || client->state == CLIENT_ANSWERED_LATER;
    return waits_for_us ? INT64_MAX : client->active_ns + CONTROL_IDLE_MS * NS_PER_MS;
}

int control_server_timeout_ms(const struct control_server *server)
{
    int64_t earliest_ns = INT64_MAX;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (server->clients[i].line_ready)
            return 0;
        if (deadline_ns(&server->clients[i]) < earliest_ns)
            earliest_ns = deadline_ns(&server->clients[i]);
    }
    if (!server->accepting && earliest_ns == INT64_MAX)
        return 1000;
    if (earliest_ns == INT64_MAX)
        return -1;
    int64_t left_ns = earliest_ns - clock_monotonic_ns();
    return left_ns <= 0 ? 0 : (int)(left_ns / NS_PER_MS) + 1;
}

static struct client *client_of_fd(struct control_server *server, int fd)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].state != CLIENT_FREE && server->clients[i].fd == fd)
            return &server->clients[i];
    return NULL;
}

static void process_client(struct control_server *server, struct client *client, short revents)
{
    if (client->state == CLIENT_ANSWERED_LATER && (revents & (POLLHUP | POLLERR)) != 0)
        drop_client(server, client); /* it no longer waits for what it asked for */
    else if (client->state == CLIENT_READING && !client->line_ready && (revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        read_client(server, client);
}

void control_server_process(struct control_server *server, const struct pollfd *fds, size_t count)
{
    bool listening = false;
    for (size_t i = 0; i < count; i++) {
        struct client *client = client_of_fd(server, fds[i].fd);
        if (fds[i].fd == server->listen_fd)
            listening = fds[i].revents != 0;
        else if (client != NULL && fds[i].revents != 0)
            process_client(server, client, fds[i].revents);
    }
    int64_t now_ns = clock_monotonic_ns();
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &server->clients[i];
        if (client->state == CLIENT_WRITING || client->line_ready)
            serve_client(server, client);
        if (client->state != CLIENT_FREE && deadline_ns(client) <= now_ns)
            drop_client(server, client);
    }
    if (!server->accepting)
        server->accepting = true; /* tried again with the next round */
    if (listening)
        accept_clients(server); /* last: a descriptor number that was just closed may come back here */
}

size_t control_server_pending(const struct control_server *server)
{
    size_t pending = 0;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        pending += server->clients[i].state == CLIENT_ANSWERED_LATER;
    return pending;
}

void control_server_drain(struct control_server *server, int timeout_ms)
{
    int64_t end_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    for (;;) {
        struct pollfd fds[CONTROL_CLIENTS_MAX];
        size_t count = 0;
        for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
            struct client *client = &server->clients[i];
            if (client->state == CLIENT_WRITING)
                write_out(server, client);
            if (client->state == CLIENT_WRITING)
                fds[count++] = (struct pollfd){.fd = client->fd, .events = POLLOUT};
        }
        int64_t left_ns = end_ns - clock_monotonic_ns();
        if (count == 0 || left_ns <= 0)
            return;
        if (poll(fds, count, (int)(left_ns / NS_PER_MS) + 1) < 0 && errno != EINTR)
            return;
    }
}

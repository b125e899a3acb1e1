/*
 * The control socket against hostile and unlucky clients. The server runs in a child process, with a handler that echoes; the test is
 * the client, by raw bytes where it matters.
 */
#include "engine/control.h"

#include "engine/control_socket.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* far beyond what any step takes */

static char directory[SCRATCH_PATH_BYTES];
static int directory_fd, listen_fd;
static pid_t server_pid;
static struct weir_error failure;

/* ---- the server ---- */

struct deferred {
    struct control_request requests[64];
    size_t count;
};

static void handle(void *self, const struct control_request *request, const char *command, const json_t *args)
{
    struct deferred *deferred = self;
    if (strcmp(command, "echo") == 0)
        control_reply(request, json_pack("{s:O}", "args", (json_t *)args));
    else if (strcmp(command, "large") == 0) {
        char *text = malloc(1 << 20);
        memset(text, 'x', 1 << 20);
        control_reply(request, json_pack("{s:s#}", "text", text, 1 << 20));
        free(text);
    } else if (strcmp(command, "later") == 0)
        deferred->requests[deferred->count++ % 64] = *request;
    else if (strcmp(command, "release") == 0) {
        int delivered = 0;
        for (size_t i = 0; i < deferred->count && i < 64; i++)
            delivered += control_reply(&deferred->requests[i], json_pack("{s:i}", "number", (int)i));
        deferred->count = 0;
        control_reply(request, json_pack("{s:i}", "delivered", delivered));
    } else if (strcmp(command, "pending") == 0)
        control_reply(request, json_pack("{s:i}", "pending", (int)control_server_pending(request->server) - 1));
    else if (strcmp(command, "twice") == 0) {
        control_reply(request, json_pack("{s:i}", "number", 1));
        control_reply(request, json_pack("{s:i}", "number", 2)); /* too late: dropped */
    } else if (strcmp(command, "bad-text") == 0)
        control_reply_error(request, WEIR_EIO, "file '\xff\xfe'");
    else
        control_reply_error(request, WEIR_EINVAL, "no command '%s'", command);
}

static void serve(int fd)
{
    struct control_server *server = NULL;
    struct deferred deferred = {.count = 0};
    if (control_server_new(fd, handle, &deferred, &server, NULL) != WEIR_OK)
        _exit(1);
    for (;;) {
        struct pollfd fds[CONTROL_POLL_FDS_MAX];
        size_t count = control_server_fill(server, fds, CONTROL_POLL_FDS_MAX);
        if (poll(fds, count, control_server_timeout_ms(server)) < 0)
            _exit(1);
        control_server_process(server, fds, count);
    }
}

static void start_server(void)
{
    server_pid = fork();
    cr_assert_geq(server_pid, 0);
    if (server_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails ends without teardown() */
        serve(listen_fd);
    }
}

static void setup(void)
{
    scratch_make("control", directory);
    directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(control_listen(directory_fd, &listen_fd, &failure), WEIR_OK, "%s", failure.text);
    start_server();
}

static void teardown(void)
{
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    control_unlink(directory_fd);
    close(listen_fd);
    close(directory_fd);
    cr_assert_eq(rmdir(directory), 0, "nothing is left behind");
}

TestSuite(control, .init = setup, .fini = teardown);

/* ---- the client ---- */

static int raw_connect(void)
{
    struct sockaddr_un address;
    socklen_t address_bytes = control_address(directory_fd, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, address_bytes), 0, "%s", strerror(errno));
    return fd;
}

static void send_all(int fd, const char *bytes, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t sent = send(fd, bytes, size_bytes, MSG_NOSIGNAL);
        cr_assert_gt(sent, 0);
        bytes += sent;
        size_bytes -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text) { send_all(fd, text, strlen(text)); }

/* One line of the answer into line[capacity]; false at the end of the connection. */
static bool receive_line(int fd, char *line, size_t capacity)
{
    size_t used = 0;
    struct pollfd fds = {.fd = fd, .events = POLLIN};
    while (used + 1 < capacity) {
        cr_assert_gt(poll(&fds, 1, PATIENCE_MS), 0, "no answer");
        ssize_t there = recv(fd, line + used, capacity - used - 1, MSG_PEEK);
        if (there <= 0)
            return false;
        const char *line_end = memchr(line + used, '\n', (size_t)there);
        size_t wanted = line_end != NULL ? (size_t)(line_end - line) - used + 1 : (size_t)there;
        cr_assert_eq(recv(fd, line + used, wanted, MSG_WAITALL), (ssize_t)wanted);
        used += wanted;
        if (line_end != NULL) {
            line[used - 1] = 0;
            return true;
        }
    }
    line[used] = 0;
    return true;
}

static void expect_answer(int fd, const char *part)
{
    char line[4096];
    cr_assert(receive_line(fd, line, sizeof line), "the connection ended before '%s'", part);
    cr_assert_not_null(strstr(line, part), "expected '%s' in: %s", part, line);
}

static void expect_end(int fd)
{
    char line[4096];
    cr_assert_not(receive_line(fd, line, sizeof line), "%s", line);
}

static int call(const char *command, json_t *args, json_t **ret_reply)
{
    return control_call(directory, command, args, PATIENCE_MS, ret_reply, &failure);
}

static void expect_alive(void) { cr_assert_eq(call("echo", NULL, NULL), WEIR_OK, "%s", failure.text); }

/* ---- */

Test(control, a_call_is_answered_with_what_the_handler_says)
{
    json_t *reply = NULL;
    cr_assert_eq(call("echo", json_pack("{s:s}", "mode", "now"), &reply), WEIR_OK, "%s", failure.text);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(reply, "args"), "mode")), "now");
    json_decref(reply);
}

Test(control, a_failure_comes_back_with_its_code_and_text)
{
    cr_assert_eq(call("nonsense", NULL, NULL), WEIR_EINVAL);
    cr_assert_not_null(strstr(failure.text, "no command 'nonsense'"));
}

Test(control, a_failure_whose_text_is_not_utf8_is_still_one) { cr_assert_eq(call("bad-text", NULL, NULL), WEIR_EIO); }

Test(control, socket_and_directory_are_private)
{
    struct stat status;
    cr_assert_eq(fstatat(directory_fd, CONTROL_SOCKET_NAME, &status, AT_SYMLINK_NOFOLLOW), 0);
    cr_assert(S_ISSOCK(status.st_mode));
    cr_assert_eq(status.st_mode & 0777, 0600);
}

Test(control, a_directory_that_is_open_to_others_in_any_way_is_refused)
{
    static const mode_t modes[] = {0777, 0755, 0750, 0740, 0704, 0701, 0720};
    char mend[SCRATCH_PATH_BYTES + 16];
    int fd = -1;
    snprintf(mend, sizeof mend, "chmod 700 %s", directory);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        cr_assert_eq(fchmod(directory_fd, modes[i]), 0);
        cr_assert_eq(control_listen(directory_fd, &fd, &failure), WEIR_EPERM, "%o", (unsigned)modes[i]);
        cr_assert_not_null(strstr(failure.text, mend), "no '%s' in: %s", mend, failure.text);
    }
    cr_assert_eq(fchmod(directory_fd, 0700), 0);
    expect_alive();
}

Test(control, a_stale_socket_is_replaced)
{
    int fd = -1;
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    close(listen_fd);
    cr_assert_eq(call("echo", NULL, NULL), WEIR_ENOENT, "nothing listens there any more");
    cr_assert_not(control_is_served(directory));
    cr_assert_eq(control_listen(directory_fd, &fd, &failure), WEIR_OK, "%s", failure.text);
    listen_fd = fd;
    start_server();
    expect_alive();
}

Test(control, the_socket_outlives_its_server_and_waits_for_the_next)
{
    int fd = raw_connect();
    send_text(fd, "{\"command\":\"later\"}\n");
    expect_alive();
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    expect_end(fd);
    close(fd);
    fd = raw_connect(); /* into the backlog */
    send_text(fd, "{\"command\":\"echo\"}\n");
    start_server();
    expect_answer(fd, "\"ok\":true");
    close(fd);
}

Test(control, a_very_long_directory_is_no_obstacle)
{
    char deep[2048];
    size_t used = (size_t)snprintf(deep, sizeof deep, "%s", directory);
    int deep_fd = -1, fd = -1;
    for (int i = 0; i < 5; i++) {
        used += (size_t)snprintf(deep + used, sizeof deep - used, "/%0200d", i);
        cr_assert_eq(mkdir(deep, 0700), 0);
    }
    deep_fd = open(deep, O_RDONLY | O_DIRECTORY);
    cr_assert_eq(control_listen(deep_fd, &fd, &failure), WEIR_OK, "%s", failure.text);
    cr_assert(control_is_served(deep));
    control_unlink(deep_fd);
    close(fd);
    close(deep_fd);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(rmdir(deep), 0);
        *strrchr(deep, '/') = 0;
    }
}

Test(control, requests_follow_one_another_on_a_connection)
{
    int fd = raw_connect();
    send_text(fd, "{\"command\":\"echo\",\"args\":{\"n\":1}}\n{\"command\":\"echo\",\"args\":{\"n\":2}}\n{\"command\":\"nope\"}\n"
                  "{\"command\":\"echo\",\"args\":{\"n\":3}}\n");
    expect_answer(fd, "\"n\":1");
    expect_answer(fd, "\"n\":2");
    expect_answer(fd, "\"ok\":false");
    expect_answer(fd, "\"n\":3");
    close(fd);
}

Test(control, a_request_may_come_one_byte_at_a_time)
{
    int fd = raw_connect();
    const char *request = "{\"command\":\"echo\",\"args\":{\"n\":42}}\n";
    for (; *request != 0; request++) {
        send_all(fd, request, 1);
        expect_alive(); /* others are served in between */
    }
    expect_answer(fd, "\"n\":42");
    close(fd);
}

Test(control, garbage_is_answered_and_the_connection_ended)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n",  "\n",       "[]\n",   "42\n",          "{}\n",
                                          "{\"command\":1}\n",   "{\"command\":\"echo\",\"args\":[]}\n", "{\"command\":\"echo\",\"args\":null}\n",
                                          "{\"command\":\"a\",\"command\":\"b\"}\n", "\xff\xfe\n", "{\"command\":\"\\u0000\"}\n", "{\"command\":\"echo\"}x\n"};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = raw_connect();
        send_text(fd, garbage[i]);
        expect_answer(fd, "\"code\":\"WEIR_EINVAL\"");
        expect_end(fd);
        close(fd);
    }
    expect_alive();
}

Test(control, deeply_nested_json_is_refused)
{
    char request[CONTROL_REQUEST_BYTES_MAX];
    memset(request, '[', sizeof request);
    request[sizeof request - 1] = '\n';
    int fd = raw_connect();
    send_all(fd, request, sizeof request);
    expect_answer(fd, "WEIR_EINVAL");
    close(fd);
    expect_alive();
}

Test(control, a_line_of_the_greatest_length_is_taken_and_a_longer_one_refused)
{
    static char request[CONTROL_REQUEST_BYTES_MAX + 1];
    memset(request, ' ', sizeof request);
    const char *head = "{\"command\":\"echo\"}";
    memcpy(request, head, strlen(head));
    request[CONTROL_REQUEST_BYTES_MAX - 1] = '\n';
    int fd = raw_connect();
    send_all(fd, request, CONTROL_REQUEST_BYTES_MAX);
    expect_answer(fd, "\"ok\":true");
    close(fd);
    request[CONTROL_REQUEST_BYTES_MAX - 1] = ' ';
    fd = raw_connect();
    send_all(fd, request, CONTROL_REQUEST_BYTES_MAX);
    expect_answer(fd, "longer than 65536 bytes");
    close(fd);
    expect_alive();
}

Test(control, more_clients_than_slots_wait_and_are_served_in_turn)
{
    enum { CLIENTS = CONTROL_CLIENTS_MAX + 20 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = raw_connect();
        send_text(fds[i], "{\"command\":\"echo\"}\n");
    }
    for (int i = 0; i < CLIENTS; i++) {
        expect_answer(fds[i], "\"ok\":true");
        close(fds[i]);
    }
    expect_alive();
}

Test(control, a_client_that_never_reads_holds_up_nobody)
{
    int fd = raw_connect();
    for (int i = 0; i < 8; i++)
        send_text(fd, "{\"command\":\"large\"}\n"); /* 8 MiB of answers, far beyond a socket's buffer */
    for (int i = 0; i < 100; i++)
        expect_alive();
    char *line = malloc(2 << 20);
    for (int i = 0; i < 8; i++) {
        cr_assert(receive_line(fd, line, 2 << 20));
        cr_assert_gt(strlen(line), 1 << 20);
    }
    free(line);
    close(fd);
}

Test(control, clients_that_leave_in_the_middle_do_no_harm)
{
    for (int i = 0; i < 200; i++) {
        int fd = raw_connect();
        if (i % 4 == 1)
            send_text(fd, "{\"comm");
        if (i % 4 == 2)
            send_text(fd, "{\"command\":\"large\"}\n");
        if (i % 4 == 3)
            send_text(fd, "{\"command\":\"later\"}\n");
        close(fd);
    }
    expect_alive();
}

Test(control, an_answer_may_come_later)
{
    json_t *reply = NULL;
    int fds[3], delivered = 0;
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect();
        send_text(fds[i], "{\"command\":\"later\"}\n");
        for (int pending = 0; pending < i + 1;) { /* until the server has it */
            cr_assert_eq(call("pending", NULL, &reply), WEIR_OK);
            json_unpack(reply, "{s:i}", "pending", &pending);
            json_decref(reply);
        }
    }
    close(fds[1]); /* this one no longer waits */
    for (int pending = 3; pending != 2;) {
        cr_assert_eq(call("pending", NULL, &reply), WEIR_OK);
        json_unpack(reply, "{s:i}", "pending", &pending);
        json_decref(reply);
    }
    cr_assert_eq(call("release", NULL, &reply), WEIR_OK);
    json_unpack(reply, "{s:i}", "delivered", &delivered);
    json_decref(reply);
    cr_assert_eq(delivered, 2);
    expect_answer(fds[0], "\"number\":0");
    expect_answer(fds[2], "\"number\":2");
    close(fds[0]);
    close(fds[2]);
}

Test(control, a_client_that_ends_its_side_still_gets_its_answer)
{
    int fd = raw_connect();
    send_text(fd, "{\"command\":\"later\"}\n");
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    int pending = 0;
    while (pending < 1) {
        json_t *reply = NULL;
        cr_assert_eq(call("pending", NULL, &reply), WEIR_OK);
        json_unpack(reply, "{s:i}", "pending", &pending);
        json_decref(reply);
    }
    cr_assert_eq(call("release", NULL, NULL), WEIR_OK);
    expect_answer(fd, "\"number\":0");
    close(fd);
}

Test(control, a_second_answer_to_a_request_is_dropped)
{
    int fd = raw_connect();
    send_text(fd, "{\"command\":\"twice\"}\n{\"command\":\"echo\"}\n");
    expect_answer(fd, "\"number\":1");
    expect_answer(fd, "\"args\":{}");
    close(fd);
}

Test(control, a_call_that_is_not_answered_ends_in_time)
{
    cr_assert_eq(control_call(directory, "later", NULL, 50, NULL, &failure), WEIR_ETIMEOUT);
    cr_assert_not_null(strstr(failure.text, "50 ms"));
}

Test(control, where_no_job_runs_the_client_says_so)
{
    cr_assert_eq(control_call("/nonexistent/x", "echo", NULL, PATIENCE_MS, NULL, &failure), WEIR_ENOENT);
    cr_assert_eq(control_call("/", "echo", NULL, PATIENCE_MS, NULL, &failure), WEIR_ENOENT);
    cr_assert_not_null(strstr(failure.text, "'/'"), "%s", failure.text);
}

Test(control, waiting_for_the_end_returns_when_the_socket_is_closed)
{
    cr_assert_eq(control_wait_gone(directory, 30, &failure), WEIR_ETIMEOUT);
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    cr_assert_eq(control_wait_gone(directory, 30, &failure), WEIR_ETIMEOUT, "the launcher's descriptor still listens");
    close(listen_fd);
    cr_assert_eq(control_wait_gone(directory, PATIENCE_MS, &failure), WEIR_OK);
    listen_fd = open("/dev/null", O_RDONLY);
}

/* Criterion leaves out teardown() where a test is skipped. */
static void need_root(void)
{
    if (geteuid() == 0)
        return;
    teardown();
    cr_skip_test("needs root to become another user");
}

/* The modes are opened up so that only the check of the peer's credentials is left. */
Test(control, another_user_is_not_answered)
{
    need_root();
    cr_assert_eq(fchmod(directory_fd, 0755), 0);
    cr_assert_eq(fchmodat(directory_fd, CONTROL_SOCKET_NAME, 0666, 0), 0);
    pid_t stranger = fork();
    if (stranger == 0) {
        char line[256];
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(2);
        int fd = raw_connect();
        send(fd, "{\"command\":\"echo\"}\n", 19, MSG_NOSIGNAL);
        _exit(recv(fd, line, sizeof line, 0) <= 0 ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(stranger, &status, 0), stranger);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    expect_alive();
}

Test(control, the_client_refuses_a_server_of_another_user)
{
    need_root();
    char other[SCRATCH_PATH_BYTES];
    scratch_make("control-other", other);
    cr_assert_eq(chown(other, 65534, 65534), 0);
    int own_fd = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* the stranger may have no way to it */
    cr_assert_geq(own_fd, 0);
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    pid_t stranger = fork();
    if (stranger == 0) {
        int fd = -1;
        if (setgid(65534) != 0 || setuid(65534) != 0 || control_listen(own_fd, &fd, NULL) != WEIR_OK || write(ready[1], "x", 1) != 1)
            _exit(2);
        serve(fd);
    }
    char byte;
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(control_call(other, "echo", NULL, PATIENCE_MS, NULL, &failure), WEIR_EPERM, "%s", failure.text);
    kill(stranger, SIGKILL);
    waitpid(stranger, NULL, 0);
    close(own_fd);
    scratch_remove(other);
}

Test(control, checkpoint_and_stop_of_the_public_interface_use_it)
{
    uint64_t checkpoint = 0;
    struct weir_error err = {0};
    cr_assert_eq(weir_checkpoint_now(directory, PATIENCE_MS, &checkpoint, &err), WEIR_EINVAL, "the echo server has no such command");
    cr_assert_eq(weir_stop("/nonexistent/x", PATIENCE_MS, &err), WEIR_ENOENT);
    cr_assert_eq(checkpoint, 0);
}

/*
 * refuse_call - runs a command whose processes the kernel refuses a system call: a seccomp filter, which all that are forked inherit.
 *
 *     refuse_call CALL ANSWER COMMAND...
 *
 * CALL    a name of the table below
 * ANSWER  a name of an error, which the call ends with, or "kill": whoever calls dies of SIGSYS
 *
 * Exit status 2 where no filter can be set here, else the command's.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct row {
    const char *name;
    uint32_t value;
};

static const struct row calls[] = {{"ptrace", SYS_ptrace}, {"io_uring_setup", SYS_io_uring_setup}, {"clone3", SYS_clone3}, {NULL, 0}};
static const struct row answers[] = {{"EPERM", SECCOMP_RET_ERRNO | EPERM},   {"ENOSYS", SECCOMP_RET_ERRNO | ENOSYS},
                                     {"ENOMEM", SECCOMP_RET_ERRNO | ENOMEM}, {"kill", SECCOMP_RET_KILL_PROCESS},
                                     {NULL, 0}};

static const struct row *find(const struct row *rows, const char *name)
{
    while (rows->name != NULL && strcmp(rows->name, name) != 0)
        rows++;
    return rows->name != NULL ? rows : NULL;
}

static int set_filter(uint32_t call, uint32_t answer)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
    const struct row *call = argc > 3 ? find(calls, argv[1]) : NULL;
    const struct row *answer = argc > 3 ? find(answers, argv[2]) : NULL;
    if (call == NULL || answer == NULL) {
        fprintf(stderr, "usage: refuse_call CALL EPERM|ENOSYS|ENOMEM|kill COMMAND...\n");
        return 1;
    }
    if (set_filter(call->value, answer->value) != 0) {
        fprintf(stderr, "refuse_call: no filter can be set here: %s\n", strerror(errno));
        return 2;
    }
    execvp(argv[3], argv + 3);
    fprintf(stderr, "refuse_call: %s: %s\n", argv[3], strerror(errno));
    return 1;
}

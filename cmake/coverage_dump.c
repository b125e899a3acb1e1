/*
 * coverage_dump.c - in builds of the preset `coverage` alone: a process that ends by _exit(), or kills or stops itself (a kill point), writes its
 * counters out first. libgcov itself does so at exit() only, and the processes of a job never come to that.
 */
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int status);
int __real_kill(pid_t pid, int signal_number);
_Noreturn void __wrap__exit(int status);
int __wrap_kill(pid_t pid, int signal_number);

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

int __wrap_kill(pid_t pid, int signal_number)
{
    if (pid == getpid() && signal_number != 0) {
        __gcov_dump();
        __gcov_reset(); /* what is counted from here on is added */
    }
    return __real_kill(pid, signal_number);
}

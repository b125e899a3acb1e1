/* no_death_signal.c - preloaded: snapshot children ask in vain for a signal when the launcher dies (FAULTS.md, F4). When one asks it bears its task's
 * name still, "track/0"; no other process that asks has a name of that kind. */
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("default"))) int prctl(int option, ...)
{
    unsigned long rest[4];
    va_list arguments;
    va_start(arguments, option);
    for (int i = 0; i < 4; i++)
        rest[i] = va_arg(arguments, unsigned long);
    va_end(arguments);
    char name[16] = "";
    if (option == PR_SET_PDEATHSIG && syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0) == 0 && strchr(name, '/') != NULL)
        return 0;
    return (int)syscall(SYS_prctl, option, rest[0], rest[1], rest[2], rest[3]);
}

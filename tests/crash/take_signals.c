/*
 * take_signals.so - for LD_PRELOAD: SIGUSR1 interrupts whatever system call the process or one of its children is in, and does nothing else
 * (FAULTS.md, F32). Children inherit the handler.
 */
#include <signal.h>
#include <stdlib.h>

static void interrupt(int signal_number) { (void)signal_number; }

__attribute__((constructor)) static void take(void)
{
    struct sigaction action = {.sa_handler = interrupt}; /* without SA_RESTART */
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGUSR1, &action, NULL) != 0)
        abort();
}

/* The `weir` command: the library's commands, with the built-in examples as its jobs. */
#include "command.h"
#include "examples.h"

#include <stdio.h>

#define JOBS_MAX 64

int main(int argc, char **argv)
{
    struct weir_command_job jobs[JOBS_MAX];
    size_t count = 0;
    for (; count < weir_example_count && count < JOBS_MAX; count++)
        jobs[count] = (struct weir_command_job){weir_examples[count].name, weir_examples[count].help, weir_examples[count].build};
    return weir_command(argc, argv, jobs, count);
}

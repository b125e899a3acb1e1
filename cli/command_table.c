/* The table of commands: usage, help, completion and manual pages come from it. */
#include "cli/cli.h"

#include "base/bytes.h"
#include "chaos/options.h"
#include "engine/options.h"

#define JSON_OPTION {"json", NULL, "Prints JSON instead of text for people"}
#define TIMEOUT_OPTION(fallback) {"timeout", "TIME", "How long to wait for the job (default: " fallback ")"}
#define END_OF_OPTIONS {NULL, NULL, NULL}

static const struct command_option json_only[] = {JSON_OPTION, END_OF_OPTIONS};
static const struct command_option status_options[] = {
    {"watch", NULL, "Shows it again every second, until interrupted or the job ends; with --json one line each time"},
    TIMEOUT_OPTION("5s"),
    JSON_OPTION,
    END_OF_OPTIONS,
};
static const struct command_option checkpoint_options[] = {TIMEOUT_OPTION("1min"), JSON_OPTION, END_OF_OPTIONS};
static const struct command_option inspect_options[] = {
    {"verify", NULL, "Reads every byte of the checkpoint and checks it"},
    JSON_OPTION,
    END_OF_OPTIONS,
};
static const struct command_option stop_options[] = {
    {"now", NULL, "Without a final checkpoint: what came after the last one is processed again by the next run"},
    TIMEOUT_OPTION("2min"),
    JSON_OPTION,
    END_OF_OPTIONS,
};
static const struct command_option kill_options[] = {
    {"signal", "SIGNAL", "Name or number of the signal (default: KILL)"},
    {"role", "ROLE", "Which process: task, snapshot (the one that writes the task's snapshot at the moment), standby, coordinator or "
                     "launcher (default: task)"},
    {"kill-point", "NAME[:NTH]", "Sends no signal: the process kills itself when it comes to this place in the code (for the NTH time from "
                                 "now on); in builds with kill points, base/kill_point.h lists them"},
    TIMEOUT_OPTION("5s"),
    JSON_OPTION,
    END_OF_OPTIONS,
};
static const struct command_option chaos_command_options[] = {
#define CHAOS_ROW(name, placeholder, help, type, field) {name, placeholder, help},
    CHAOS_OPTION_TABLE(CHAOS_ROW)
#undef CHAOS_ROW
    {"junit", "FILE", "Writes the runs as test cases, in JUnit's XML"},
    JSON_OPTION,
    END_OF_OPTIONS,
};
static const struct command_option events_options[] = {
    {"event", "NAME", "Only events of this name"},
    {"since", "TIME", "Only events since then: a time such as 2026-01-31T12:00:00Z, or a span such as 10min"},
    {"limit", "COUNT", "Only the last so many"},
    {"follow", NULL, "Goes on with new events as they come, until interrupted"},
    {"json", NULL, "Prints the lines of the log as they are, one JSON object each"},
    END_OF_OPTIONS,
};
static const struct command_option doctor_options[] = {
    {"directory", "DIR", "The checkpoint directory to judge (default: where jobs keep theirs)"},
    JSON_OPTION,
    END_OF_OPTIONS,
};

/* Offered where the program is one job: the job's commands then have no JOB to name a directory by. */
static const struct command_option directory_option = {"directory", "DIR",
                                                       "The checkpoint directory of the job, where it is not the usual one"};

static const struct command command_table[] = {
    {.name = "run", .words = "", .takes_job = true, .takes_run_options = true, .run = run_command,
     .summary = "run a job, or go on with it where it was stopped or killed",
     .details = "JOB is the name of a built-in example, or the path of a shared object that exports weir_job_build. A shared "
                "object is code: run those only that you trust.\n\n"
                "The job goes on from the newest complete checkpoint in its directory, if there is one. It ends when its input ends, or "
                "on SIGINT or SIGTERM, each time with a final checkpoint; a second signal ends it at once."},
    {.name = "list", .words = "", .options = json_only, .run = list_command,
     .summary = "list the jobs that run, and the built-in examples"},
    {.name = "status", .words = "", .takes_job = true, .options = status_options, .run = status_command,
     .summary = "show tasks, rates, rings and checkpoints of a running job"},
    {.name = "checkpoint", .words = "", .takes_job = true, .options = checkpoint_options, .run = checkpoint_command,
     .summary = "take a checkpoint now, and wait until it is complete"},
    {.name = "checkpoints", .words = "", .takes_job = true, .options = json_only, .run = checkpoints_command,
     .summary = "list the checkpoints of a job, running or not"},
    {.name = "inspect", .words = "[CHECKPOINT]", .words_max = 1, .takes_job = true, .options = inspect_options,
     .run = inspect_command, .summary = "show what is in a checkpoint: operators, states, files, checksums",
     .details = "CHECKPOINT is the number that 'checkpoints' shows (default: the newest)."},
    {.name = "stop", .words = "", .takes_job = true, .options = stop_options, .run = stop_command,
     .summary = "stop a job with a final checkpoint, and wait until it has ended"},
    {.name = "kill", .words = "OPERATOR[/INDEX]", .words_max = 1, .takes_job = true, .options = kill_options,
     .run = kill_command, .summary = "send a signal to a process of a running job, to see the job recover",
     .details = "Without /INDEX all instances of the operator are meant. Operators that are chained share a process: 'status' shows which. "
                "The roles coordinator and launcher need no OPERATOR; the operator 'coordinator' means the same.\n\n"
                "A process is opened before it is looked at, and signalled only if it is a child of the job's launcher and has the "
                "right name: another one that has got its number meanwhile is never hit. 'stop --now' is what ends a job."},
    {.name = "chaos", .words = "", .takes_job = true, .takes_run_options = true, .options = chaos_command_options, .run = chaos_command,
     .summary = "run a job under faults, again and again, and compare its output with that of a run without",
     .details = "JOB and its options are those of 'run'; the job must come to its end by itself. Each run has a directory of its own, in which its "
                "output is, too: file sinks are led there, and standard output becomes a file. Output is compared as a multiset of lines.\n\n"
                "Where neither the command line nor the environment says otherwise, checkpoints are taken every 10ms and restarts are not limited. A "
                "launcher that was killed is started again as a user would: by the same command."},
    {.name = "events", .words = "", .takes_job = true, .options = events_options, .run = events_command,
     .summary = "show the event log of a job, running or not"},
    {.name = "doctor", .words = "", .options = doctor_options, .run = doctor_command,
     .summary = "judge this machine: what will not work well, and how to mend it"},
    {.name = "help", .words = "[COMMAND]", .words_max = 1, .run = help_command, .summary = "show help on the program or on a command"},
};

const struct command *command_at(size_t index) { return index < COUNT_OF(command_table) ? &command_table[index] : NULL; }

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(command_table); i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

bool command_option_at(const struct cli *cli, const struct command *command, size_t index, struct command_option *ret_option)
{
    size_t own = 0;
    for (; command->options != NULL && command->options[own].name != NULL; own++)
        if (own == index) {
            *ret_option = command->options[own];
            return true;
        }
    if (command->takes_run_options) {
        const struct option *option = option_at(index - own);
        if (option != NULL)
            *ret_option = (struct command_option){option->name, option->placeholder, option->help};
        return option != NULL;
    }
    if (!cli->own || !command->takes_job || index != own)
        return false;
    *ret_option = directory_option;
    return true;
}

/* Manual pages in the man(7) macros. */
#include "cli/generate.h"

#include "engine/options.h"

#include <string.h>

/* Text as roff takes it: no escapes, no requests, dashes that can be copied. A paragraph ends at "\n\n". */
static void roff_text(FILE *out, const char *text)
{
    bool line_start = true;
    for (; *text != 0; text++) {
        if (strncmp(text, "\n\n", 2) == 0) {
            fputs("\n.PP\n", out);
            text++;
            line_start = true;
            continue;
        }
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text == '\n' ? ' ' : *text, out);
        line_start = false;
    }
}

static void roff_bold(FILE *out, const char *text)
{
    fputs("\\fB", out);
    roff_text(out, text);
    fputs("\\fR", out);
}

static void head(FILE *out, const char *page, const char *summary)
{
    fprintf(out, ".TH \"%s\" 1 \"\" \"Weir %s\" \"Weir\"\n.nh\n.ad l\n.SH NAME\n", page, weir_version());
    roff_text(out, page);
    fputs(" \\- ", out);
    roff_text(out, summary);
    fputc('\n', out);
}

static void option_entry(FILE *out, const struct command_option *option)
{
    char heading[128];
    snprintf(heading, sizeof heading, "--%s", option->name);
    fputs(".TP\n", out);
    roff_bold(out, heading);
    if (option->placeholder != NULL) {
        fputs("=\\fI", out);
        roff_text(out, option->placeholder);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    roff_text(out, option->help);
    fputs(".\n", out);
}

/* Choices, default and environment, behind an option's sentence. */
static void run_option_details(FILE *out, const struct option *option)
{
    for (size_t i = 0; option->choices != NULL && option->choices[i] != NULL; i++) {
        fputs(i == 0 ? "One of " : ", ", out);
        roff_bold(out, option->choices[i]);
    }
    if (option->choices != NULL)
        fputs(".\n", out);
    if (option->fallback != NULL) {
        fputs("Default: ", out);
        roff_bold(out, option->fallback);
        fputs(".\n", out);
    }
    if (option->environment != NULL)
        fprintf(out, "Also given by the environment variable \\fB%s\\fR.\n", option->environment);
}

static void run_options(FILE *out)
{
    const char *group = "";
    for (size_t i = 0; option_at(i) != NULL; i++) {
        const struct option *option = option_at(i);
        struct command_option shown = {option->name, option->placeholder, option->help};
        if (strcmp(option->group, group) != 0)
            fprintf(out, ".SS %s\n", option->group);
        group = option->group;
        option_entry(out, &shown);
        run_option_details(out, option);
    }
}

static void exit_codes(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; exit_code_at(i).text != NULL; i++) {
        fprintf(out, ".TP\n.B %d\n", exit_code_at(i).value);
        roff_text(out, exit_code_at(i).text);
        fputs(".\n", out);
    }
}

static void environment(FILE *out)
{
    static const char *const rows[][2] = {
        {"XDG_STATE_HOME", "Where checkpoint directories are made, as weir/NAME below it; else ~/.local/state"},
        {"WEIR_RUNTIME_DIR", "Where running jobs are registered; else weir-UID below $XDG_RUNTIME_DIR, or below /tmp"},
    };
    fputs(".SH ENVIRONMENT\n", out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fprintf(out, ".TP\n.B %s\n", rows[i][0]);
        roff_text(out, rows[i][1]);
        fputs(".\n", out);
    }
    for (size_t i = 0; option_at(i) != NULL; i++)
        if (option_at(i)->environment != NULL) {
            fprintf(out, ".TP\n.B %s\nThe option ", option_at(i)->environment);
            roff_bold(out, "--");
            roff_bold(out, option_at(i)->name);
            fputs(" of run.\n", out);
        }
}

static void files(FILE *out)
{
    static const char *const rows[][2] = {
        {"DIR/manifest-ID", "A complete checkpoint; DIR is the checkpoint directory of the job"},
        {"DIR/snapshots/", "The state files that manifests name"},
        {"DIR/events.jsonl", "The event log; older events are in events.1.jsonl to events.3.jsonl"},
        {"DIR/control.sock", "The control socket of the running job, for its user and root"},
    };
    fputs(".SH FILES\n", out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fprintf(out, ".TP\n.I %s\n", rows[i][0]);
        roff_text(out, rows[i][1]);
        fputs(".\n", out);
    }
}

void man_program(const struct cli *cli, FILE *out)
{
    head(out, "weir", "run stream-processing jobs on this machine");
    fputs(".SH SYNOPSIS\n.B weir\n.I COMMAND\n.RI [ JOB ]\n.RI [ OPTIONS ]\n.SH DESCRIPTION\n", out);
    roff_text(out, "Weir runs stream-processing jobs written in C. Every operator is a process of its own; rings in shared memory join "
                   "them. A job survives SIGKILL of any of its processes with exactly-once results.\n\n"
                   "JOB is the name of a running job or its checkpoint directory; for run it is a built-in job, or the path of a shared "
                   "object.");
    fputs("\n.SH COMMANDS\n", out);
    for (size_t i = 0; command_at(i) != NULL; i++) {
        fputs(".TP\n", out);
        roff_bold(out, command_at(i)->name);
        fputc('\n', out);
        roff_text(out, command_at(i)->summary);
        fputs(".\n", out);
    }
    fputs(".SH BUILT-IN JOBS\n", out);
    for (size_t i = 0; i < cli->job_count; i++) {
        fputs(".TP\n", out);
        roff_bold(out, cli->jobs[i].name);
        fputc('\n', out);
        roff_text(out, cli->jobs[i].help);
        fputc('\n', out);
    }
    fputs(".SH OPTIONS\n.TP\n\\fB\\-\\-help\\fR\nShows the help; behind a command, that of the command.\n"
          ".TP\n\\fB\\-\\-version\\fR\nPrints the version.\n", out);
    exit_codes(out);
    environment(out);
    files(out);
    fputs(".SH SEE ALSO\n", out);
    for (size_t i = 0; command_at(i) != NULL; i++)
        fprintf(out, ".BR weir\\-%s (1)%s\n", command_at(i)->name, command_at(i + 1) != NULL ? "," : "");
}

void man_command(const struct cli *cli, const struct command *command, FILE *out)
{
    char page[64];
    struct command_option option;
    snprintf(page, sizeof page, "weir-%s", command->name);
    head(out, page, command->summary);
    fprintf(out, ".SH SYNOPSIS\n.B weir %s\n", command->name);
    if (command->takes_job)
        fputs(".I JOB\n", out);
    if (command->words[0] != 0)
        fprintf(out, ".I %s\n", command->words);
    if (command_option_at(cli, command, 0, &option))
        fputs(".RI [ OPTIONS ]\n", out);
    if (command->details != NULL) {
        fputs(".SH DESCRIPTION\n", out);
        roff_text(out, command->details);
        fputc('\n', out);
    }
    fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; command->takes_run_options && command->options != NULL && command->options[i].name != NULL; i++)
        option_entry(out, &command->options[i]);
    if (command->takes_run_options)
        run_options(out);
    for (size_t i = 0; !command->takes_run_options && command_option_at(cli, command, i, &option); i++)
        option_entry(out, &option);
    fputs(".TP\n\\fB\\-\\-help\\fR\nShows the help of the command.\n", out);
    exit_codes(out);
    fputs(".SH SEE ALSO\n.BR weir (1)\n", out);
}

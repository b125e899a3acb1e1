/* The completion of bash: commands, options, the words that an option takes, names of built-in and of running jobs. */
#include "cli/generate.h"

#include "engine/options.h"

#include <string.h>

static void option_names(const struct cli *cli, const struct command *command, FILE *out)
{
    struct command_option option;
    for (size_t i = 0; command_option_at(cli, command, i, &option); i++)
        fprintf(out, "--%s%s ", option.name, option.placeholder != NULL ? "=" : "");
    fputs("--help", out);
}

static void choices(FILE *out)
{
    for (size_t i = 0; option_at(i) != NULL; i++) {
        const struct option *option = option_at(i);
        if (option->choices == NULL)
            continue;
        fprintf(out, "        --%s) words=\"", option->name);
        for (size_t j = 0; option->choices[j] != NULL; j++)
            fprintf(out, "%s%s", j == 0 ? "" : " ", option->choices[j]);
        fputs("\" ;;\n", out);
    }
}

static void commands(const struct cli *cli, FILE *out)
{
    for (size_t i = 0; command_at(i) != NULL; i++) {
        fprintf(out, "        %s) words=\"", command_at(i)->name);
        option_names(cli, command_at(i), out);
        fputs("\" ;;\n", out);
    }
}

static void names(FILE *out, const char *variable, const struct cli *cli, bool of_jobs)
{
    fprintf(out, "    local %s=\"", variable);
    for (size_t i = 0; of_jobs ? i < cli->job_count : command_at(i) != NULL; i++)
        fprintf(out, "%s%s", i == 0 ? "" : " ", of_jobs ? cli->jobs[i].name : command_at(i)->name);
    fputs("\"\n", out);
}

static void job_commands(FILE *out)
{
    bool first = true;
    for (size_t i = 0; command_at(i) != NULL; i++)
        if (command_at(i)->takes_job && !command_at(i)->takes_run_options) {
            fprintf(out, "%s%s", first ? "" : "|", command_at(i)->name);
            first = false;
        }
}

void completion_bash(const struct cli *cli, FILE *out)
{
    fputs("# Completion of weir for bash; made by the build.\n"
          "_weir()\n{\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} words='' option\n"
          "    COMPREPLY=()\n", out);
    names(out, "commands", cli, false);
    names(out, "jobs", cli, true);
    fputs("    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W \"$commands --help --version\" -- \"$current\"))\n"
          "        return\n"
          "    fi\n"
          "    option=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    if [ \"$option\" = = ]; then option=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
          "    if [ \"$current\" = = ]; then option=${COMP_WORDS[COMP_CWORD-1]} current=''; fi\n"
          "    case $option in\n", out);
    choices(out);
    fputs("        --directory|--dead-letter|--expect|--scratch|--junit) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
          "    esac\n"
          "    if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); return; fi\n"
          "    case ${COMP_WORDS[1]} in\n", out);
    commands(cli, out);
    fputs("    esac\n"
          "    if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
          "        case ${COMP_WORDS[1]} in\n"
          "        run|chaos) words=\"$words $jobs\"; compopt -o filenames; COMPREPLY=($(compgen -f -X '!*.so' -- \"$current\")) ;;\n"
          "        help) words=\"$words $commands\" ;;\n"
          "        ", out);
    job_commands(out);
    fputs(")\n"
          "            words=\"$words $(weir list --json 2>/dev/null | sed -n '/\"built_in\"/q; s/.*\"name\": \"\\([^\"]*\\)\".*/\\1/p')\"\n"
          "            COMPREPLY=($(compgen -d -- \"$current\")) ;;\n"
          "        esac\n"
          "    fi\n"
          "    COMPREPLY+=($(compgen -W \"$words\" -- \"$current\"))\n"
          "    case ${COMPREPLY[0]-} in *=) compopt -o nospace ;; esac\n"
          "}\n"
          "complete -F _weir weir\n", out);
}

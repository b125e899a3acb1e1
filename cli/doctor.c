/* `doctor`: runs the checks and prints what they found. */
#include "cli/doctor.h"

#include "cli/cli.h"
#include "engine/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const level_names[] = {"ok", "warn", "fail"};

void finding_found(struct finding *finding, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(finding->found, sizeof finding->found, format, args);
    va_end(args);
}

void finding_trouble(struct finding *finding, enum finding_level level, const char *meaning, const char *cure)
{
    finding->level = level;
    snprintf(finding->meaning, sizeof finding->meaning, "%s", meaning);
    snprintf(finding->cure, sizeof finding->cure, "%s", cure);
}

bool doctor_read_line(const char *path, char *line, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, line, capacity - 1);
    close(fd);
    if (got <= 0)
        return false;
    line[got] = 0;
    line[strcspn(line, "\n")] = 0;
    return true;
}

bool doctor_read_number(const char *path, uint64_t *ret_number)
{
    char line[64], *end;
    if (!doctor_read_line(path, line, sizeof line))
        return false;
    errno = 0;
    unsigned long long number = strtoull(line, &end, 10);
    if (end == line || errno != 0)
        return false;
    *ret_number = number;
    return true;
}

/* The directory itself is made by the first run: until then the one that it would be made in is judged. */
static int find_directory(const struct arguments *arguments, struct doctor *doctor, struct weir_error *err)
{
    struct stat status;
    const char *given = arguments_value(arguments, "directory");
    if (given != NULL && snprintf(doctor->directory, sizeof doctor->directory, "%s", given) >= (int)sizeof doctor->directory)
        return error_set(err, WEIR_EINVAL, "doctor: --directory: the path is too long");
    int code = given == NULL ? job_options_directory("doctor", doctor->directory, err) : WEIR_OK;
    while (code == WEIR_OK && stat(doctor->directory, &status) != 0 && strcmp(doctor->directory, "/") != 0) {
        char *slash = strrchr(doctor->directory, '/');
        if (slash == NULL)
            snprintf(doctor->directory, sizeof doctor->directory, ".");
        else
            slash[slash == doctor->directory] = 0;
    }
    return code;
}

static void print_finding(const char *name, const struct finding *finding)
{
    printf("%-5s %-16s %s\n", level_names[finding->level], name, finding->found);
    if (finding->meaning[0] != 0)
        printf("%-22s means: %s\n", "", finding->meaning);
    if (finding->cure[0] != 0)
        printf("%-22s mend:  %s\n", "", finding->cure);
}

static json_t *describe(const char *name, const struct finding *finding)
{
    json_t *row = json_pack("{s:s, s:s, s:s}", "check", name, "level", level_names[finding->level], "found", finding->found);
    if (row != NULL && finding->meaning[0] != 0)
        json_object_set_new(row, "meaning", json_string(finding->meaning));
    if (row != NULL && finding->cure[0] != 0)
        json_object_set_new(row, "mend", json_string(finding->cure));
    return row;
}

static void run_checks(const struct doctor *doctor, const struct doctor_check *checks, json_t *rows, unsigned counts[3])
{
    for (; checks->name != NULL; checks++) {
        struct finding finding = {0};
        checks->check(doctor, &finding);
        counts[finding.level]++;
        if (rows != NULL)
            json_array_append_new(rows, describe(checks->name, &finding));
        else
            print_finding(checks->name, &finding);
    }
}

int doctor_command(const struct cli *cli, const struct arguments *arguments)
{
    static const struct doctor_check *const groups[] = {doctor_kernel_checks, doctor_limit_checks, doctor_disk_checks};
    struct doctor doctor;
    struct weir_error err = {0};
    unsigned counts[3] = {0};
    if (find_directory(arguments, &doctor, &err) != WEIR_OK)
        return print_failure(cli, &err);
    json_t *rows = arguments_has(arguments, "json") ? json_array() : NULL;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        run_checks(&doctor, groups[i], rows, counts);
    if (rows != NULL) {
        json_t *all = json_pack("{s:b, s:O}", "ok", counts[FINDING_FAIL] == 0, "checks", rows);
        print_json(all);
        json_decref(all);
    } else {
        printf("\n%u ok, %u to improve, %u that will not work\n", counts[FINDING_OK], counts[FINDING_WARN], counts[FINDING_FAIL]);
    }
    json_decref(rows);
    return counts[FINDING_FAIL] == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* `checkpoints` and `inspect`: what lies in a checkpoint directory, whether its job runs or not. Nothing is changed there. */
#include "cli/cli.h"
#include "cli/inspect.h"
#include "cli/table.h"
#include "engine/event_log.h"
#include "engine/option_value.h"
#include "snapshot/checkpoint.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_directory(const struct cli *cli, const struct arguments *arguments, struct checkpoint_dir *ret_dir,
                          struct weir_error *err)
{
    char directory[PATH_MAX];
    int code = target_find(cli, arguments, true, directory, err);
    if (code != WEIR_OK)
        return code;
    code = checkpoint_dir_open(io_system(), directory, false, ret_dir, err);
    return code == WEIR_ENOENT ? error_append(err, ": no job has kept checkpoints there") : code;
}

static const char *kind_name(uint32_t kind)
{
    return kind == MANIFEST_CHECKPOINT ? "checkpoint" : kind == MANIFEST_SAVEPOINT ? "savepoint" : "unreadable";
}

static const char *state_name(const struct checkpoint_info *info)
{
    return info->complete ? "complete" : info->reason.code == WEIR_EVERSION ? "newer version" : "damaged";
}

static json_t *describe(const struct checkpoint_info *info)
{
    char created[EVENT_TIME_BYTES];
    json_t *row = json_pack("{s:I, s:s, s:b, s:s}", "id", (json_int_t)info->id, "kind", kind_name(info->kind), "complete",
                            (int)info->complete, "state", state_name(info));
    if (row == NULL)
        return NULL;
    if (info->kind != 0) {
        json_object_set_new(row, "created", json_string(event_time_format(info->created_ms, created, sizeof created)));
        json_object_set_new(row, "duration_ms", json_real((double)info->duration_ns / 1e6));
        json_object_set_new(row, "bytes", json_integer((json_int_t)info->total_bytes));
    }
    if (!info->complete)
        json_object_set_new(row, "reason", json_string(info->reason.text));
    return row;
}

static void add_row(struct table *table, const struct checkpoint_info *info)
{
    char created[EVENT_TIME_BYTES], duration[32], bytes[32];
    bool readable = info->kind != 0;
    table_cell(table, "%llu", (unsigned long long)info->id);
    table_cell(table, "%s", kind_name(info->kind));
    table_cell(table, "%s", state_name(info));
    table_cell(table, "%s", readable ? event_time_format(info->created_ms, created, sizeof created) : "-");
    table_cell(table, "%s", readable ? human_duration(info->duration_ns, duration, sizeof duration) : "-");
    table_cell(table, "%s", readable ? human_bytes(info->total_bytes, bytes, sizeof bytes) : "-");
}

static int print_list(const struct checkpoint_dir *dir, const struct checkpoint_list *list, bool as_json)
{
    static const char *const headers[] = {"CHECKPOINT", "KIND", "STATE", "CREATED", ">DURATION", ">SIZE"};
    struct table table;
    json_t *rows = json_array();
    table_begin(&table, headers, 6);
    for (size_t i = list->count; i-- > 0;)
        if (as_json)
            json_array_append_new(rows, describe(&list->checkpoints[i]));
        else
            add_row(&table, &list->checkpoints[i]);
    table_end(&table);
    int status = EXIT_DONE;
    if (as_json) {
        json_t *all = json_pack("{s:s, s:O}", "directory", dir->path, "checkpoints", rows);
        status = print_json(all);
        json_decref(all);
    } else if (list->count == 0) {
        printf("No checkpoint in '%s'.\n", dir->path);
    }
    json_decref(rows);
    for (size_t i = list->count; i-- > 0 && !as_json;)
        if (!list->checkpoints[i].complete)
            printf("%llu is %s: %s\n", (unsigned long long)list->checkpoints[i].id,
                   list->checkpoints[i].reason.code == WEIR_EVERSION ? "of a newer version" : "damaged", list->checkpoints[i].reason.text);
    return status;
}

int checkpoints_command(const struct cli *cli, const struct arguments *arguments)
{
    struct checkpoint_dir dir;
    struct checkpoint_list list;
    struct weir_error err = {0};
    if (open_directory(cli, arguments, &dir, &err) != WEIR_OK) {
        error_context(&err, "checkpoints");
        return print_failure(cli, &err);
    }
    int code = checkpoint_list(&dir, &list, &err);
    int status = code == WEIR_OK ? print_list(&dir, &list, arguments_has(arguments, "json")) : print_failure(cli, &err);
    if (code == WEIR_OK)
        checkpoint_list_free(&list);
    checkpoint_dir_close(&dir);
    return status;
}

/* ------------------------------------------------------------------------------------------------ inspect -------- */

static int choose(const struct checkpoint_dir *dir, const char *given, uint64_t *ret_id, struct weir_error *err)
{
    struct checkpoint_list list;
    if (given != NULL) {
        char *end;
        errno = 0;
        unsigned long long id = strtoull(given, &end, 10);
        if (!isdigit((unsigned char)given[0]) || *end != 0 || errno != 0 || id == 0)
            return error_set(err, WEIR_EINVAL, "'%s' is no number of a checkpoint: 'checkpoints' lists them", given);
        *ret_id = id;
        return WEIR_OK;
    }
    int code = checkpoint_list(dir, &list, err);
    if (code != WEIR_OK)
        return code;
    if (list.count == 0)
        code = error_set(err, WEIR_ENOENT, "there is no checkpoint in '%s'", dir->path);
    else
        *ret_id = list.checkpoints[list.count - 1].id;
    checkpoint_list_free(&list);
    return code;
}

/* A running job may delete an old checkpoint while it is read: then it is not found, which is what the user is told. */
static int inspect(const struct checkpoint_dir *dir, const struct arguments *arguments, struct weir_error *err)
{
    uint64_t id = 0;
    struct manifest *manifest = NULL;
    struct weir_error damage = {0};
    bool verify = arguments_has(arguments, "verify");
    int code = choose(dir, arguments->word_count > 0 ? arguments->words[0] : NULL, &id, err);
    if (code == WEIR_OK)
        code = manifest_read(dir, id, &manifest, err);
    if (code != WEIR_OK)
        return code;
    int verified = verify ? checkpoint_verify(dir, id, IO_AUTO, &damage) : WEIR_OK;
    if (arguments_has(arguments, "json"))
        inspect_print_json(manifest, verify, &damage);
    else
        inspect_print_text(manifest, verify, &damage);
    manifest_free(manifest);
    return verified == WEIR_OK ? WEIR_OK : error_set(err, verified, "%s", damage.text);
}

int inspect_command(const struct cli *cli, const struct arguments *arguments)
{
    struct checkpoint_dir dir;
    struct weir_error err = {0};
    int code = open_directory(cli, arguments, &dir, &err);
    if (code == WEIR_OK) {
        code = inspect(&dir, arguments, &err);
        checkpoint_dir_close(&dir);
    }
    if (code == WEIR_OK)
        return EXIT_DONE;
    error_context(&err, "inspect");
    return print_failure(cli, &err);
}

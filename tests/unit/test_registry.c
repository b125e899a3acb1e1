#include "engine/registry.h"

#include "engine/control.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[SCRATCH_PATH_BYTES], runtime[SCRATCH_PATH_BYTES + 16], first[SCRATCH_PATH_BYTES + 16], second[SCRATCH_PATH_BYTES + 16];
static struct weir_error failure;

static int listen_in(const char *directory)
{
    int fd = -1, directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(control_listen(directory_fd, &fd, &failure), WEIR_OK, "%s", failure.text);
    close(directory_fd);
    return fd;
}

static void setup(void)
{
    scratch_make("registry", root);
    snprintf(runtime, sizeof runtime, "%s/runtime", root);
    snprintf(first, sizeof first, "%s/first", root);
    snprintf(second, sizeof second, "%s/second", root);
    mkdir(first, 0700);
    mkdir(second, 0700);
    setenv("WEIR_RUNTIME_DIR", runtime, 1);
}

static void teardown(void) { scratch_remove(root); }

TestSuite(registry, .init = setup, .fini = teardown);

Test(registry, a_running_job_is_found_by_name)
{
    struct registry_entry entry;
    int fd = listen_in(first);
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK, "%s", failure.text);
    cr_assert_eq(registry_find("orders", &entry, &failure), WEIR_OK);
    cr_assert_str_eq(entry.directory, first);
    close(fd);
}

Test(registry, its_directory_is_for_its_owner_alone)
{
    struct stat status;
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK);
    cr_assert_eq(stat(runtime, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0700);
}

Test(registry, a_job_that_no_longer_runs_is_forgotten)
{
    char path[2 * SCRATCH_PATH_BYTES];
    struct registry_entry entry;
    struct stat status;
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK);
    cr_assert_eq(registry_find("orders", &entry, &failure), WEIR_ENOENT);
    snprintf(path, sizeof path, "%s/orders", runtime);
    cr_assert_neq(lstat(path, &status), 0, "the stale entry is gone");
}

Test(registry, two_jobs_of_one_name_get_names_of_their_own)
{
    struct registry_entry entry, *entries = NULL;
    size_t count = 0;
    int fd_first = listen_in(first), fd_second = listen_in(second);
    cr_assert_eq(registry_add("orders", first, &entry, &failure), WEIR_OK);
    cr_assert_str_eq(entry.name, "orders");
    cr_assert_eq(registry_add("orders", second, &entry, &failure), WEIR_OK);
    cr_assert_str_eq(entry.name, "orders-2");
    cr_assert_eq(registry_list(&entries, &count, &failure), WEIR_OK);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(entries[0].name, "orders");
    cr_assert_str_eq(entries[1].directory, second);
    free(entries);
    close(fd_first);
    close(fd_second);
}

Test(registry, a_job_that_runs_again_in_its_directory_gets_its_name_back)
{
    struct registry_entry entry;
    int fd = listen_in(first);
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK);
    cr_assert_eq(registry_add("orders", first, &entry, &failure), WEIR_OK);
    cr_assert_str_eq(entry.name, "orders");
    close(fd);
}

Test(registry, removing_leaves_the_entry_of_another_job)
{
    struct registry_entry mine, found;
    int fd = listen_in(second);
    cr_assert_eq(registry_add("orders", first, &mine, &failure), WEIR_OK);
    cr_assert_eq(registry_add("orders", second, NULL, &failure), WEIR_OK, "the first does not run: its name is taken over");
    registry_remove(&mine);
    cr_assert_eq(registry_find("orders", &found, &failure), WEIR_OK);
    cr_assert_str_eq(found.directory, second);
    registry_remove(&found);
    cr_assert_eq(registry_find("orders", &found, &failure), WEIR_ENOENT);
    close(fd);
}

Test(registry, without_a_registry_nothing_runs)
{
    struct registry_entry *entries = NULL, entry;
    size_t count = 99;
    cr_assert_eq(registry_list(&entries, &count, &failure), WEIR_OK);
    cr_assert_eq(count, 0);
    cr_assert_eq(registry_find("orders", &entry, &failure), WEIR_ENOENT);
}

Test(registry, a_name_cannot_lead_out_of_it)
{
    struct registry_entry entry;
    int fd = listen_in(first);
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK);
    cr_assert_eq(registry_find("../first", &entry, &failure), WEIR_ENOENT);
    cr_assert_eq(registry_find("", &entry, &failure), WEIR_ENOENT);
    cr_assert_eq(registry_find(".", &entry, &failure), WEIR_ENOENT);
    close(fd);
}

Test(registry, a_mistyped_name_gets_a_suggestion)
{
    struct registry_entry entry;
    int fd = listen_in(first);
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_OK);
    cr_assert_eq(registry_find("ordres", &entry, &failure), WEIR_ENOENT);
    cr_assert_not_null(strstr(failure.text, "did you mean 'orders'"), "%s", failure.text);
    close(fd);
}

Test(registry, a_directory_that_others_may_write_to_is_refused)
{
    mkdir(runtime, 0700);
    chmod(runtime, 0777);
    cr_assert_eq(registry_add("orders", first, NULL, &failure), WEIR_EPERM);
    cr_assert_not_null(strstr(failure.text, "WEIR_RUNTIME_DIR"));
}

Test(registry, junk_in_it_is_ignored)
{
    char path[2 * SCRATCH_PATH_BYTES];
    struct registry_entry *entries = NULL;
    size_t count = 99;
    mkdir(runtime, 0700);
    snprintf(path, sizeof path, "%s/file", runtime);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(path, sizeof path, "%s/link", runtime);
    cr_assert_eq(symlink("relative", path), 0);
    cr_assert_eq(registry_list(&entries, &count, &failure), WEIR_OK);
    cr_assert_eq(count, 0);
}

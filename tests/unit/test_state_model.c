/*
 * Random operations of every kind on op_state and on a plain model, with cuts at random moments: the frozen image
 * must equal the model as it was at the cut, however the live side goes on, and what is loaded from it must be the
 * same state again; now and then the run goes on from it, loaded at once or lazily. WEIR_SEED=n repeats a run; WEIR_STEPS=n makes it longer.
 */
#include "unit/state_run.h"

static struct run run_model(uint32_t key_bytes, uint32_t key_count, uint64_t limit_bytes, uint64_t clear_share)
{
    struct run run = {.key_bytes = key_bytes, .limit_bytes = limit_bytes, .clear_share = clear_share,
                      .model = model_make(key_count)};
    uint64_t seed = number_from_env("WEIR_SEED", (uint64_t)time(NULL) * 1000 + key_bytes);
    uint64_t steps = number_from_env("WEIR_STEPS", 20000);
    fprintf(stderr, "WEIR_SEED=%llu\n", (unsigned long long)seed);
    run.random = seed * 2 + 1;
    run.region = malloc(sizeof *run.region);
    struct weir_error err = {0};
    struct op_state_config config = config_of(&run);
    cr_assert_eq(chunk_region_create(run.region, "model", limit_bytes, 0, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(op_state_open(&run.op, run.region, &config, &err), WEIR_OK, "%s", err.text);
    for (uint64_t i = 0; i < steps; i++) {
        step(&run);
        if (!run.cutting && below(&run, 300) == 0)
            begin_cut(&run);
        else if (run.cutting && below(&run, 10) == 0 && (!gather(&run, below(&run, 20)) || below(&run, 50) == 0))
            finish_cut(&run);
        if (below(&run, 40) == 0)
            memory_image_go_on(&run.lazy, 1);
        if (below(&run, steps / 8) == 0)
            check_all(run.op, &run, &run.model);
    }
    if (run.cutting)
        finish_cut(&run);
    cr_assert_gt(run.cuts, 3);
    check_all(run.op, &run, &run.model);
    check_timers(run.op, &run, &run.model);
    run.model.timer_count = 0; /* all have fired */
    return run;
}

static void end_run(struct run *run)
{
    free(run->lazy.chunks);
    op_state_close(run->op);
    chunk_region_destroy(run->region);
    free(run->region);
    model_free(&run->model);
}

Test(state_model, keys_of_8_bytes)
{
    struct run run = run_model(8, 300, 256 << 20, 60);
    cr_assert_eq(run.limits_hit, 0);
    end_run(&run);
}

Test(state_model, keys_of_4_bytes_and_many_of_them)
{
    struct run run = run_model(4, 3000, 256 << 20, 60);
    end_run(&run);
}

Test(state_model, keys_that_vary)
{
    struct run run = run_model(0, 300, 256 << 20, 60);
    end_run(&run);
}

Test(state_model, keys_too_long_for_a_row)
{
    struct run run = run_model(100, 100, 256 << 20, 60);
    end_run(&run);
}

/* Appends until there is no room for more. */
static void fill_to_the_limit(struct run *run)
{
    static const unsigned char element[3000] = {7};
    struct model_list *expected = &run->model.rows[run->model.key_count].list;
    while (done(run, op_state_list_append(run->op, OP_LIST, element, sizeof element, NULL)))
        model_list_append(expected, element, sizeof element);
}

Test(state_model, at_the_limit_an_operation_that_fails_changes_nothing)
{
    struct run run = run_model(8, 100, CHUNK_LIMIT_BYTES_MIN + CHUNK_LIMIT_BYTES_MIN / 2, 8);
    fill_to_the_limit(&run);
    cr_assert_gt(run.limits_hit, 0);
    check_all(run.op, &run, &run.model);
    for (int i = 0; i < 500; i++)
        step(&run);
    check_all(run.op, &run, &run.model);
    for (unsigned state = OP_FIXED; state < STATE_COUNT; state++)
        clear_one(&run, &run.model.rows[run.model.key_count], state);
    check_all(run.op, &run, &run.model);
    end_run(&run);
}

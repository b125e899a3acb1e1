/* test_harness.c - weir_harness_...: one operator without processes, as a user's test uses it. */
#include <weir.h>

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(harness, .timeout = 240);

/* ---- an operator that does what its record says ---- */

enum { COUNT, NAME, LOG, SEEN, TOTAL };
static const struct weir_state states[] = {
    [COUNT] = {"count", WEIR_VALUE, WEIR_PER_KEY, 8, 0},      [NAME] = {"name", WEIR_VALUE, WEIR_PER_KEY, 0, 0},
    [LOG] = {"log", WEIR_LIST, WEIR_PER_KEY, 0, 0},           [SEEN] = {"seen", WEIR_MAP, WEIR_PER_KEY, 0, 0},
    [TOTAL] = {"total", WEIR_VALUE, WEIR_PER_OPERATOR, 8, 0},
};

struct order {
    uint64_t key;
    char what; /* c count, n name, l log, m map, r remove, d dump, C clear key, t timer, x cancel, f fail, s side, i bad state, w read */
    char text[15];
};

struct self {
    uint64_t opened, records;
};

static int fail_of(struct weir_ctx *ctx) { return weir_ctx_error(ctx)->code; }

static int dump(struct weir_ctx *ctx)
{
    char text[512];
    size_t name_bytes = 0;
    const uint64_t *count = weir_value_get(ctx, COUNT, NULL);
    const char *name = weir_value_get(ctx, NAME, &name_bytes);
    int used = snprintf(text, sizeof text, "%llu '%.*s' [", count != NULL ? (unsigned long long)*count : 0, (int)name_bytes, name != NULL ? name : "");
    struct weir_iterator list = {{0}}, map = {{0}};
    struct weir_bytes element, key, value;
    while (weir_list_next(ctx, LOG, &list, &element) == WEIR_OK)
        used += snprintf(text + used, sizeof text - (size_t)used, "%.*s ", (int)element.size_bytes, (const char *)element.data);
    used += snprintf(text + used, sizeof text - (size_t)used, "] %llu:", (unsigned long long)weir_count(ctx, SEEN));
    unsigned entries = 0;
    while (weir_map_next(ctx, SEEN, &map, &key, &value) == WEIR_OK)
        entries += (unsigned)(key.size_bytes == value.size_bytes && memcmp(key.data, value.data, key.size_bytes) == 0);
    used += snprintf(text + used, sizeof text - (size_t)used, "%u", entries);
    return weir_emit(ctx, 0, text, (size_t)used);
}

static int change(struct weir_ctx *ctx, const struct order *order)
{
    size_t size_bytes = strlen(order->text);
    uint64_t *number;
    switch (order->what) {
    case 'c':
        number = weir_value(ctx, COUNT);
        if (number == NULL)
            return fail_of(ctx);
        ++*number;
        number = weir_value(ctx, TOTAL);
        if (number == NULL)
            return fail_of(ctx);
        return ++*number, WEIR_OK;
    case 'n': return weir_value_set(ctx, NAME, order->text, size_bytes);
    case 'l': return weir_list_append(ctx, LOG, order->text, size_bytes);
    case 'm': return weir_map_put(ctx, SEEN, order->text, size_bytes, order->text, size_bytes);
    case 'r': return weir_map_remove(ctx, SEEN, order->text, size_bytes) == WEIR_OK ? WEIR_OK : weir_fail(ctx, "nothing to remove");
    case 'C': return weir_clear_key(ctx);
    case 't': return weir_timer_set(ctx, 3, (int64_t)atoll(order->text));
    case 'x': return weir_timer_cancel(ctx, 3) >= 0 ? WEIR_OK : fail_of(ctx);
    default: return weir_fail(ctx, "what is '%c'?", order->what);
    }
}

static int on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct order *order = record->data;
    struct self *self = weir_self(ctx);
    self->records++;
    if (order->what == 'd')
        return dump(ctx);
    if (order->what == 's')
        return weir_emit(ctx, 1, &record->input, sizeof record->input);
    if (order->what == 'i')
        return weir_list_append(ctx, COUNT, "x", 1);
    if (order->what == 'p')
        return weir_emit(ctx, 2, "x", 1);
    if (order->what == 'e') {
        char *out = weir_reserve(ctx, 0, 100);
        return out == NULL ? fail_of(ctx) : (memcpy(out, "reserved", 8), weir_emit_reserved(ctx, 8));
    }
    if (order->what == 'E')
        return weir_reserve(ctx, 0, 0) == NULL ? weir_fail(ctx, "no room for nothing") : weir_emit_reserved(ctx, 0);
    return change(ctx, order);
}

static int on_timer(struct weir_ctx *ctx, uint64_t id, int64_t at_ms)
{
    char text[64];
    uint64_t key;
    size_t key_bytes;
    const void *bytes = weir_key(ctx, &key_bytes);
    memcpy(&key, bytes, sizeof key);
    int used = snprintf(text, sizeof text, "timer %llu of %llu at %lld, now %lld", (unsigned long long)id, (unsigned long long)key,
                        (long long)at_ms, (long long)weir_now_ms(ctx));
    return key_bytes == 8 ? weir_emit(ctx, 0, text, (size_t)used) : weir_fail(ctx, "a key of %zu bytes", key_bytes);
}

static int opened_count;
static int on_open(struct weir_ctx *ctx)
{
    struct self *self = weir_self(ctx);
    cr_assert(self->opened == 0 && self->records == 0, "private memory is as at a first start");
    self->opened = 1;
    opened_count++;
    return WEIR_OK;
}

static int closed_count;
static void on_close(struct weir_ctx *ctx)
{
    (void)ctx;
    closed_count++;
}

static int on_end(struct weir_ctx *ctx)
{
    const uint64_t *total = weir_value_get(ctx, TOTAL, NULL);
    uint64_t value = total != NULL ? *total : 0;
    return weir_emit(ctx, 1, &value, sizeof value);
}

static const struct weir_operator op = {.type = "obedient",
                                        .states = states,
                                        .state_count = 5,
                                        .output_count = 2,
                                        .self_bytes = sizeof(struct self),
                                        .open = on_open,
                                        .on_record = on_record,
                                        .on_timer = on_timer,
                                        .on_end = on_end,
                                        .close = on_close};

static struct weir_harness *make(void)
{
    struct weir_harness *h = weir_harness_new(&op, NULL);
    cr_assert_not_null(h);
    cr_assert_eq(weir_harness_key_by(h, 0, 8), WEIR_OK);
    return h;
}

static int feed(struct weir_harness *h, uint64_t key, char what, const char *text)
{
    struct order order = {.key = key, .what = what};
    snprintf(order.text, sizeof order.text, "%s", text);
    return weir_harness_feed(h, 0, &order, sizeof order);
}

static void do_it(struct weir_harness *h, uint64_t key, char what, const char *text)
{
    cr_assert_eq(feed(h, key, what, text), WEIR_OK, "%s", weir_harness_error(h)->text);
}

/* The last thing that came out of port 0. */
static void assert_last(struct weir_harness *h, const char *expected)
{
    size_t count = weir_harness_output_count(h, 0);
    cr_assert_gt(count, 0u, "nothing came out; expected: %s", expected);
    struct weir_bytes last = weir_harness_output(h, 0, count - 1);
    cr_assert(last.size_bytes == strlen(expected) && memcmp(last.data, expected, last.size_bytes) == 0, "'%.*s', not '%s'",
              (int)last.size_bytes, (const char *)last.data, expected);
}

static void assert_state(struct weir_harness *h, uint64_t key, const char *expected)
{
    do_it(h, key, 'd', "");
    assert_last(h, expected);
}

/* ---- the facts ---- */

Test(harness, every_kind_of_state_belongs_to_its_key)
{
    struct weir_harness *h = make();
    assert_state(h, 1, "0 '' [] 0:0");
    for (unsigned i = 0; i < 3; i++)
        do_it(h, 1, 'c', "");
    do_it(h, 2, 'c', "");
    do_it(h, 1, 'n', "one");
    do_it(h, 2, 'l', "a");
    do_it(h, 2, 'l', "bc");
    do_it(h, 1, 'm', "x");
    do_it(h, 1, 'm', "yz");
    do_it(h, 1, 'm', "x");
    assert_state(h, 1, "3 'one' [] 2:2");
    assert_state(h, 2, "1 '' [a bc ] 0:0");
    do_it(h, 1, 'r', "x");
    assert_state(h, 1, "3 'one' [] 1:1");
    do_it(h, 1, 'n', "");
    assert_state(h, 1, "3 '' [] 1:1");
    do_it(h, 1, 'C', "");
    assert_state(h, 1, "0 '' [] 0:0");
    assert_state(h, 2, "1 '' [a bc ] 0:0");
    weir_harness_free(h);
}

Test(harness, outputs_are_kept_by_port_until_dropped)
{
    struct weir_harness *h = make();
    do_it(h, 1, 'd', "");
    do_it(h, 1, 's', "");
    do_it(h, 1, 'e', "");
    cr_assert_eq(weir_harness_output_count(h, 0), 2u);
    cr_assert_eq(weir_harness_output_count(h, 1), 1u);
    assert_last(h, "reserved");
    struct weir_bytes none = weir_harness_output(h, 0, 2);
    cr_assert(none.data == NULL && none.size_bytes == 0, "past the end there is nothing");
    weir_harness_drop_output(h);
    cr_assert_eq(weir_harness_output_count(h, 0), 0u);
    cr_assert_eq(weir_harness_output_count(h, 1), 0u);
    weir_harness_free(h);
}

Test(harness, the_input_is_told)
{
    struct weir_harness *h = make();
    struct order order = {.key = 1, .what = 's'};
    uint16_t input;
    cr_assert_eq(weir_harness_feed(h, 3, &order, sizeof order), WEIR_OK);
    memcpy(&input, weir_harness_output(h, 1, 0).data, sizeof input);
    cr_assert_eq(input, 3);
    cr_assert_eq(weir_harness_feed(h, WEIR_INPUTS_MAX, &order, sizeof order), WEIR_EINVAL);
    weir_harness_free(h);
}

Test(harness, timers_fire_in_order_when_their_time_has_come)
{
    struct weir_harness *h = make();
    do_it(h, 1, 't', "500");
    do_it(h, 2, 't', "200");
    do_it(h, 3, 't', "300");
    do_it(h, 3, 'x', "");
    do_it(h, 4, 't', "900");
    cr_assert_eq(weir_harness_set_time(h, 199), WEIR_OK);
    cr_assert_eq(weir_harness_output_count(h, 0), 0u);
    cr_assert_eq(weir_harness_set_time(h, 600), WEIR_OK);
    cr_assert_eq(weir_harness_output_count(h, 0), 2u);
    struct weir_bytes first = weir_harness_output(h, 0, 0);
    cr_assert_eq(strncmp(first.data, "timer 3 of 2 at 200, now ", 25), 0, "%.*s", (int)first.size_bytes, (const char *)first.data);
    do_it(h, 4, 't', "700"); /* moved */
    cr_assert_eq(weir_harness_set_time(h, 2000), WEIR_OK);
    cr_assert_eq(weir_harness_output_count(h, 0), 3u, "it fires once, at its new time");
    cr_assert_eq(weir_harness_set_time(h, 5000), WEIR_OK);
    cr_assert_eq(weir_harness_output_count(h, 0), 3u);
    weir_harness_free(h);
}

Test(harness, a_failure_is_reported_in_the_operators_words)
{
    struct weir_harness *h = make();
    cr_assert_eq(feed(h, 1, '?', ""), WEIR_EUSER);
    cr_assert_not_null(strstr(weir_harness_error(h)->text, "what is '?'?"), "%s", weir_harness_error(h)->text);
    weir_harness_free(h);
}

Test(harness, wrong_calls_are_refused)
{
    struct weir_harness *h = make();
    cr_assert_eq(feed(h, 1, 'i', ""), WEIR_EINVAL, "a value is no list");
    cr_assert_gt(strlen(weir_harness_error(h)->text), 0u);
    cr_assert_eq(feed(h, 1, 'p', ""), WEIR_EINVAL, "it has no port 2");
    cr_assert_lt(weir_harness_feed(h, 0, "short", 5), 0, "too short for its key");
    cr_assert_lt(weir_harness_key_by(h, 0, 8), 0, "too late for a key");
    weir_harness_free(h);
    h = weir_harness_new(&op, NULL);
    cr_assert_lt(weir_harness_key_by(h, 0, 0), 0);
    cr_assert_lt(weir_harness_key_by_fn(h, NULL), 0);
    cr_assert_lt(feed(h, 1, 'c', ""), 0, "per-key state without a key");
    weir_harness_free(h);
}

Test(harness, the_end_is_told_once_and_may_emit)
{
    struct weir_harness *h = make();
    uint64_t total;
    do_it(h, 1, 'c', "");
    do_it(h, 2, 'c', "");
    cr_assert_eq(weir_harness_end(h), WEIR_OK, "%s", weir_harness_error(h)->text);
    cr_assert_eq(weir_harness_output_count(h, 1), 1u);
    memcpy(&total, weir_harness_output(h, 1, 0).data, sizeof total);
    cr_assert_eq(total, 2u);
    weir_harness_free(h);
}

/* ---- snapshots ---- */

static void live_a_little(struct weir_harness *h, uint64_t keys)
{
    char text[32];
    for (uint64_t key = 0; key < keys; key++)
        for (unsigned i = 0; i <= key % 5; i++) {
            snprintf(text, sizeof text, "%llu-%u", (unsigned long long)key, i);
            do_it(h, key, 'c', "");
            do_it(h, key, 'l', text);
            do_it(h, key, 'm', text);
            do_it(h, key, 'n', text);
        }
}

Test(harness, a_restored_operator_has_the_state_of_the_snapshot)
{
    struct weir_harness *h = make();
    void *bytes;
    size_t size_bytes;
    live_a_little(h, 100);
    do_it(h, 7, 't', "1000");
    cr_assert_eq(weir_harness_snapshot(h, &bytes, &size_bytes), WEIR_OK, "%s", weir_harness_error(h)->text);
    live_a_little(h, 200);
    do_it(h, 3, 'C', "");
    assert_state(h, 3, "0 '' [] 0:0");
    int opened = opened_count, closed = closed_count;
    cr_assert_eq(weir_harness_restore(h, bytes, size_bytes), WEIR_OK, "%s", weir_harness_error(h)->text);
    cr_assert_eq(closed_count, closed + 1);
    cr_assert_eq(opened_count, opened + 1);
    assert_state(h, 3, "4 '3-3' [3-0 3-1 3-2 3-3 ] 4:4");
    assert_state(h, 150, "0 '' [] 0:0");
    weir_harness_drop_output(h);
    cr_assert_eq(weir_harness_set_time(h, 1000), WEIR_OK);
    cr_assert_eq(weir_harness_output_count(h, 0), 1u, "its timer is restored, and fires");
    free(bytes);
    weir_harness_free(h);
}

Test(harness, a_snapshot_goes_into_another_harness)
{
    struct weir_harness *a = make(), *b = make();
    void *bytes;
    size_t size_bytes;
    live_a_little(a, 50);
    cr_assert_eq(weir_harness_snapshot(a, &bytes, &size_bytes), WEIR_OK);
    weir_harness_free(a);
    cr_assert_eq(weir_harness_restore(b, bytes, size_bytes), WEIR_OK, "%s", weir_harness_error(b)->text);
    assert_state(b, 9, "5 '9-4' [9-0 9-1 9-2 9-3 9-4 ] 5:5");
    free(bytes);
    weir_harness_free(b);
}

Test(harness, the_same_calls_give_the_same_snapshot)
{
    struct weir_harness *a = make(), *b = make();
    void *bytes_a, *bytes_b;
    size_t size_a, size_b;
    live_a_little(a, 50);
    live_a_little(b, 50);
    cr_assert_eq(weir_harness_snapshot(a, &bytes_a, &size_a), WEIR_OK);
    cr_assert_eq(weir_harness_snapshot(b, &bytes_b, &size_b), WEIR_OK);
    cr_assert(size_a == size_b && memcmp(bytes_a, bytes_b, size_a) == 0);
    do_it(b, 1, 'c', "");
    free(bytes_b);
    cr_assert_eq(weir_harness_snapshot(b, &bytes_b, &size_b), WEIR_OK);
    cr_assert(size_a != size_b || memcmp(bytes_a, bytes_b, size_a) != 0, "another state, another snapshot");
    free(bytes_a);
    free(bytes_b);
    weir_harness_free(a);
    weir_harness_free(b);
}

Test(harness, an_operator_goes_on_after_a_snapshot_as_if_there_had_been_none)
{
    struct weir_harness *h = make();
    for (unsigned i = 0; i < 20; i++) {
        void *bytes;
        size_t size_bytes;
        do_it(h, 1, 'c', "");
        cr_assert_eq(weir_harness_snapshot(h, &bytes, &size_bytes), WEIR_OK);
        free(bytes);
    }
    assert_state(h, 1, "20 '' [] 0:0");
    weir_harness_free(h);
}

Test(harness, bytes_that_are_no_snapshot_are_refused)
{
    struct weir_harness *h = make();
    void *bytes;
    size_t size_bytes;
    live_a_little(h, 10);
    cr_assert_eq(weir_harness_snapshot(h, &bytes, &size_bytes), WEIR_OK);
    cr_assert_lt(weir_harness_restore(h, "nonsense, but long enough", 25), 0);
    cr_assert_lt(weir_harness_restore(h, bytes, 10), 0);
    cr_assert_lt(weir_harness_restore(h, bytes, size_bytes - 1), 0, "cut short");
    cr_assert_lt(weir_harness_restore(h, NULL, 0), 0);
    cr_assert_eq(weir_harness_restore(h, bytes, size_bytes), WEIR_OK, "and a sound one is still taken: %s", weir_harness_error(h)->text);
    assert_state(h, 4, "5 '4-4' [4-0 4-1 4-2 4-3 4-4 ] 5:5");
    free(bytes);
    weir_harness_free(h);
}

/* ---- not keyed, and batches ---- */

static const struct weir_state sum_states[] = {{"sum", WEIR_VALUE, WEIR_PER_OPERATOR, 8, 0}};
static int on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    uint64_t *sum = weir_value(ctx, 0), value;
    if (sum == NULL)
        return fail_of(ctx);
    for (size_t i = 0; i < count; i++) {
        memcpy(&value, records[i].data, sizeof value);
        *sum += value;
    }
    value = *sum;
    return weir_emit(ctx, 0, &value, sizeof value);
}
static const struct weir_operator sum_op = {.type = "sum", .states = sum_states, .state_count = 1, .on_batch = on_batch};

static int add_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    uint64_t *sum = weir_value(ctx, 0), value;
    if (sum == NULL)
        return fail_of(ctx);
    for (uint32_t i = 0; i < span->count; i++) {
        memcpy(&value, weir_span_at(span, i), sizeof value);
        *sum += value * span->size_bytes + span->input;
    }
    value = *sum;
    return span->stride_bytes % 8 != 0 ? weir_fail(ctx, "an odd stride") : value > 1000000 ? 7 : weir_emit(ctx, 0, &value, sizeof value);
}
static const struct weir_operator span_op = {.type = "sum", .states = sum_states, .state_count = 1, .on_span = add_span};
static const struct weir_operator keyed_span_op = {.type = "sum", .on_span = add_span};

Test(harness, an_operator_that_takes_spans_gets_each_record_in_one)
{
    struct weir_harness *h = weir_harness_new(&span_op, NULL);
    uint64_t sum = 0, expected = 0;
    for (uint64_t value = 1; value <= 9; value++) {
        cr_assert_eq(weir_harness_feed(h, value % 2, &value, sizeof value), WEIR_OK, "%s", weir_harness_error(h)->text);
        expected += value * 8 + value % 2;
        memcpy(&sum, weir_harness_output(h, 0, value - 1).data, sizeof sum);
        cr_assert_eq(sum, expected);
    }
    cr_assert_eq(weir_harness_feed(h, 0, &(uint64_t){1000000}, 8), WEIR_EINVAL);
    cr_assert_not_null(strstr(weir_harness_error(h)->text, "callback on_span returned 7"), "%s", weir_harness_error(h)->text);
    weir_harness_free(h);
    h = weir_harness_new(&keyed_span_op, NULL);
    cr_assert_eq(weir_harness_key_by(h, 0, 8), WEIR_OK);
    cr_assert_eq(weir_harness_feed(h, 0, &(uint64_t){1}, 8), WEIR_EINVAL);
    cr_assert_not_null(strstr(weir_harness_error(h)->text, "on_span is not for keyed operators"), "%s", weir_harness_error(h)->text);
    weir_harness_free(h);
}

Test(harness, an_operator_without_a_key_may_take_batches)
{
    struct weir_harness *h = weir_harness_new(&sum_op, NULL);
    uint64_t value, sum = 0;
    for (value = 1; value <= 100; value++)
        cr_assert_eq(weir_harness_feed(h, 0, &value, sizeof value), WEIR_OK, "%s", weir_harness_error(h)->text);
    size_t count = weir_harness_output_count(h, 0);
    cr_assert_gt(count, 0u);
    memcpy(&sum, weir_harness_output(h, 0, count - 1).data, sizeof sum);
    cr_assert_eq(sum, 5050u);
    weir_harness_free(h);
}

static int key_of_text(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    const struct order *order = record->data;
    memcpy(scratch, &order->key, 8);
    *ret_key = (struct weir_bytes){scratch, order->what == 'z' ? 0 : 8};
    return WEIR_OK;
}

Test(harness, a_key_function_may_use_its_scratch_and_must_yield_a_key)
{
    struct weir_harness *h = weir_harness_new(&op, NULL);
    cr_assert_eq(weir_harness_key_by_fn(h, key_of_text), WEIR_OK);
    do_it(h, 5, 'c', "");
    do_it(h, 6, 'c', "");
    do_it(h, 5, 'c', "");
    assert_state(h, 5, "2 '' [] 0:0");
    cr_assert_lt(feed(h, 5, 'z', ""), 0);
    cr_assert_not_null(strstr(weir_harness_error(h)->text, "no key"), "%s", weir_harness_error(h)->text);
    weir_harness_free(h);
}

/* ---- many records at once ---- */

enum { SEEN_COUNT, SEEN_NAME };
static const struct weir_state seen_states[] = {
    [SEEN_COUNT] = {"count", WEIR_VALUE, WEIR_PER_KEY, 8, 0},
    [SEEN_NAME] = {"name", WEIR_VALUE, WEIR_PER_KEY, 0, 0},
};

struct seen {
    uint64_t key, count;
};

/* Counts and emits {key, how many so far} for all of them, as a batch. */
static int count_all(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    void *counts[WEIR_BATCH_RECORDS_MAX];
    struct seen seen[WEIR_BATCH_RECORDS_MAX];
    int code = weir_values(ctx, SEEN_COUNT, records, count, counts);
    if (code < 0)
        return code;
    for (size_t i = 0; i < count; i++) {
        memcpy(&seen[i].key, records[i].data, sizeof seen[i].key);
        seen[i].count = ++*(uint64_t *)counts[i];
    }
    return weir_emit_batch(ctx, 0, seen, sizeof seen[0], count);
}

/* What else may be done with a batch, as the record says. */
static int on_seen(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct order *order = records->data;
    static char large[WEIR_RECORD_BYTES_MAX + 1];
    void *values[WEIR_BATCH_RECORDS_MAX];
    const uint64_t *value;
    switch (order->what) {
    case 'm': return weir_values(ctx, SEEN_COUNT, records, WEIR_BATCH_RECORDS_MAX + 1, values);
    case 'N': return weir_values(ctx, SEEN_NAME, records, count, values);
    case 'W': return weir_values(ctx, 9, records, count, values);
    case '0': return weir_values(ctx, SEEN_COUNT, NULL, 0, NULL);
    case 'k': /* no key is current behind it */
        if (weir_values(ctx, SEEN_COUNT, records, count, values) < 0 || weir_key(ctx, NULL) != NULL)
            return weir_fail(ctx, "a key is left");
        return weir_value(ctx, SEEN_COUNT) != NULL ? weir_fail(ctx, "of which key?") : fail_of(ctx);
    case 'K': /* but can be made so */
        if (weir_values(ctx, SEEN_COUNT, records, count, values) < 0 || weir_select_key(ctx, records) < 0)
            return fail_of(ctx);
        value = weir_value(ctx, SEEN_COUNT);
        return value == values[0] ? WEIR_OK : weir_fail(ctx, "another value");
    case 'p': return weir_emit_batch(ctx, 2, "xy", 1, 2);
    case 'P': return weir_emit_batch(ctx, 1, "abcdef", 2, 3);
    case 'n': return weir_emit_batch(ctx, 1, "", 0, 3);
    case 'z': return weir_emit_batch(ctx, 1, NULL, 8, 0);
    case 'L': return weir_emit_batch(ctx, 1, large, sizeof large, 1);
    case 'r': /* a reservation is dropped by it, as by any other emit */
        if (weir_reserve(ctx, 0, 8) == NULL || weir_emit_batch(ctx, 1, "q", 1, 1) < 0)
            return fail_of(ctx);
        return weir_emit_reserved(ctx, 8);
    default: return count_all(ctx, records, count);
    }
}

static const struct weir_operator seen_op = {
    .type = "seen", .states = seen_states, .state_count = 2, .output_count = 2, .on_batch = on_seen};
/* The same of one state, which is kept in another way. */
static const struct weir_operator seen_one_op = {
    .type = "seen", .states = seen_states, .state_count = 1, .output_count = 2, .on_batch = on_seen};

static const struct weir_operator *const seen_ops[] = {&seen_op, &seen_one_op};

static void assert_seen(struct weir_harness *h, uint64_t key, uint64_t count)
{
    struct seen seen = {0};
    do_it(h, key, ' ', "");
    struct weir_bytes last = weir_harness_output(h, 0, weir_harness_output_count(h, 0) - 1);
    cr_assert_eq(last.size_bytes, sizeof seen);
    memcpy(&seen, last.data, sizeof seen);
    cr_assert(seen.key == key && seen.count == count, "key %llu: %llu, not %llu", (unsigned long long)seen.key,
              (unsigned long long)seen.count, (unsigned long long)count);
}

Test(harness, values_of_a_batch_belong_to_the_keys_of_its_records)
{
    for (size_t i = 0; i < 2; i++) {
        const struct weir_operator *seen = seen_ops[i];
        for (int by_function = 0; by_function < 2; by_function++) {
            struct weir_harness *h = weir_harness_new(seen, NULL);
            cr_assert_eq(by_function ? weir_harness_key_by_fn(h, key_of_text) : weir_harness_key_by(h, 0, 8), WEIR_OK);
            for (uint64_t round = 1; round <= 3; round++)
                for (uint64_t key = 0; key < 100; key++)
                    assert_seen(h, key, round);
            weir_harness_free(h);
        }
    }
}

Test(harness, values_of_a_batch_are_as_of_the_snapshot_after_a_restore)
{
    for (size_t i = 0; i < 2; i++) {
        const struct weir_operator *seen = seen_ops[i];
        struct weir_harness *h = weir_harness_new(seen, NULL);
        void *bytes;
        size_t size_bytes;
        cr_assert_eq(weir_harness_key_by(h, 0, 8), WEIR_OK);
        for (uint64_t key = 0; key < 50; key++)
            assert_seen(h, key, 1);
        cr_assert_eq(weir_harness_snapshot(h, &bytes, &size_bytes), WEIR_OK, "%s", weir_harness_error(h)->text);
        for (uint64_t key = 0; key < 100; key++)
            assert_seen(h, key, key < 50 ? 2 : 1);
        cr_assert_eq(weir_harness_restore(h, bytes, size_bytes), WEIR_OK, "%s", weir_harness_error(h)->text);
        for (uint64_t key = 0; key < 100; key++)
            assert_seen(h, key, key < 50 ? 2 : 1);
        free(bytes);
        weir_harness_free(h);
    }
}

/* What the operator gets to hear of an order of this kind. */
static void assert_refused(const struct weir_operator *seen, bool keyed, char what, int expected, const char *word)
{
    struct weir_harness *h = weir_harness_new(seen, NULL);
    cr_assert(!keyed || weir_harness_key_by(h, 0, 8) == WEIR_OK);
    int code = feed(h, 1, what, "");
    cr_assert_eq(code, expected, "'%c': %d, not %d", what, code, expected);
    cr_assert(expected == WEIR_OK || strstr(weir_harness_error(h)->text, word) != NULL, "'%c': no '%s' in '%s'", what, word,
              weir_harness_error(h)->text);
    weir_harness_free(h);
}

Test(harness, wrong_uses_of_a_batch_are_refused_with_words)
{
    assert_refused(&seen_op, true, 'N', WEIR_EINVAL, "name");
    for (size_t i = 0; i < 2; i++) {
        const struct weir_operator *seen = seen_ops[i];
        assert_refused(seen, true, 'm', WEIR_EINVAL, "64");
        assert_refused(seen, true, 'W', WEIR_EINVAL, "state 9");
        assert_refused(seen, true, '0', WEIR_OK, "");
        assert_refused(seen, true, 'k', WEIR_EINVAL, "no key is current");
        assert_refused(seen, true, 'K', WEIR_OK, "");
        assert_refused(seen, true, 'p', WEIR_EINVAL, "output 2");
        assert_refused(seen, true, 'L', WEIR_ELIMIT, "1048577");
        assert_refused(seen, true, 'r', WEIR_EINVAL, "without weir_reserve()");
    }
}

static const struct weir_operator not_keyed_op = {.type = "seen", .output_count = 2, .on_batch = on_seen};

Test(harness, values_of_a_batch_need_a_keyed_input)
{
    assert_refused(&not_keyed_op, false, ' ', WEIR_EINVAL, "not keyed");
    assert_refused(&not_keyed_op, false, '0', WEIR_EINVAL, "not keyed");
    assert_refused(&not_keyed_op, true, ' ', WEIR_EINVAL, "state 0"); /* keyed, but without a state */
}

Test(harness, a_batch_of_output_is_as_many_records)
{
    static const char *const expected[] = {"ab", "cd", "ef"};
    struct weir_harness *h = weir_harness_new(&not_keyed_op, NULL);
    do_it(h, 1, 'P', "");
    cr_assert_eq(weir_harness_output_count(h, 1), 3u);
    for (size_t i = 0; i < 3; i++) {
        struct weir_bytes record = weir_harness_output(h, 1, i);
        cr_assert(record.size_bytes == 2 && memcmp(record.data, expected[i], 2) == 0);
    }
    do_it(h, 1, 'z', "");
    cr_assert_eq(weir_harness_output_count(h, 1), 3u, "none at all is nothing");
    do_it(h, 1, 'n', "");
    cr_assert_eq(weir_harness_output_count(h, 1), 6u, "records may be empty");
    cr_assert_eq(weir_harness_output(h, 1, 5).size_bytes, 0u);
    cr_assert_eq(weir_harness_output_count(h, 0), 0u);
    weir_harness_free(h);
}

Test(harness, no_bytes_may_be_reserved_before_any_others_were)
{
    struct weir_harness *h = make();
    do_it(h, 1, 'E', "");
    cr_assert_eq(weir_harness_output_count(h, 0), 1u);
    assert_last(h, "");
    weir_harness_free(h);
}

Test(harness, freeing_nothing_is_nothing) { weir_harness_free(NULL); }

/* ---- callbacks that return what is no result ---- */

static int returned_by_open, returned_by_record, returned_by_batch, returned_by_timer, returned_by_end;
static int open_returns(struct weir_ctx *ctx) { return (void)ctx, returned_by_open; }
static int record_returns(struct weir_ctx *ctx, const struct weir_record *record)
{
    (void)record;
    int code = weir_timer_set(ctx, 1, 10);
    return code < 0 ? code : returned_by_record;
}
static int batch_returns(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    return (void)ctx, (void)records, (void)count, returned_by_batch;
}
static int timer_returns(struct weir_ctx *ctx, uint64_t id, int64_t at_ms) { return (void)ctx, (void)id, (void)at_ms, returned_by_timer; }
static int end_returns(struct weir_ctx *ctx) { return (void)ctx, returned_by_end; }

static void assert_words(struct weir_harness *h, int code, const char *words)
{
    cr_assert_eq(code, WEIR_EINVAL, "%d, not as in: %s", code, words);
    cr_assert_not_null(strstr(weir_harness_error(h)->text, words), "no '%s' in: %s", words, weir_harness_error(h)->text);
    weir_harness_free(h);
}

Test(harness, a_callback_that_returns_a_positive_code_fails_and_is_named)
{
    static const struct weir_operator by_record = {
        .type = "returns", .open = open_returns, .on_record = record_returns, .on_timer = timer_returns, .on_end = end_returns};
    static const struct weir_operator by_batch = {.type = "returns", .on_batch = batch_returns};
    struct weir_harness *h = weir_harness_new(&by_record, NULL);
    returned_by_open = 3;
    assert_words(h, weir_harness_feed(h, 0, "x", 1), "callback open returned 3; it must return WEIR_OK or a negative code");
    returned_by_open = 0;
    returned_by_record = 5;
    h = weir_harness_new(&by_record, NULL);
    assert_words(h, weir_harness_feed(h, 0, "x", 1), "callback on_record returned 5; it must return WEIR_OK or a negative code");
    returned_by_record = 0;
    returned_by_timer = WEIR_END;
    h = weir_harness_new(&by_record, NULL);
    cr_assert_eq(weir_harness_feed(h, 0, "x", 1), WEIR_OK);
    assert_words(h, weir_harness_set_time(h, 20), "callback on_timer returned 2");
    returned_by_end = WEIR_IDLE;
    h = weir_harness_new(&by_record, NULL);
    assert_words(h, weir_harness_end(h), "callback on_end returned 1");
    returned_by_batch = 64;
    h = weir_harness_new(&by_batch, NULL);
    assert_words(h, weir_harness_feed(h, 0, "x", 1), "callback on_batch returned 64");
}

Test(harness, no_operator_makes_no_harness) { cr_assert_null(weir_harness_new(NULL, NULL)); }

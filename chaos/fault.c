#include "chaos/fault.h"

#include "base/bytes.h"
#include "base/error.h"
#include "chaos/random.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    int signal;
} kinds[FAULT_KIND_COUNT] = {
#define FAULT_KIND_ROW(id, name, number) {name, number},
    FAULT_KIND_TABLE(FAULT_KIND_ROW)
#undef FAULT_KIND_ROW
};

const char *fault_kind_name(unsigned kind) { return kinds[kind].name; }

int fault_kind_signal(unsigned kind) { return kinds[kind].signal; }

int fault_kind_parse(const char *text, enum fault_kind *ret_kind, struct weir_error *err)
{
    for (unsigned i = 0; i < FAULT_KIND_COUNT; i++)
        if (strcmp(text, kinds[i].name) == 0) {
            *ret_kind = (enum fault_kind)i;
            return WEIR_OK;
        }
    return error_set(err, WEIR_EINVAL, "'%s' is no kind of fault: kill, segv, abort or stop", text);
}

int fault_places_add(struct fault_places *places, unsigned weight, const char *name, struct weir_error *err)
{
    places->weight += weight;
    for (size_t i = 0; i < places->count; i++)
        if (strcmp(places->items[i].name, name) == 0) {
            places->items[i].weight += weight;
            return WEIR_OK;
        }
    struct fault_place *items = realloc(places->items, (places->count + 1) * sizeof *items);
    if (items == NULL)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    places->items = items;
    snprintf(items[places->count].name, sizeof items->name, "%s", name);
    items[places->count++].weight = weight;
    return WEIR_OK;
}

void fault_places_free(struct fault_places *places)
{
    free(places->items);
    *places = (struct fault_places){0};
}

static enum fault_kind choose_kind(unsigned mask, struct random *random)
{
    uint64_t left = random_below(random, (uint64_t)__builtin_popcount(mask));
    unsigned kind = 0;
    for (; kind + 1 < FAULT_KIND_COUNT; kind++)
        if ((mask & 1u << kind) != 0 && left-- == 0)
            break;
    return (enum fault_kind)kind;
}

static const char *choose_place(const struct fault_places *places, struct random *random)
{
    uint64_t left = random_below(random, places->weight);
    size_t i = 0;
    for (; i + 1 < places->count && left >= places->items[i].weight; i++)
        left -= places->items[i].weight;
    return places->items[i].name;
}

struct fault fault_choose(const struct chaos_options *options, const struct fault_places *places, uint64_t number)
{
    struct random random = random_of(options->seed, number);
    struct fault fault = {.kind = choose_kind(options->kinds, &random), .place = choose_place(places, &random)};
    fault.wait_ns = (int64_t)(-log(random_unit(&random)) * (double)options->interval_ns);
    fault.hold_ns = (int64_t)(random_unit(&random) * (double)options->hold_ns);
    return fault;
}

/* format.c - records as JSON and as text: the field types, and which of them the two forms write in the same way. */
#include "connectors/text_output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The two forms differ in their frame, their strings, and what stands for a value that is missing. */
struct form {
    void (*string)(struct text_output *out, const char *bytes, size_t size_bytes);
    const char *missing;
    const char *nan;
    const char *infinity;
    const char *minus_infinity;
};

static const struct form form_json = {text_output_json, "null", "null", "null", "null"};
static const struct form form_text = {text_output_escaped, "\\N", "nan", "inf", "-inf"};

/* The record being printed. */
struct view {
    const char *data;
    size_t size_bytes;
};

static bool view_has(struct view view, uint64_t offset, uint64_t size_bytes)
{
    return offset <= view.size_bytes && size_bytes <= view.size_bytes - offset;
}

static size_t type_size_bytes(const struct weir_field *field)
{
    switch (field->type) {
    case WEIR_U8: case WEIR_I8: case WEIR_BOOL: return 1;
    case WEIR_U16: case WEIR_I16: return 2;
    case WEIR_U32: case WEIR_I32: case WEIR_F32: return 4;
    case WEIR_U64: case WEIR_I64: case WEIR_F64: case WEIR_TIME_MS: return 8;
    case WEIR_CHARS: return field->size_bytes;
    case WEIR_STRING: return sizeof(struct weir_string);
    case WEIR_TAIL: return 0;
    }
    return SIZE_MAX; /* a type that this library does not know: prints as missing */
}

/* A number of bytes at any address. */
#define DEFINE_LOAD(name, type)                                                                                        \
    static type load_##name(const char *bytes)                                                                         \
    {                                                                                                                  \
        type value;                                                                                                    \
        memcpy(&value, bytes, sizeof(value));                                                                          \
        return value;                                                                                                  \
    }
DEFINE_LOAD(u16, uint16_t)
DEFINE_LOAD(u32, uint32_t)
DEFINE_LOAD(u64, uint64_t)
DEFINE_LOAD(i16, int16_t)
DEFINE_LOAD(i32, int32_t)
DEFINE_LOAD(i64, int64_t)
DEFINE_LOAD(f32, float)
DEFINE_LOAD(f64, double)
DEFINE_LOAD(string, struct weir_string)

static void put_literal(struct text_output *out, const char *text)
{
    text_output_bytes(out, text, strlen(text));
}

/* As few of 15 to 17 digits (6 to 9 where is_float) as read back as the same number. The decimal point is '.' in every
 * locale. */
static void put_float(struct text_output *out, double value, bool is_float)
{
    char digits[40];
    int precision_max = is_float ? 9 : 17;
    for (int precision = is_float ? 6 : 15; precision <= precision_max; precision++) {
        snprintf(digits, sizeof(digits), "%.*g", precision, value);
        double read_back = is_float ? (double)strtof(digits, NULL) : strtod(digits, NULL);
        if (read_back >= value && read_back <= value)
            break;
    }
    for (char *c = digits; *c != 0; c++)
        if (strchr("0123456789+-e", *c) == NULL)
            *c = '.';
    put_literal(out, digits);
}

static void put_number(struct text_output *out, const struct form *form, double value, bool is_float)
{
    if (isnan(value))
        put_literal(out, form->nan);
    else if (isinf(value))
        put_literal(out, value > 0 ? form->infinity : form->minus_infinity);
    else
        put_float(out, value, is_float);
}

static void put_string(struct text_output *out, const struct form *form, struct view view, struct weir_string string)
{
    if (view_has(view, string.offset, string.size_bytes))
        form->string(out, view.data + string.offset, string.size_bytes);
    else
        put_literal(out, form->missing);
}

static void put_value(struct text_output *out, const struct form *form, const struct weir_field *field,
                      struct view view)
{
    const char *at = view.data + field->offset;
    switch (field->type) {
    case WEIR_U8: text_output_u64(out, (unsigned char)*at); break;
    case WEIR_U16: text_output_u64(out, load_u16(at)); break;
    case WEIR_U32: text_output_u64(out, load_u32(at)); break;
    case WEIR_U64: text_output_u64(out, load_u64(at)); break;
    case WEIR_I8: text_output_i64(out, (signed char)*at); break;
    case WEIR_I16: text_output_i64(out, load_i16(at)); break;
    case WEIR_I32: text_output_i64(out, load_i32(at)); break;
    case WEIR_I64: case WEIR_TIME_MS: text_output_i64(out, load_i64(at)); break;
    case WEIR_F32: put_number(out, form, (double)load_f32(at), true); break;
    case WEIR_F64: put_number(out, form, load_f64(at), false); break;
    case WEIR_BOOL: put_literal(out, *at != 0 ? "true" : "false"); break;
    case WEIR_CHARS: form->string(out, at, strnlen(at, field->size_bytes)); break;
    case WEIR_STRING: put_string(out, form, view, load_string(at)); break;
    case WEIR_TAIL: form->string(out, at, view.size_bytes - field->offset); break;
    }
}

static void put_field(struct text_output *out, const struct form *form, const struct weir_field *field,
                      struct view view)
{
    if (view_has(view, field->offset, type_size_bytes(field)))
        put_value(out, form, field, view);
    else
        put_literal(out, form->missing);
}

/* The fields that this record has beside those of `layout`; NULL where it has one kind only, or an unknown one. */
static const struct weir_layout *layout_kind(const struct weir_layout *layout, struct view view)
{
    if (layout->kind_count == 0 || !view_has(view, layout->kind_offset, sizeof(uint32_t)))
        return NULL;
    uint32_t kind = load_u32(view.data + layout->kind_offset);
    return kind < layout->kind_count ? &layout->kinds[kind] : NULL;
}

static void put_json_fields(struct text_output *out, const struct weir_layout *layout, struct view view)
{
    for (uint32_t i = 0; i < layout->field_count; i++) {
        if (out->size_bytes > 1)
            text_output_char(out, ',');
        text_output_json(out, layout->fields[i].name, strlen(layout->fields[i].name));
        text_output_char(out, ':');
        put_field(out, &form_json, &layout->fields[i], view);
    }
}

static void put_json(struct text_output *out, const struct weir_layout *layout, struct view view)
{
    if (layout == NULL) {
        text_output_json(out, view.data, view.size_bytes);
        return;
    }
    const struct weir_layout *kind = layout_kind(layout, view);
    text_output_char(out, '{');
    put_json_fields(out, layout, view);
    if (kind != NULL)
        put_json_fields(out, kind, view);
    text_output_char(out, '}');
}

static void put_text(struct text_output *out, const struct weir_layout *layout, struct view view)
{
    if (layout == NULL) {
        text_output_bytes(out, view.data, view.size_bytes);
        return;
    }
    const struct weir_layout *kind = layout_kind(layout, view);
    uint32_t kind_field_count = kind != NULL ? kind->field_count : 0;
    for (uint32_t i = 0; i < layout->field_count + kind_field_count; i++) {
        if (i > 0)
            text_output_char(out, '\t');
        bool is_own = i < layout->field_count;
        put_field(out, &form_text, is_own ? &layout->fields[i] : &kind->fields[i - layout->field_count], view);
    }
}

/* Enough for any record of this layout and size; counted generously, as it is counted for every record. */
static size_t layout_bytes_max(const struct weir_layout *layout, size_t size_bytes)
{
    size_t bytes_max = 2;
    for (uint32_t i = 0; i < layout->field_count; i++) {
        const struct weir_field *field = &layout->fields[i];
        bool has_bytes = field->type == WEIR_CHARS || field->type == WEIR_STRING || field->type == WEIR_TAIL;
        bytes_max += 6 * strlen(field->name) + 40 + (has_bytes ? 6 * size_bytes : 0);
    }
    return bytes_max;
}

static size_t record_bytes_max(const struct weir_layout *layout, struct view view)
{
    if (layout == NULL)
        return 6 * view.size_bytes + 2;
    const struct weir_layout *kind = layout_kind(layout, view);
    return layout_bytes_max(layout, view.size_bytes) + (kind != NULL ? layout_bytes_max(kind, view.size_bytes) : 0);
}

typedef void (*put_fn)(struct text_output *out, const struct weir_layout *layout, struct view view);

/* Nothing may be written where the room is too small: measure first, unless it suffices whatever the record holds. */
static size_t format(put_fn put, const struct weir_layout *layout, struct view view, char *buffer, size_t capacity)
{
    struct text_output out = {.buffer = NULL};
    if (record_bytes_max(layout, view) > capacity) {
        put(&out, layout, view);
        if (out.size_bytes > capacity)
            return out.size_bytes;
    }
    out = (struct text_output){.buffer = buffer};
    put(&out, layout, view);
    return out.size_bytes;
}

size_t weir_format_json(const struct weir_layout *layout, const void *data, size_t size_bytes, char *buffer,
                        size_t capacity)
{
    return format(put_json, layout, (struct view){.data = data, .size_bytes = size_bytes}, buffer, capacity);
}

size_t weir_format_text(const struct weir_layout *layout, const void *data, size_t size_bytes, char *buffer,
                        size_t capacity)
{
    return format(put_text, layout, (struct view){.data = data, .size_bytes = size_bytes}, buffer, capacity);
}

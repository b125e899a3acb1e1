#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_begin(struct table *table, const char *const *headers, unsigned column_count)
{
    memset(table, 0, sizeof *table);
    table->column_count = column_count < TABLE_COLUMNS_MAX ? column_count : TABLE_COLUMNS_MAX;
    for (unsigned i = 0; i < table->column_count; i++)
        table->headers[i] = headers[i];
}

static bool grow(struct table *table)
{
    if (table->cell_count < table->cell_capacity)
        return true;
    size_t capacity = table->cell_capacity == 0 ? 64 : 2 * table->cell_capacity;
    char **cells = realloc(table->cells, capacity * sizeof *cells);
    if (cells == NULL)
        return false;
    table->cells = cells;
    table->cell_capacity = capacity;
    return true;
}

void table_cell(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int size_bytes = vasprintf(&text, format, args);
    va_end(args);
    if (size_bytes < 0 || !grow(table)) {
        table->failed = true;
        if (size_bytes >= 0)
            free(text);
        return;
    }
    for (char *at = text; *at != 0; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    table->cells[table->cell_count++] = text;
}

static void print_cell(const char *text, bool right, size_t width, bool last)
{
    if (right)
        printf("%*s", (int)width, text);
    else
        printf("%-*s", last ? 0 : (int)width, text);
    fputs(last ? "\n" : "  ", stdout);
}

static size_t column_width(const struct table *table, unsigned column)
{
    size_t width = strlen(table->headers[column]) - (table->headers[column][0] == '>');
    for (size_t i = column; i < table->cell_count; i += table->column_count)
        if (strlen(table->cells[i]) > width)
            width = strlen(table->cells[i]);
    return width;
}

static void print_all(const struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX];
    for (unsigned i = 0; i < table->column_count; i++)
        widths[i] = column_width(table, i);
    for (unsigned i = 0; i < table->column_count; i++) {
        bool right = table->headers[i][0] == '>';
        print_cell(table->headers[i] + right, right, widths[i], i + 1 == table->column_count);
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        unsigned column = (unsigned)(i % table->column_count);
        print_cell(table->cells[i], table->headers[column][0] == '>', widths[column], column + 1 == table->column_count);
    }
}

void table_end(struct table *table)
{
    if (table->cell_count > 0 && table->cell_count % table->column_count == 0)
        print_all(table);
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    if (table->failed)
        fputs("weir: out of memory: the table is not complete\n", stderr);
    memset(table, 0, sizeof *table);
}

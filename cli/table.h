/*
 * table.h - text in columns: names first, to the left; numbers to the right. A table is built in memory, row by row, and printed
 * once the widths are known. What cannot be printed (bytes of another program) is shown as '?'.
 */
#ifndef WEIR_CLI_TABLE_H
#define WEIR_CLI_TABLE_H

#include "weir.h"

#define TABLE_COLUMNS_MAX 20

struct table {
    unsigned column_count;
    const char *headers[TABLE_COLUMNS_MAX]; /* a leading '>' aligns the column to the right */
    char **cells;                           /* row by row */
    size_t cell_count;
    size_t cell_capacity;
    bool failed; /* out of memory: rows are missing */
};

/* headers: column_count of them, static memory. */
void table_begin(struct table *table, const char *const *headers, unsigned column_count);
/* The next cell, row by row. */
void table_cell(struct table *table, const char *format, ...) WEIR_PRINTF(2, 3);
/* Prints on standard output, with the headers, if there is a row; frees. */
void table_end(struct table *table);

#endif

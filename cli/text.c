#include "cli/text.h"

#include <stdio.h>
#include <string.h>

static unsigned new_line(unsigned indent)
{
    printf("\n%*s", (int)indent, "");
    return indent;
}

void text_wrap(const char *text, unsigned column, unsigned indent, unsigned width)
{
    while (*text != 0) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + word + 1 > width)
            column = new_line(indent);
        else if (column > indent && word > 0)
            column += (unsigned)printf(" ");
        column += (unsigned)printf("%.*s", (int)word, text);
        text += word;
        if (strncmp(text, "\n\n", 2) == 0) {
            putchar('\n');
            column = new_line(indent);
        }
        text += strspn(text, " \n");
    }
    putchar('\n');
}

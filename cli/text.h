/* text.h - text in lines of bounded width, for the help. */
#ifndef WEIR_CLI_TEXT_H
#define WEIR_CLI_TEXT_H

/* Prints text on standard output, broken at spaces so that no line is longer than `width` columns, each line but the first indented
 * by `indent`; `column` is where the first begins. "\n\n" begins a paragraph. Ends with a line end. */
void text_wrap(const char *text, unsigned column, unsigned indent, unsigned width);

#endif

#include "cli/exit_code.h"

#include "base/bytes.h"
#include "base/error.h"

static const struct exit_code_row exit_code_rows[] = {
#define EXIT_CODE_ROW(id, value, text) {value, text},
    EXIT_CODE_TABLE(EXIT_CODE_ROW)
#undef EXIT_CODE_ROW
};

static const struct {
    int status;
    int exit_code;
} status_rows[] = {
    {WEIR_EINVAL, EXIT_USAGE},       {WEIR_ENOENT, EXIT_NOT_FOUND},  {WEIR_EEXIST, EXIT_REFUSED},
    {WEIR_EBUSY, EXIT_REFUSED},      {WEIR_EPERM, EXIT_REFUSED},     {WEIR_EMISMATCH, EXIT_REFUSED},
    {WEIR_EVERSION, EXIT_REFUSED},   {WEIR_ECORRUPT, EXIT_DAMAGED},  {WEIR_ETIMEOUT, EXIT_TIMEOUT},
    {WEIR_ECANCELLED, EXIT_INTERRUPTED},
};

struct exit_code_row exit_code_at(size_t index)
{
    return index < COUNT_OF(exit_code_rows) ? exit_code_rows[index] : (struct exit_code_row){0};
}

int exit_code_of(int status)
{
    if (status >= 0)
        return EXIT_DONE;
    for (size_t i = 0; i < COUNT_OF(status_rows); i++)
        if (status_rows[i].status == status)
            return status_rows[i].exit_code;
    return EXIT_FAILED;
}

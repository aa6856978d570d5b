/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The environment of this process, as C has it, for functions that are attached.
 */
#include "environment.h"

#include "convert.h"

#include <string.h>
#include <unistd.h>

static bool
append_text(PyObject *list, const char *value)
{
    OWNED PyObject *item = PyUnicode_DecodeFSDefault(value);

    return item != NULL && PyList_Append(list, item) == 0;
}

/* Of entries with a NUL after each. */
static bool
is_among(const char *entries, Py_ssize_t size, const char *wanted)
{
    for (const char *entry = entries; entry < entries + size;
         entry += strlen(entry) + 1)
        if (strcmp(entry, wanted) == 0)
            return true;
    return false;
}

static bool
is_in_environment(const char *wanted)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (strcmp(*variable, wanted) == 0)
            return true;
    return false;
}

/* What the process's environment has and is not known, and the other way round.  In C,
 * as it is asked in a forked child: what it only reads is not copied for it. */
PyObject *
module__environment(PyObject *module, PyObject *args)
{
    OWNED PyObject *fresh = PyList_New(0), *gone = PyList_New(0);
    const char *known;
    Py_ssize_t size;

    (void)module;
    if (fresh == NULL || gone == NULL ||
        !PyArg_ParseTuple(args, "y#:_environment", &known, &size))
        return NULL;
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (!is_among(known, size, *variable) && !append_text(fresh, *variable))
            return NULL;
    for (const char *entry = known; entry < known + size; entry += strlen(entry) + 1)
        if (!is_in_environment(entry) && !append_text(gone, entry))
            return NULL;
    return PyTuple_Pack(2, fresh, gone);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What crosses the border between Python and C: arguments, and results.
 */
#include "convert.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- Python's own ------------------------------------------------------------- */

PyObject *
call_in(const char *module_name, const char *function, PyObject *argument)
{
    OWNED PyObject *module = PyImport_ImportModule(module_name);
    /* CPython keeps names that it has looked up: let it always be the same. */
    OWNED PyObject *attribute = PyUnicode_InternFromString(function);

    if (module == NULL || attribute == NULL)
        return NULL;
    return PyObject_CallMethodObjArgs(module, attribute, argument, NULL);
}

bool
flush_streams(void)
{
    OWNED PyObject *done = call_in("lxc._streams", "flush", NULL);

    return done != NULL;
}

/* --- Arguments ---------------------------------------------------------------- */

int
text(PyObject *arg, void *result)
{
    return PyUnicode_FSConverter(arg, result);
}

int
optional_text(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return PyUnicode_FSConverter(arg, result);
}

int
optional_int(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    long value = PyLong_AsLong(arg);
    if (value == -1 && PyErr_Occurred())
        return 0;
    if (value < INT32_MIN || value > INT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%ld does not fit into a C int", value);
        return 0;
    }
    *(int *)result = (int)value;
    return 1;
}

int
optional_bool(PyObject *arg, void *result)
{
    int truth = arg == Py_None ? *(int *)result : PyObject_IsTrue(arg);

    *(int *)result = truth;
    return truth >= 0;
}

/* Seconds, as an int or a float; None leaves the default. */
int
optional_seconds(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    double value = PyFloat_AsDouble(arg);
    if (value == -1 && PyErr_Occurred())
        return 0;
    if (value != value) {
        PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, not NaN");
        return 0;
    }
    *(double *)result = value;
    return 1;
}

int
optional_size(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    *(unsigned long long *)result = PyLong_AsUnsignedLongLong(arg);
    return !PyErr_Occurred();
}

/* liblxc checks no name: ".." would be the directory above, and its lists of names are
 * line by line. */
const char *
why_no_name(const char *s)
{
    return *s == '\0'                                 ? "is empty"
           : !strcmp(s, ".") || !strcmp(s, "..")      ? "is a directory's"
           : strchr(s, '/')                           ? "has a slash"
           : strchr(s, '\n')                          ? "has a line break"
           : strlen(s) > 200 /* with room for more */ ? "is over 200 bytes"
                                                      : NULL;
}

void
drop_word(struct word *word)
{
    Py_XDECREF(word->bytes);
}

bool
word_from(PyObject *arg, struct word *word)
{
    Py_ssize_t size = 0;

    if (PyUnicode_Check(arg)) {
        word->s = PyUnicode_AsUTF8AndSize(arg, &size);
        if (word->s == NULL)
            PyErr_Clear(); /* it has surrogates */
        else if (size == PyUnicode_GetLength(arg) && strlen(word->s) == (size_t)size)
            return true;
    }
    if (!text(arg, &word->bytes))
        return false;
    word->s = c_str(word->bytes);
    return true;
}

bool
parse_fast(PyObject *const *args, Py_ssize_t given, PyObject *keywords,
           const char *format, char **names, Py_ssize_t n, PyObject **parsed)
{
    const Py_ssize_t more = keywords != NULL ? PyTuple_Size(keywords) : 0;
    OWNED PyObject *tuple = NULL, *dict = NULL;

    if (more == 0 && given == n) {
        memcpy(parsed, args, (size_t)n * sizeof(*parsed));
        return true;
    }
    if ((tuple = PyTuple_New(given)) == NULL || (dict = PyDict_New()) == NULL)
        return false;
    for (Py_ssize_t i = 0; i < given; i++)
        PyTuple_SetItem(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; i < more; i++)
        if (PyDict_SetItem(dict, PyTuple_GetItem(keywords, i), args[given + i]) < 0)
            return false;
    return PyArg_ParseTupleAndKeywords(tuple, dict, format, names, &parsed[0],
                                       &parsed[n - 1]);
}

/* The name of a container or snapshot. */
int
name(PyObject *arg, void *result)
{
    if (!PyUnicode_FSConverter(arg, result) || arg == NULL)
        return arg == NULL;
    const char *wrong = why_no_name(PyBytes_AsString(*(PyObject **)result));
    if (wrong == NULL)
        return Py_CLEANUP_SUPPORTED;
    PyErr_Format(
        PyExc_ValueError,
        "%R is no name for a container or snapshot: it %s; use up to 200 bytes "
        "without '/' and line breaks",
        arg, wrong);
    Py_CLEAR(*(PyObject **)result);
    return 0;
}

int
optional_name(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return name(arg, result);
}

/* An lxcpath, absolute and normal: it is part of the name of the monitor's socket,
 * where
 * "/p/" is not "/p".  Not resolved: it must equal what other programs use. */
int
lxcpath(PyObject *arg, void *result)
{
    if (arg == NULL)
        return PyUnicode_FSConverter(arg, result);
    OWNED PyObject *given = NULL;
    if (!PyUnicode_FSConverter(arg, &given))
        return 0;
    if (PyBytes_Size(given) == 0) {
        PyErr_SetString(PyExc_ValueError, "an lxcpath must not be empty");
        return 0;
    }
    OWNED PyObject *path = call_in("os.path", "abspath", given);
    if (path == NULL)
        return 0;
    const char *s = PyBytes_AsString(path);
    if (s == NULL)
        return 0;
    *(PyObject **)result = PyBytes_FromString(s[0] == '/' && s[1] == '/' ? s + 1 : s);
    return *(PyObject **)result != NULL ? Py_CLEANUP_SUPPORTED : 0;
}

int
optional_lxcpath(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return lxcpath(arg, result);
}

void
free_strings(char ***strings)
{
    if (*strings == NULL)
        return;
    for (char **s = *strings; *s != NULL; s++)
        free(*s);
    free(*strings);
    *strings = NULL;
}

bool
strings_add(struct strings *strings, const char *s)
{
    if (strings->count == strings->room) {
        const size_t room = strings->room ? 2 * strings->room : 16;
        char **items = realloc(strings->items, room * sizeof(*items));

        if (items == NULL)
            return false;
        strings->items = items;
        strings->room = room;
    }
    if ((strings->items[strings->count] = strdup(s)) == NULL)
        return false;
    strings->count++;
    return true;
}

void
strings_free(struct strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct strings){0};
}

char **
strings_from(PyObject *sequence, const char *what)
{
    if (!PyList_Check(sequence) && !PyTuple_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list or tuple of strings, not %R",
                     what, Py_TYPE(sequence));
        return NULL;
    }
    OWNED PyObject *items = PySequence_List(sequence); /* nobody else can change it */
    if (items == NULL)
        return NULL;
    const Py_ssize_t n = PyList_Size(items);
    char **strings = calloc((size_t)n + 1, sizeof(*strings));

    for (Py_ssize_t i = 0; strings != NULL && i < n; i++) {
        OWNED PyObject *bytes = NULL;

        if (!text(PyList_GetItem(items, i), &bytes)) {
            free_strings(&strings);
            return NULL;
        }
        strings[i] = strdup(PyBytes_AsString(bytes));
        if (strings[i] == NULL)
            free_strings(&strings);
    }
    if (strings == NULL)
        PyErr_NoMemory();
    return strings;
}

/* --- Results ------------------------------------------------------------------ */

PyObject *
str_or(const char *s, PyObject *otherwise)
{
    return s != NULL ? PyUnicode_DecodeFSDefault(s) : Py_XNewRef(otherwise);
}

/* A str of a string that is freed. */
PyObject *
take_str(char *s)
{
    PyObject *result = PyUnicode_DecodeFSDefault(s);

    free(s);
    return result;
}

PyObject *
take_strings(char **strings, Py_ssize_t n)
{
    PyObject *tuple = PyTuple_New(n);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *s = tuple != NULL ? PyUnicode_DecodeFSDefault(strings[i]) : NULL;

        free(strings[i]);
        if (s != NULL)
            PyTuple_SetItem(tuple, i, s);
        else
            Py_CLEAR(tuple);
    }
    free(strings);
    return tuple;
}

/* --- Values of liblxc's ------------------------------------------------------- */

/* Read a whole value into *value, or NULL into it if there is none.  The value may grow
 * between two reads, so read until it fits.  False: out of memory. */
bool
read_all(struct lxc_container *c, read_fn read, const char *key, char **value)
{
    for (int size = 1024;; size *= 2) {
        int got;

        if ((*value = calloc(1, (size_t)size + 1)) == NULL)
            return false;
        got = read(c, key, *value, size);
        if (got >= 0 && got < size) {
            (*value)[got] = '\0';
            return true;
        }
        free(*value);
        *value = NULL;
        if (got < 0 || size > INT32_MAX / 4)
            return true;
    }
}

PyObject *
value_or_key_error(bool ok, char *value, const char *key)
{
    if (!ok)
        return PyErr_NoMemory();
    if (value != NULL)
        return take_str(value);
    OWNED PyObject *shown = str_or(key, Py_None);
    if (shown != NULL)
        PyErr_SetObject(PyExc_KeyError, shown);
    return NULL;
}

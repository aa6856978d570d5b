/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What crosses the border between Python and C.
 */
#ifndef PYTHON_LXC_CONVERT_H
#define PYTHON_LXC_CONVERT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

/* --- Memory and the GIL ------------------------------------------------------- */

/* Run statements without the GIL.  C values only: no Python API inside. */
#define WITHOUT_GIL(...)                                                               \
    do {                                                                               \
        Py_BEGIN_ALLOW_THREADS __VA_ARGS__;                                            \
        Py_END_ALLOW_THREADS                                                           \
    } while (0)

static inline void
drop(PyObject **object)
{
    Py_XDECREF(*object);
}

/* A local reference that is dropped on every way out of the function. */
#define OWNED __attribute__((cleanup(drop)))

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_XNewRef(PyObject *object)
{
    Py_XINCREF(object);
    return object;
}
#define Py_NewRef Py_XNewRef
#endif

void free_strings(char ***strings);

/* A NULL-terminated array of strings of our own, freed on every way out. */
#define STRINGS __attribute__((cleanup(free_strings))) char **

/* Strings of our own that are gathered one by one. */
struct strings {
    char **items;
    size_t count, room;
};

bool strings_add(struct strings *strings, const char *s); /* false: out of memory */
void strings_sort(struct strings *strings);               /* by their bytes */
void strings_free(struct strings *strings);

/* A tuple of str of n strings, which are freed with their array. */
PyObject *take_strings(char **strings, Py_ssize_t n);

/* --- Python's own ------------------------------------------------------------- */

/* Call a function of a Python module, without an argument if that is NULL. */
PyObject *call_in(const char *module_name, const char *function, PyObject *argument);

/* What was printed before comes before the output of what is about to run.  False with
 * an exception, of a signal handler for instance. */
bool flush_streams(void);

/* --- Arguments ---------------------------------------------------------------- */

/* O& converters.  Text crosses the border in the filesystem encoding, both ways, so
 * that what liblxc returned can be passed back. */
int text(PyObject *arg, void *result);
int optional_text(PyObject *arg, void *result); /* None is the default: NULL */
int optional_int(PyObject *arg, void *result);  /* None leaves the default */
int optional_bool(PyObject *arg, void *result);
int optional_seconds(PyObject *arg, void *result); /* a double */
int optional_size(PyObject *arg, void *result);    /* an unsigned long long */
int optional_lxcpath(PyObject *arg, void *result); /* absolute and normal */

/* The name of a container or snapshot. */
int name(PyObject *arg, void *result);
int optional_name(PyObject *arg, void *result);
int lxcpath(PyObject *arg, void *result);

/* What is wrong with a name of a container or snapshot, NULL if nothing is. */
const char *why_no_name(const char *s);

static inline const char *
c_str(PyObject *bytes)
{
    return bytes ? PyBytes_AsString(bytes) : NULL;
}

/* Text that need not be copied where it is ASCII, as nearly all keys and values are. */
struct word {
    const char *s; /* valid as long as the argument is there */
    PyObject *bytes;
};

bool word_from(PyObject *arg, struct word *word);
void drop_word(struct word *word);
#define WORD __attribute__((cleanup(drop_word))) struct word

/* Parse n arguments, all of them needed.  By position they are simply there; what is
 * given in another way, or is missing, PyArg_ParseTupleAndKeywords() takes care of. */
bool parse_fast(PyObject *const *args, Py_ssize_t given, PyObject *keywords,
                const char *format, char **names, Py_ssize_t n, PyObject **parsed);

/* Convert a sequence of text; `what` names it in errors.  NULL with an exception. */
char **strings_from(PyObject *sequence, const char *what);

/* --- Results ------------------------------------------------------------------ */

PyObject *str_or(const char *s, PyObject *otherwise);
PyObject *take_str(char *s); /* a str of a string that is freed */

/* What liblxc's calls that read are alike in. */
struct lxc_container;
typedef int (*read_fn)(struct lxc_container *, const char *, char *, int);

/* Read a whole value into *value, or NULL into it if there is none.  False: out of
 * memory. */
bool read_all(struct lxc_container *c, read_fn read, const char *key, char **value);
PyObject *value_or_key_error(bool ok, char *value, const char *key);

#endif

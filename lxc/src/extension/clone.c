/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Clones, snapshots, new names, and the end: calls that fork inside liblxc.
 */
#include "clone.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"
#include "room.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- What there is ------------------------------------------------------------ */

/* How many snapshots there are, of that name if one is given; negative where liblxc
 * cannot tell. */
static int
count_snapshots(struct lxc_container *c, const char *snapshot)
{
    struct lxc_snapshot *snapshots = NULL;
    const int n = c->snapshot_list(c, &snapshots);
    int found = n < 0 ? n : 0;

    for (int i = 0; i < n; i++) {
        found += snapshot == NULL || strcmp(snapshots[i].name, snapshot) == 0;
        snapshots[i].free(&snapshots[i]);
    }
    free(snapshots);
    return found;
}

/* Whether lxc.rootfs.path is set. */
static bool
has_root(struct lxc_container *c)
{
    return c->lxc_conf != NULL && c->get_config_item(c, "lxc.rootfs.path", NULL, 0) > 0;
}

/* Whether it can be copied to that lxcpath, or its own where that is NULL.  liblxc
 * crashes where it copies a container that has an empty configuration, and liblxc 7
 * where it renames one that has no root filesystem. */
static bool
can_copy(struct lxc_container *c, const char *directory)
{
    if (has_root(c))
        return has_room(c, directory);
    because("it has no root filesystem");
    return false;
}

static bool
can_rename(struct lxc_container *c, const char *ignored)
{
    (void)ignored;
    return c->is_defined(c) && can_copy(c, NULL);
}

/* liblxc crashes where there is no root filesystem to restore to, and destroys the
 * container before it looks for the snapshot. */
static bool
can_restore(struct lxc_container *c, const char *snapshot)
{
    if (!c->is_defined(c) || !has_root(c))
        return false;
    if (count_snapshots(c, snapshot) > 0)
        return has_room(c, NULL);
    because("there is no snapshot '%s'", snapshot);
    return false;
}

static int
destroy_now(const void *argument)
{
    const struct texts *texts = argument;

    return texts->c->destroy(texts->c);
}

/* liblxc fails, with nothing done, where there is no directory of snapshots; and where
 * the container runs it removes the snapshots before it refuses to destroy that. */
static int
destroy_with_snapshots_now(const void *argument)
{
    const struct texts *texts = argument;
    struct lxc_container *c = texts->c;

    if (c->is_running(c))
        return false;
    const int n = count_snapshots(c, NULL);

    return n == 0 ? c->destroy(c) : n > 0 && c->destroy_with_snapshots(c);
}

static int
snapshot_destroy_all_now(const void *argument)
{
    const struct texts *texts = argument;
    struct lxc_container *c = texts->c;
    const int n = count_snapshots(c, NULL);

    return n == 0 || (n > 0 && c->snapshot_destroy_all(c));
}

static PyObject *
call_destroying(PyObject *self, int (*call)(const void *))
{
    int ok = false;

    HELD held = hold(self, CONFIG | ADOPT | LISTEN);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const struct texts texts = {c, NULL, NULL};
    /* Else nothing is forked, and no environment changed.  Snapshots may have hooks of
     * their own. */
    const bool forks = geteuid() != 0 || call != destroy_now ||
                       c->get_config_item(c, "lxc.hook.destroy", NULL, 0) > 0;

    if (!forks)
        WITHOUT_GIL(ok = call(&texts));
    else if (!call_apart(call, &texts, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

#define DESTROYING_METHOD(method)                                                      \
    PyObject *Container_##method(PyObject *self, PyObject *ignored)                    \
    {                                                                                  \
        (void)ignored;                                                                 \
        return call_destroying(self, method##_now);                                    \
    }

// clang-format off
DESTROYING_METHOD(destroy)
DESTROYING_METHOD(destroy_with_snapshots)
DESTROYING_METHOD(snapshot_destroy_all)
// clang-format on

typedef int (*converter)(PyObject *, void *);

static PyObject *
call_forking(PyObject *self, PyObject *args, PyObject *kwargs, int what,
             const char *format, char **names, converter s, converter t,
             bool (*is_possible)(struct lxc_container *, const char *),
             int (*call)(const void *))
{
    OWNED PyObject *a = NULL, *b = NULL;
    bool possible = true;
    int ok = false;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, s, &a, t, &b))
        return NULL;
    HELD held = hold(self, what | LISTEN);
    if (held.c == NULL)
        return NULL;
    const struct texts texts = {held.c, c_str(a), c_str(b)};
    if (is_possible != NULL)
        WITHOUT_GIL(possible = is_possible(texts.c, texts.s));
    if (possible && !call_apart(call, &texts, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

#define FORKING_METHOD(method, what, format, is_possible, expression, s_converter,     \
                       t_converter, ...)                                               \
    static int method##_now(const void *argument)                                      \
    {                                                                                  \
        const struct texts *texts = argument;                                          \
        struct lxc_container *c = texts->c;                                            \
        const char *s = texts->s, *t = texts->t;                                       \
        (void)t;                                                                       \
        return expression;                                                             \
    }                                                                                  \
    PyObject *Container_##method(PyObject *self, PyObject *args, PyObject *kwargs)     \
    {                                                                                  \
        static char *names[] = {__VA_ARGS__, NULL};                                    \
        return call_forking(self, args, kwargs, what, format ":" #method, names,       \
                            s_converter, t_converter, is_possible, method##_now);      \
    }

// clang-format off
FORKING_METHOD(rename, CONFIG | RELOAD, "O&", can_rename, c->rename(c, s),
               name, text, "new_name")
FORKING_METHOD(snapshot_destroy, CONFIG | ADOPT, "O&", NULL,
               c->snapshot_destroy(c, s), name, text, "name")
FORKING_METHOD(snapshot_restore, CONFIG | RELOAD, "O&|O&", can_restore,
               c->snapshot_restore(c, s, t), name, optional_name, "name", "newname")
// clang-format on

/* --- Copies ------------------------------------------------------------------- */

struct clone {
    struct lxc_container *c;
    const char *newname, *lxcpath, *bdevtype, *bdevdata;
    int flags;
    uint64_t newsize;
    char **hookargs;
};

static int
clone_now(const void *argument)
{
    const struct clone *clone = argument;
    struct lxc_container *c = clone->c;
    struct lxc_container *made =
        c->clone(c, clone->newname, clone->lxcpath, clone->flags, clone->bdevtype,
                 clone->bdevdata, clone->newsize, clone->hookargs);

    if (made != NULL)
        lxc_container_put(made);
    return made != NULL;
}

PyObject *
Container_clone(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"newname",  "config_path", "flags",    "bdevtype",
                            "bdevdata", "newsize",     "hookargs", NULL};
    OWNED PyObject *newname = NULL, *path = NULL, *bdevtype = NULL, *bdevdata = NULL;
    PyObject *hookargs = NULL;
    STRINGS argv = NULL;
    unsigned long long newsize = 0;
    int flags = 0, ok = false;
    bool possible;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&O&O&O&O&O:clone", names, name,
                                     &newname, optional_lxcpath, &path, optional_int,
                                     &flags, optional_text, &bdevtype, optional_text,
                                     &bdevdata, optional_size, &newsize, &hookargs))
        return NULL;
    if (hookargs != NULL && hookargs != Py_None) {
        if (!PyList_Check(hookargs) && !PyTuple_Check(hookargs)) {
            PyErr_SetString(PyExc_ValueError, "hookargs must be a tuple or list");
            return NULL;
        }
        if ((argv = strings_from(hookargs, "hookargs")) == NULL)
            return NULL;
    }
    HELD held = hold(self, CONFIG | RELOAD | LISTEN);
    if (held.c == NULL)
        return NULL;
    if (held.c->lxc_conf == NULL) {
        because_it(NOT_DEFINED);
        Py_RETURN_FALSE;
    }
    const struct clone clone = {.c = held.c,
                                .newname = c_str(newname),
                                .lxcpath = c_str(path),
                                .bdevtype = c_str(bdevtype),
                                .bdevdata = c_str(bdevdata),
                                .flags = flags,
                                .newsize = newsize,
                                .hookargs = argv};
    WITHOUT_GIL(possible = can_copy(clone.c, clone.lxcpath));
    if (possible && !call_apart(clone_now, &clone, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

static int
snapshot_now(const void *argument)
{
    const struct texts *texts = argument;

    return texts->c->snapshot(texts->c, texts->s);
}

PyObject *
Container_snapshot(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"comment_path", NULL};
    OWNED PyObject *comment = NULL;
    int number = -1;
    bool possible;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:snapshot", names, optional_text,
                                     &comment))
        return NULL;
    HELD held = hold(self, CONFIG | RELOAD | LISTEN);
    if (held.c == NULL)
        return NULL;
    const struct texts texts = {held.c, c_str(comment), NULL};
    /* liblxc would make the snapshot first and then fail to copy the comment. */
    if (texts.s != NULL && access(texts.s, R_OK) < 0) {
        because("the comment file %s cannot be read: %s", texts.s, strerror(errno));
        Py_RETURN_FALSE;
    }
    WITHOUT_GIL(possible = texts.c->lxc_conf != NULL && has_room(texts.c, NULL));
    if (possible && !call_apart(snapshot_now, &texts, &number))
        return NULL;
    if (!answer(&held, number >= 0))
        Py_RETURN_FALSE;
    return PyUnicode_FromFormat("snap%d", number);
}

PyObject *
Container_snapshot_list(PyObject *self, PyObject *ignored)
{
    struct lxc_snapshot *snapshots = NULL;
    int n;

    (void)ignored;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(n = c->snapshot_list(c, &snapshots));
    if (n < 0) {
        PyErr_Format(PyExc_KeyError,
                     "the snapshots of '%s' cannot be listed: is it defined?", c->name);
        return NULL;
    }
    PyObject *list = PyTuple_New(n);
    for (int i = 0; i < n; i++) {
        struct lxc_snapshot *s = &snapshots[i];
        PyObject *entry = list == NULL
                              ? NULL
                              : Py_BuildValue("NNNN", str_or(s->name, Py_None),
                                              str_or(s->comment_pathname, Py_None),
                                              str_or(s->timestamp, Py_None),
                                              str_or(s->lxcpath, Py_None));

        s->free(s);
        if (entry != NULL)
            PyTuple_SetItem(list, i, entry);
        else
            Py_CLEAR(list);
    }
    free(snapshots);
    return list;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The object that wraps a struct lxc_container: how it begins and how it ends.
 */
#include "handle.h"

#include "convert.h"
#include "journal.h"
#include "lock.h"
#include "reasons.h"
#include "room.h"
#include "work.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- The handle --------------------------------------------------------------- */

struct lxc_container *
open_handle(Container *self)
{
    const char *n = c_str(self->name), *p = c_str(self->path);
    struct listening listening;
    struct lxc_container *c = NULL;
    char line[512], file[PATH_MAX];

    snprintf(file, sizeof(file), "%s/%s/config", p, n);
    if (!config_is_readable(file)) {
        PyErr_Format(PyExc_RuntimeError,
                     "liblxc cannot open the container '%s' in '%s': its configuration "
                     "is no regular file",
                     n, p);
        return NULL;
    }
    if (!may_be_read_whole(file)) {
        PyErr_Format(PyExc_RuntimeError,
                     "liblxc cannot open the container '%s' in '%s': it reads the "
                     "configuration by way of a memory file, for which this process's "
                     "limit RLIMIT_FSIZE is too small",
                     n, p);
        return NULL;
    }
    listen_count(&listening);
    listen_begin(&listening);
    WITHOUT_GIL(c = container_open(n, p));
    if (c == NULL) {
        listen_keep(&listening);
        listen_first(line, sizeof(line));
        PyErr_Format(PyExc_RuntimeError,
                     "liblxc cannot open the container '%s' in '%s': see that its "
                     "configuration is valid and readable%s",
                     n, p, line);
    }
    listen_end(&listening);
    return c;
}

/* Whether a descriptor is still that file. */
static bool
is_still(int fd, const struct stat *was)
{
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_dev == was->st_dev &&
           status.st_ino == was->st_ino && status.st_rdev == was->st_rdev;
}

void
release_slots(Container *self, bool all)
{
    struct slot **link = &self->slots;

    while (*link != NULL) {
        struct slot *slot = *link;

        if (!all && is_still(slot->ptx, &slot->was[1])) {
            link = &slot->next;
            continue;
        }
        *link = slot->next;
        if (is_still(slot->busy, &slot->was[0]))
            close(slot->busy);
        free(slot);
    }
}

PyObject *
Container_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self != NULL)
        lock_init(&((Container *)self)->lock, OF_OBJECT);
    return self;
}

void
Container_dealloc(PyObject *object)
{
    Container *self = (Container *)object;
    PyTypeObject *type = Py_TYPE(object);

    lock_renew(&self->lock);
    release_slots(self, true);
    journal_reset(self);
    /* Where its lock is torn, liblxc would wait for its own. */
    if (self->c != NULL && !self->lock.torn)
        lxc_container_put(self->c);
    place_put(self->place);
    Py_CLEAR(self->name);
    Py_CLEAR(self->path);
    lock_destroy(&self->lock);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

PyObject *
standard_path(void)
{
    const char *standard = lxc_get_global_config_item("lxc.lxcpath");

    return PyBytes_FromString(standard != NULL ? standard : "/var/lib/lxc");
}

/* Parse and remember which container this is.  Nobody else touches the object until
 * its stage says that it is initialized, or not again. */
static bool
set_identity(Container *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "config_path", NULL};
    OWNED PyObject *n = NULL, *path = NULL;
    enum stage stage = UNINITIALIZED;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:Container", names, name, &n,
                                     optional_lxcpath, &path))
        return false;
    if (path == NULL && (path = standard_path()) == NULL)
        return false;
    if (!__atomic_compare_exchange_n(&self->stage, &stage, BEING_INITIALIZED, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        PyErr_SetString(PyExc_RuntimeError, "this Container is initialized already");
        return false;
    }
    self->name = Py_NewRef(n);
    self->path = Py_NewRef(path);
    return true;
}

int
Container_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Container *self = (Container *)object;

    if (!set_identity(self, args, kwargs))
        return -1;
    if (open_first(self)) {
        __atomic_store_n(&self->stage, INITIALIZED, __ATOMIC_RELEASE);
        return 0;
    }
    Py_CLEAR(self->name);
    Py_CLEAR(self->path);
    __atomic_store_n(&self->stage, UNINITIALIZED, __ATOMIC_RELEASE);
    return -1;
}

PyObject *
open_later(PyTypeObject *type, const char *n, PyObject *path)
{
    OWNED PyObject *bytes = PyBytes_FromString(n);
    PyObject *object = bytes != NULL ? Container_new(type, NULL, NULL) : NULL;

    if (object != NULL) {
        ((Container *)object)->name = Py_NewRef(bytes);
        ((Container *)object)->path = Py_NewRef(path);
        ((Container *)object)->stage = INITIALIZED;
    }
    return object;
}

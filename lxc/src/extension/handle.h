/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The object that wraps a struct lxc_container, and how a call holds it.
 */
#ifndef PYTHON_LXC_HANDLE_H
#define PYTHON_LXC_HANDLE_H

#include "convert.h"
#include "lock.h"
#include "work.h"

#include <lxc/lxccontainer.h>

#include <sys/stat.h>

struct notes {
    char **entries; /* see enum note; NULL at the end */
    size_t n, room;
};

/* What was done to a handle since its file was read: see journal.c. */
struct journal {
    struct notes notes;
    char *base;  /* what the file said; NULL: not known, or nothing was changed */
    char *fixed; /* the lines that clearing an item leaves; NULL: as above */
    struct lxc_container *outline; /* see journal_outline() */
    bool spoilt;                   /* there was something that cannot be repeated */
};

struct slot;

/* How far __init__() is. */
enum stage { UNINITIALIZED, BEING_INITIALIZED, INITIALIZED };

/* What changes after __init__() changes under the lock: error_num and place can be set
 * by several at once, and get_path() needs no lock. */
struct Container {
    PyObject_HEAD
    enum stage stage;
    PyObject *name;          /* bytes, the same from __init__() on */
    PyObject *path;          /* bytes: the lxcpath */
    struct lxc_container *c; /* NULL until first used, where that is put off */
    struct lock lock;
    struct place *place; /* NULL until first needed */
    struct stamp file;   /* the configuration file as this handle read or wrote it */
    bool unsaved;        /* the handle's configuration was changed since */
    struct journal journal;
    bool cleared; /* clear_config() took it away on purpose */
    int error_num;
    int timeout;        /* of set_timeout(); 0 if that was not called */
    struct slot *slots; /* terminals that console_getfd() holds */
};

/* A call that is listened to: see reasons.c. */
struct listening {
    struct mark mark;
    unsigned long number; /* of the call */
    bool alone;           /* no other was being made when it began */
};

/* A handle that is held for a call; let go on every way out of the function. */
struct held {
    Container *self;
    struct lxc_container *c; /* NULL with an exception if there is none to be had */
    int what;
    struct listening listening;
};

static inline bool
is_initialized(const Container *self)
{
    return __atomic_load_n(&self->stage, __ATOMIC_ACQUIRE) == INITIALIZED;
}

/* The lxcpath, a new reference; no call has to be waited for. */
PyObject *get_path(Container *self);
void set_path(Container *self, PyObject *path);

bool open_first(Container *self);
struct held hold(PyObject *self, int what);
void let_go(struct held *held);
#define HELD __attribute__((cleanup(let_go))) struct held

/* A handle of our own for the same container, read from the same file; GIL held. */
struct lxc_container *open_handle(Container *self);

/* An object that is opened when it is first used; type is Container or below it. */
PyObject *open_later(PyTypeObject *type, const char *name, PyObject *path);
PyObject *standard_path(void); /* liblxc's own lxcpath, as bytes */

PyObject *Container_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int Container_init(PyObject *object, PyObject *args, PyObject *kwargs);
void Container_dealloc(PyObject *object);

/* A terminal that console_getfd() gave out: liblxc keeps it busy while `busy` is open.
 */
struct slot {
    struct slot *next;
    int busy, ptx;
    struct stat was[2]; /* what the two were: a number may be another file's by now */
};

/* Give back the terminals whose descriptor the caller has closed, or all. */
void release_slots(Container *self, bool all);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * checkpoint, restore and migrate, for which liblxc runs criu.
 *
 * A forked child makes the call.  A restore makes its caller the parent of the
 * container's monitor, which never execs and keeps what it was given: stdio and all
 * other descriptors.  During a dump liblxc takes any signal with a handler for the end
 * of criu.
 */
#include "migrate.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct migrate {
    struct lxc_container *c;
    int (*call)(struct migrate *); /* 0: it is done */
    int cmd;
    PADDED(struct migrate_opts, opts);
};

/* --- In the child ------------------------------------------------------------- */

static int
checkpoint(struct migrate *m)
{
    return !m->c->checkpoint(m->c, m->opts.directory, m->opts.stop, m->opts.verbose);
}

static int
restore(struct migrate *m)
{
    return !m->c->restore(m->c, m->opts.directory, m->opts.verbose);
}

/* The whole of the padded struct, so that it is not shorter than that of a newer
 * liblxc, which would leave the features that it finds in a copy. */
static int
migrate(struct migrate *m)
{
    const size_t size = sizeof(*m) - offsetof(struct migrate, opts);

    return m->c->migrate(m->c, (unsigned int)m->cmd, &m->opts, (unsigned int)size);
}

static void
migrate_now(void *argument, int fd)
{
    struct migrate *m = argument;
    int result;

    setsid(); /* what is typed at the caller's terminal is not for criu */
    default_signals();
    if (m->cmd == MIGRATE_RESTORE) { /* it becomes the container's monitor */
        null_stdio();
        close_for_call(m->c, (int[]){fd, log_descriptor()}, 2);
    }
    result = m->call(m);
    log_seal(); /* the monitor would write there as long as the container runs */
    say(fd, SAID_RETURNED, result, 0);
    _exit(EXIT_SUCCESS);
}

/* --- The calls ---------------------------------------------------------------- */

/* Whether it is done; -1 with an exception. */
static int
call_in_child(PyObject *self, struct migrate *m)
{
    struct message message = {.value = -1};
    struct child child;
    bool forked, heard;

    {
        HELD held = hold(self, CONFIG | RELOAD);
        if (held.c == NULL)
            return -1;
        m->c = held.c;
        if (m->c->lxc_conf == NULL && m->cmd != MIGRATE_FEATURE_CHECK) {
            because_it(NOT_DEFINED); /* liblxc would crash */
            return 0;
        }
        forked = child_fork(&child, migrate_now, m, false);
    } /* others may ask it meanwhile */
    if (!forked)
        return -1;
    /* Not cut short by a signal: criu would leave the processes in pieces. */
    heard = child_outlive(&child, &message);
    child_reap(&child);
    if (PyErr_Occurred())
        return -1;
    if (!heard)
        because("the process that was to do it was killed");
    return heard && message.value == 0;
}

/* Its options have a result as well: the child has them in memory that is shared. */
static int
call_apart_with(PyObject *self, struct migrate *m)
{
    struct migrate *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int done;

    if (shared == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    *shared = *m;
    done = call_in_child(self, shared);
    m->opts = shared->opts;
    munmap(shared, sizeof(*shared));
    return done;
}

PyObject *
Container_checkpoint(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"directory", "stop", "verbose", NULL};
    struct migrate m = {.call = checkpoint, .cmd = MIGRATE_DUMP};
    OWNED PyObject *directory = NULL;
    int stop = 0, verbose = 0, done;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&O&:checkpoint", names, text,
                                     &directory, optional_bool, &stop, optional_bool,
                                     &verbose))
        return NULL;
    m.opts.directory = (char *)c_str(directory);
    m.opts.stop = stop;
    m.opts.verbose = verbose;
    done = call_in_child(self, &m);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

PyObject *
Container_restore(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"directory", "verbose", NULL};
    struct migrate m = {.call = restore, .cmd = MIGRATE_RESTORE};
    OWNED PyObject *directory = NULL;
    int verbose = 0, done;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:restore", names, text,
                                     &directory, optional_bool, &verbose))
        return NULL;
    m.opts.directory = (char *)c_str(directory);
    m.opts.verbose = verbose;
    done = call_in_child(self, &m);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

PyObject *
Container_migrate(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"cmd",
                            "directory",
                            "verbose",
                            "stop",
                            "predump_dir",
                            "pageserver_address",
                            "pageserver_port",
                            "preserves_inodes",
                            "action_script",
                            "disable_skip_in_flight",
                            "ghost_limit",
                            "features_to_check",
                            NULL};
    struct migrate m = {.call = migrate};
    OWNED PyObject *directory = NULL, *predump_dir = NULL, *script = NULL;
    OWNED PyObject *address = NULL, *port = NULL;
    unsigned long long limit = 0, features = 0;
    int verbose = 0, stop = 0, inodes = 0, no_skip = 0, done;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "i|O&O&O&O&O&O&O&O&O&O&O&:migrate", names, &m.cmd,
            optional_text, &directory, optional_bool, &verbose, optional_bool, &stop,
            optional_text, &predump_dir, optional_text, &address, optional_text, &port,
            optional_bool, &inodes, optional_text, &script, optional_bool, &no_skip,
            optional_size, &limit, optional_size, &features))
        return NULL;
    if (directory == NULL && m.cmd != MIGRATE_FEATURE_CHECK) { /* liblxc would crash */
        PyErr_SetString(PyExc_ValueError, "migrate needs a directory");
        return NULL;
    }
    m.opts = (struct migrate_opts){
        .directory = (char *)c_str(directory),
        .verbose = verbose,
        .stop = stop,
        .predump_dir = (char *)c_str(predump_dir),
        .pageserver_address = (char *)c_str(address),
        .pageserver_port = (char *)c_str(port),
        .preserves_inodes = inodes,
        .action_script = (char *)c_str(script),
        .disable_skip_in_flight = no_skip,
        .ghost_limit = limit,
        .features_to_check = features,
    };
    done = call_apart_with(self, &m);
    if (done < 0)
        return NULL;
    return Py_BuildValue("OK", done ? Py_True : Py_False,
                         (unsigned long long)m.opts.features_to_check);
}

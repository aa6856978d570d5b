/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The container's terminals: console, console_getfd and console_log.
 *
 * liblxc's console() starts a session and ignores SIGTTIN and SIGTTOU for good, which
 * is done to a forked child.
 */
#include "console.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- console ------------------------------------------------------------------ */

struct console {
    struct lxc_container *c;
    int ttynum, stdinfd, stdoutfd, stderrfd, escape;
    pid_t parent;
    struct terminal terminal;
};

static void
console_now(void *argument, int fd)
{
    const struct console *console = argument;
    struct lxc_container *c = console->c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != console->parent)
        _exit(EXIT_FAILURE);
    terminal_give(&console->terminal);
    default_signals();
    close_for_call(c,
                   (int[]){fd, log_descriptor(), console->stdinfd, console->stdoutfd,
                           console->stderrfd},
                   5);
    say(fd, SAID_RETURNED,
        c->console(c, console->ttynum, console->stdinfd, console->stdoutfd,
                   console->stderrfd, console->escape),
        0);
    _exit(EXIT_SUCCESS);
}

PyObject *
Container_console(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ttynum",   "stdinfd", "stdoutfd",
                            "stderrfd", "escape",  NULL};
    struct console console = {.ttynum = -1, .stdoutfd = 1, .stderrfd = 2, .escape = 1};
    struct child child;
    struct message message = {0};
    bool running, forked;
    int heard;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|O&O&O&O&O&:console", names, optional_int, &console.ttynum,
            optional_int, &console.stdinfd, optional_int, &console.stdoutfd,
            optional_int, &console.stderrfd, optional_int, &console.escape) ||
        !flush_streams())
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(running = c->is_running(c));
    if (!running) {
        because_it(NOT_RUNNING);
        Py_RETURN_FALSE;
    }
    console.c = c;
    console.parent = getpid();
    console.terminal = terminal_of(console.stdinfd);
    forked = child_fork(&child, console_now, &console, false);
    let_go(&held);
    if (!forked)
        return NULL;
    heard = child_hear(&child, &message, -1);
    if (heard <= 0)
        child_kill(&child, SIGKILL);
    child_reap(&child);
    terminal_take_back(&console.terminal);
    if (heard < 0)
        return NULL;
    if (heard == 0) {
        because("the process at the console was killed");
        Py_RETURN_FALSE;
    }
    if (message.value != 0) {
        PyErr_Format(PyExc_ValueError,
                     "no free terminal (ttynum=%d) in the container: see lxc.tty.max",
                     console.ttynum);
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* --- Terminals ---------------------------------------------------------------- */

PyObject *
Container_console_getfd(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ttynum", NULL};
    int ttynum = -1, ptx = -1, busy;
    struct slot *slot;
    bool running;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:console_getfd", names,
                                     optional_int, &ttynum))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    release_slots(held.self, false);
    WITHOUT_GIL(running = c->is_running(c));
    if (!running) {
        because_it(NOT_RUNNING);
        Py_RETURN_FALSE;
    }
    if ((slot = malloc(sizeof(*slot))) == NULL)
        return PyErr_NoMemory();
    WITHOUT_GIL(busy = c->console_getfd(c, &ttynum, &ptx));
    if (busy < 0) {
        free(slot);
        PyErr_Format(PyExc_ValueError,
                     "no free terminal (ttynum=%d) in the container: see lxc.tty.max",
                     ttynum);
        return NULL;
    }
    fcntl(busy, F_SETFD, FD_CLOEXEC);
    fcntl(ptx, F_SETFD, FD_CLOEXEC);
    *slot = (struct slot){.next = held.self->slots, .busy = busy, .ptx = ptx};
    fstat(busy, &slot->was[0]);
    fstat(ptx, &slot->was[1]);
    held.self->slots = slot;
    return PyLong_FromLong(ptx);
}

/* liblxc crashes without a read_max, and takes what it wrote there for the length.
 * Clearing without reading has 4.0.6 wait for ever: so what is not wanted is dropped
 * here. */
PyObject *
Container_console_log(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"clear", "read", "read_max", NULL};
    PADDED(struct lxc_console_log, log) padded;
    struct lxc_console_log *log = &padded.log;
    unsigned long long most = 0;
    uint64_t read_max;
    int clear = 0, read = 1, result;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&:console_log", names,
                                     optional_bool, &clear, optional_bool, &read,
                                     optional_size, &most))
        return NULL;
    if (!read && !clear) {
        PyErr_SetString(PyExc_ValueError,
                        "console_log has nothing to do: read, clear, or both");
        return NULL;
    }
    HELD held = hold(self, SHARED | ADOPT | LISTEN | TALKS);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    read_max = most;
    memset(&padded, 0, sizeof(padded));
    log->clear = clear;
    log->read = true;
    log->read_max = &read_max;
    WITHOUT_GIL(result = c->console_log(c, log));
    if (result == -ENODATA) /* it is empty */
        return PyBytes_FromString("");
    if (!answer(&held, result >= 0)) {
        if (result == -EFAULT)
            because("it was started without lxc.console.buffer.size");
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (log->data == NULL)
        return PyBytes_FromString("");
    PyObject *bytes =
        PyBytes_FromStringAndSize(log->data, read ? (Py_ssize_t)read_max : 0);
    free(log->data);
    return bytes;
}

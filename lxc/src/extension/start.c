/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * start, in a forked child or by the launcher.
 *
 * liblxc's start() makes its caller the parent of a monitor, gives the container's init
 * the caller's blocked and ignored signals and, in the foreground, takes the process
 * over: so all of that is done to a child.
 */
#include "start.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
#include "reasons.h"
#include "request.h"
#include "spawn.h"
#include "work.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child that nobody else is in. */
static void
start_now(void *argument, int fd)
{
    start_and_tell(argument, fd);
}

static void
stop_now(void *argument, int fd)
{
    struct lxc_container *c = argument;

    null_stdio();
    close_for_call(c, (int[]){fd, log_descriptor()}, 2);
    say(fd, SAID_RETURNED, c->stop(c), 0);
    _exit(EXIT_SUCCESS);
}

/* A signal handler raised an exception during a start: leave the container in a
 * definite state, which is running if it is almost there, else stopped. */
static void
start_interrupted(PyObject *self, struct child *child, bool daemonize)
{
    struct message message;
    struct child stopper;

    if (!daemonize) {
        child_kill(child, SIGTERM);
        child_hear_quietly(child, &message, 5);
        child_kill(child, SIGKILL);
        return;
    }
    if (child_hear_quietly(child, &message, 0.15))
        return;
    child_kill(child, SIGKILL);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    bool forked = false;
    {
        HELD held = hold(self, SHARED);
        if (held.c != NULL)
            forked = child_fork(&stopper, stop_now, held.c, false);
    }
    if (forked) {
        child_hear_quietly(&stopper, &message, 5);
        child_kill(&stopper, SIGKILL);
        child_reap(&stopper);
    }
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

/* Have the launcher or a forked child make the call. */
static bool
start_apart(struct held *held, struct start *start, struct child *child, bool *launched)
{
    struct request request = {.what = DO_START, .start = *start};
    const bool again = *launched;

    start->c = held->c;
    *launched = !again && is_for_the_launcher(held) && launch(held, &request, child);
    if (*launched)
        return true;
    return !PyErr_Occurred() && child_fork(child, start_now, start, false);
}

static bool
can_start(const struct held *held)
{
    if (held->c->lxc_conf == NULL) {
        because_it(NOT_DEFINED);
        return false;
    }
    if (!journal_has_bare_shmounts(held->self))
        return true;
    because("lxc.mount.auto = shmounts: lacks a path, and would hang: use "
            "shmounts:/a/shared/mount");
    return false;
}

PyObject *
Container_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"useinit", "daemonize", "close_fds", "cmd", NULL};
    int useinit = 0, daemonize = 1, close_fds = 0, heard;
    PyObject *cmd = NULL;
    STRINGS argv = NULL;
    struct child child;
    struct message message = {0};
    struct start start;
    bool launched = false;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&O:start", names,
                                     optional_bool, &useinit, optional_bool, &daemonize,
                                     optional_bool, &close_fds, &cmd))
        return NULL;
    if (cmd != NULL && cmd != Py_None && (argv = strings_from(cmd, "cmd")) == NULL)
        return NULL;
    if (!daemonize && !flush_streams())
        return NULL;
    start = (struct start){.useinit = useinit,
                           .daemonize = daemonize,
                           .close_fds = close_fds,
                           .cmd = argv != NULL && argv[0] != NULL ? argv : NULL,
                           .parent = getpid(),
                           .terminal = terminal_of(daemonize ? -1 : STDIN_FILENO)};
    do {
        HELD held = hold(self, CONFIG | ADOPT);
        if (held.c == NULL)
            return NULL;
        if (!can_start(&held))
            Py_RETURN_FALSE;
        /* Once more by a fork if its file was changed while the launcher read it, or if
         * that is of no use here. */
        if (!start_apart(&held, &start, &child, &launched))
            return NULL;
        let_go(&held); /* others may stop it meanwhile, or ask it */
        heard = child_hear(&child, &message, -1);
        if (heard == 0 && launched)
            message.said = SAID_STALE;
        if (heard > 0 && message.said == SAID_USABLE)
            heard = child_hear(&child, &message, -1);
        if (heard < 0)
            start_interrupted(self, &child, daemonize);
        child_reap(&child);
    } while (heard >= 0 && launched && message.said == SAID_STALE);
    terminal_take_back(&start.terminal);
    if (heard < 0)
        return NULL;
    if (heard == 0) {
        because("the process that was to start it was killed");
        Py_RETURN_FALSE;
    }
    if (!daemonize && message.value) /* liblxc leaves a wait status there */
        __atomic_store_n(&((Container *)self)->error_num,
                         WIFSIGNALED(message.extra) ? 128 + WTERMSIG(message.extra)
                                                    : WEXITSTATUS(message.extra),
                         __ATOMIC_RELAXED);
    return PyBool_FromLong(message.value);
}

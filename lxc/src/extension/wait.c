/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Waiting for a state: wait, shutdown and reboot2.
 */
#include "wait.h"

#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <string.h>

/* --- Waiting for a state ------------------------------------------------------ */

static const char *const known_states[] = {"STOPPED",  "STARTING", "RUNNING",
                                           "STOPPING", "ABORTING", "FREEZING",
                                           "FROZEN",   "THAWED"};

/* Whether `states`, names separated by "|", has that one. */
static bool
has_state(const char *states, const char *state)
{
    const size_t length = strlen(state);

    for (const char *s = states; s != NULL; s = strchr(s, '|')) {
        s += *s == '|';
        if (strncmp(s, state, length) == 0 && (s[length] == '\0' || s[length] == '|'))
            return true;
    }
    return false;
}

/* Between two looks at a state.  1 to look again, 0 time is up, -1 exception. */
static int
pause_until(double deadline, bool for_ever)
{
    const double left = for_ever ? STEP : deadline - monotonic();

    if (left <= 0)
        return 0;
    WITHOUT_GIL(nap(left < STEP ? left : STEP));
    return PyErr_CheckSignals() < 0 ? -1 : 1;
}

/* Wait until the container is in one of the states.  1 it is, 0 time is up, -1
 * exception.
 *
 * liblxc's own wait restarts with the whole timeout after each signal, takes 0 for "for
 * ever" when the container is up, and cannot be interrupted: look at the state instead.
 */
static int
wait_for(PyObject *self, const char *states, double timeout)
{
    const double deadline = monotonic() + timeout;

    for (;;) {
        const char *state;
        int going;

        {
            HELD held = hold(self, SHARED | TALKS); /* for a step only */
            if (held.c == NULL)
                return -1;
            struct lxc_container *c = held.c;
            WITHOUT_GIL(state = c->state(c));
        }
        if (state != NULL && has_state(states, state))
            return 1;
        going = pause_until(deadline, timeout < 0);
        if (going <= 0)
            return going;
    }
}

PyObject *
Container_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"state", "timeout", NULL};
    OWNED PyObject *states = NULL;
    double timeout = -1;
    bool possible = false;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:wait", names, text, &states,
                                     optional_seconds, &timeout))
        return NULL;
    for (size_t i = 0; i < sizeof(known_states) / sizeof(*known_states); i++)
        possible = possible || has_state(c_str(states), known_states[i]);
    if (!possible) {
        HELD held = hold(self, SHARED | TALKS);
        if (held.c == NULL)
            return NULL;
        because("'%s' is no state of a container", c_str(states));
        Py_RETURN_FALSE;
    }
    reached = wait_for(self, c_str(states), timeout);
    if (reached < 0)
        return NULL;
    if (reached == 0)
        because_of(TIMED_OUT, "it did not get to %s in %g seconds", c_str(states),
                   timeout);
    return PyBool_FromLong(reached);
}

PyObject *
Container_shutdown(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    double timeout = -1;
    bool ok;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:shutdown", names,
                                     optional_seconds, &timeout))
        return NULL;
    {
        HELD held = hold(self, SHARED | ADOPT | PIDFD | LISTEN | TALKS);
        if (held.c == NULL)
            return NULL;
        struct lxc_container *c = held.c;
        WITHOUT_GIL(ok = c->shutdown(c, 0));
        answer(&held, ok || timeout != 0);
    }
    if (timeout == 0)
        return PyBool_FromLong(ok);
    reached = wait_for(self, "STOPPED", timeout);
    if (reached < 0)
        return NULL;
    if (reached == 0)
        because_of(TIMED_OUT, "it did not shut down in %g seconds", timeout);
    return PyBool_FromLong(reached);
}

/* Whether init is another process by now, and runs.  1 it is, 0 time is up, -1
 * exception; 0 with a reason where the monitor is gone: it will not come back. */
static int
wait_for_reboot(PyObject *self, pid_t old, pid_t monitor, double timeout)
{
    const double deadline = monotonic() + timeout;

    for (;;) {
        const char *state;
        pid_t pid;
        int going;

        {
            HELD held = hold(self, SHARED | TALKS); /* for a step only */
            if (held.c == NULL)
                return -1;
            struct lxc_container *c = held.c;
            WITHOUT_GIL(pid = c->init_pid(c); state = c->state(c));
        }
        if (pid > 0 && pid != old && state != NULL && strcmp(state, "RUNNING") == 0)
            return 1;
        if (monitor > 0 && has_ended(monitor)) {
            because("it stopped instead");
            return 0;
        }
        going = pause_until(deadline, timeout < 0);
        if (going == 0)
            because_of(TIMED_OUT, "it did not reboot in %g seconds", timeout);
        if (going <= 0)
            return going;
    }
}

/* liblxc's own wait begins anew, with the whole timeout, after each signal, and it says
 * yes where nothing runs that could reboot. */
PyObject *
Container_reboot2(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    double timeout = -1;
    pid_t pid, monitor = 0;
    bool ok = false;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:reboot2", names,
                                     optional_seconds, &timeout))
        return NULL;
    {
        HELD held = hold(self, SHARED | RELOAD | LISTEN | TALKS);
        if (held.c == NULL)
            return NULL;
        struct lxc_container *c = held.c;
        /* The monitor first: init may be gone before the call returns. */
        WITHOUT_GIL(pid = c->init_pid(c); monitor = parent_of(pid);
                    if (pid > 0) ok = c->reboot2(c, 0));
        answer(&held, ok);
    }
    if (!ok || timeout == 0)
        return PyBool_FromLong(ok);
    reached = wait_for_reboot(self, pid, monitor, timeout);
    return reached < 0 ? NULL : PyBool_FromLong(reached);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * attach and attach_wait: which way each call goes, and what the attached process does.
 *
 * liblxc forks: caller -> transient child, which joins the namespaces -> attached
 * process, which calls our function and is a child of the caller.  Commands and shells
 * are C functions there, and no Python runs between the fork and exec.  Any other
 * callable is Python, so the fork is bracketed by CPython's hooks.
 */
#include "attach.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
#include "options.h"
#include "reasons.h"
#include "request.h"
#include "spawn.h"
#include "work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* A program that was attached and is waited for. */
struct program {
    pid_t pid;
    int fd;                /* readable when there is news */
    struct child helper;   /* the process that made the call, if not this one */
    bool launched, usable; /* the helper is the launcher, and it has begun */
    bool started, ended, stale;
    int status;     /* wait status, where there is one */
    int exec_error; /* errno of a failed exec */
};

/* --- In the attached process -------------------------------------------------- */

static int
run_function(void *payload)
{
    const struct call *call = payload;
    sigset_t none;
    long status = -1;

    locks_forget();
    PyOS_AfterFork_Child();
    attach_begin(&call->attach);
    close(call->attach.report); /* what the function forks must not keep it open */
    sigemptyset(&none);
    restore_signals(&none);
    PyObject *result =
        PyObject_CallFunctionObjArgs(call->run, call->function, call->arguments,
                                     call->threaded ? Py_True : Py_False, NULL);
    if (result != NULL)
        status = PyLong_AsLong(result);
    return (int)status & 0xff;
}

static int
run_nothing(void *payload)
{
    (void)payload;
    return 0;
}

static int (*const runners[])(void *) = {run_command, run_shell, run_function};

/* --- The pidfd that liblxc forgets -------------------------------------------- */

struct descriptors {
    int *fds; /* ascending */
    size_t n;
};

static int
compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static struct descriptors
open_descriptors(void)
{
    struct descriptors found = {NULL, 0};
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        if ((found.n & (found.n + 1)) == 0) { /* grow at 1, 3, 7, ... */
            int *more = realloc(found.fds, 2 * (found.n + 1) * sizeof(*more));

            if (more == NULL)
                break;
            found.fds = more;
        }
        found.fds[found.n++] = atoi(entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
    if (found.n > 0)
        qsort(found.fds, found.n, sizeof(*found.fds), compare_ints);
    return found;
}

/* An attach in the process leaves the pidfd of the container's init open.  All that the
 * monitor gives out are one open file, of which the caller never has a descriptor (see
 * init_pidfd()), nor another thread in a call of ours (see PIDFD): so close what is new
 * and the same as `known`. */
static void
close_leaked(const struct descriptors *before, int known)
{
    struct descriptors after = open_descriptors();

    for (size_t i = 0; i < after.n; i++) {
        int fd = after.fds[i];

        if (before->n > 0 &&
            bsearch(&fd, before->fds, before->n, sizeof(fd), compare_ints) == NULL &&
            syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, known) == 0)
            close(fd);
    }
    free(after.fds);
}

/* --- The two ways ------------------------------------------------------------- */

/* Whether attach_wait() makes the call in a forked child.  In the process is quicker,
 * but
 *   - liblxc ends an ordinary user's process when it cannot join the cgroup;
 *   - a private handle is needed, lest another thread hold liblxc's lock of the handle
 * at the fork, or the call change the configuration: it lacks what is not saved;
 *   - the GIL is held for the whole call, which other threads have to wait for, longer
 *     than for one fork.  A Python function needs it to be held in any case;
 *   - liblxc loses its own children where SIGCHLD is ignored;
 *   - with LXC_ATTACH_TERMINAL the call returns when the program ends;
 *   - a failed call may or may not have freed the label: see attach_now(). */
static bool
goes_to_a_child(const struct held *held, const struct call *call)
{
    return geteuid() != 0 || has_unsaved(held) || ignores_children() ||
           (call->attach.options.attach_flags & LXC_ATTACH_TERMINAL) ||
           call->attach.lsm_label != NULL || (call->kind != FUNCTION && is_threaded());
}

static void
attach_in_child(void *argument, int fd)
{
    struct call *call = argument;
    const struct attach *attach = &call->attach;

    /* With a terminal liblxc's call lasts as long as the program.  A function is to
     * have what its caller has. */
    if (call->kind != FUNCTION)
        close_private(call->c,
                      (int[]){fd, log_descriptor(), attach->options.log_fd,
                              attach->late[0], attach->late[1], attach->late[2],
                              call->stdio[0], call->stdio[1], call->stdio[2]},
                      9);
    call->attach.bound = call->kind != FUNCTION;
    attach_and_tell(call->c, &call->attach, runners[call->kind], call, fd);
}

static bool
attach_forked(struct held *held, struct call *call, struct program *program)
{
    bool forked;

    call->c = held->c;
    call->threaded = is_threaded();
    forked =
        child_fork(&program->helper, attach_in_child, call, call->kind == FUNCTION);
    program->fd = program->helper.fd;
    return forked;
}

static bool
attach_launched(const struct held *held, struct call *call, struct program *program)
{
    struct request request = {.what = call->kind == SHELL ? DO_SHELL : DO_COMMAND,
                              .attach = call->attach};

    request.attach.bound = true;
    if (!launch(held, &request, &program->helper))
        return false;
    program->launched = true;
    program->fd = program->helper.fd;
    return true;
}

/* As an ordinary user the process may not survive the attach: let a child find out. */
static void
attach_nothing(void *argument, int fd)
{
    struct call *call = argument;
    lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    pid_t pid;

    options.stdin_fd = options.stdout_fd = options.stderr_fd = -1;
    options.personality = -1;
    null_stdio();
    close_for_call(call->c, (int[]){fd, log_descriptor()}, 2);
    int result = attach_hidden(call->c, run_nothing, NULL, &options, &pid);
    if (result == 0)
        waitpid(pid, NULL, 0);
    say(fd, SAID_RETURNED, result, 0);
    _exit(EXIT_SUCCESS);
}

static bool
survives_attach(struct held *held, struct call *call)
{
    struct message message = {.value = -1};
    struct child child;

    if (geteuid() == 0)
        return true;
    call->c = held->c;
    if (!child_fork(&child, attach_nothing, call, false))
        return false;
    while (await(child.fd, 0.1) == 0 && !child_gone(&child))
        ;
    hear(child.fd, &message);
    child_kill(&child, SIGKILL);
    child_reap(&child);
    return message.value == 0 && !PyErr_Occurred();
}

static bool
attach_here(struct held *held, struct call *call, struct program *program)
{
    struct lxc_container *own = open_like(held), *c = own != NULL ? own : held->c;
    struct descriptors before;
    sigset_t old;
    int known, result;

    if (own == NULL && PyErr_Occurred())
        return false;
    WITHOUT_GIL(known = c->init_pidfd(c));
    if (!before_fork(call->kind == FUNCTION)) {
        if (known >= 0)
            close(known);
        if (own != NULL)
            lxc_container_put(own);
        return false;
    }
    call->threaded = is_threaded();
    before = open_descriptors();
    block_signals(&old);
    result = attach_now(c, &call->attach, runners[call->kind], call, &program->pid);
    restore_signals(&old);
    if (known >= 0)
        close_leaked(&before, known);
    after_fork(call->kind == FUNCTION);
    if (known >= 0)
        close(known);
    free(before.fds);
    if (own != NULL)
        lxc_container_put(own);
    else
        journal_spoil(held->self); /* two items are changed: lxc_attach() sets them */
    if (result < 0) {
        program->pid = 0;
        listen_keep(&held->listening);
    }
    return true;
}

/* --- Waiting ------------------------------------------------------------------ */

#define LOST (-1) /* instead of a status */

/* Take in what there is to hear.  True when the program has ended or never was. */
static bool
look(struct program *program)
{
    struct message message;

    if (program->helper.pid == 0) {
        pid_t got = waitpid(program->pid, &program->status, WNOHANG);

        if (got < 0 && errno == ECHILD)
            program->status = LOST;
        return program->ended = got != 0 && !(got < 0 && errno == EINTR);
    }
    /* First: what it said before it went is still there to be heard. */
    bool gone = child_gone(&program->helper);
    while (hear(program->helper.fd, &message))
        switch (message.said) {
        case SAID_USABLE:
            program->usable = true;
            break;
        case SAID_ATTACHED:
            /* It is to be killed perhaps, and the attached process, in which the
             * container's root can be, speaks through the same socket. */
            if (parent_of(message.value) == program->helper.pid)
                program->pid = message.value;
            break;
        case SAID_STARTED:
            program->started = true;
            break;
        case SAID_NO_EXEC:
            program->exec_error = message.value;
            break;
        case SAID_ENDED:
            program->status = message.value;
            return program->ended = true;
        case SAID_RETURNED:
            return true;
        case SAID_STALE:
            return program->stale = true;
        default:
            break;
        }
    /* It could not even find its libraries, for instance. */
    if (gone && program->launched && !program->usable)
        return program->stale = true;
    if (gone)
        because(
            "the process that was to attach to it was ended, by liblxc or a signal");
    return gone;
}

/* An exception is pending: give the program a quarter of a second to end, as subprocess
 * does, then end it. */
static void
end_program(struct program *program)
{
    PyObject *type, *value, *traceback;
    double end = monotonic() + 0.25;
    bool killed = false;

    PyErr_Fetch(&type, &value, &traceback);
    while (!look(program)) {
        if (await(program->fd, STEP) < 0)
            PyErr_Clear();
        if (monotonic() < end)
            continue;
        if (killed) /* in a container that was frozen meanwhile even that takes longer
                     */
            break;
        kill(program->pid > 0 ? program->pid : program->helper.pid, SIGKILL);
        killed = true;
        end += 0.15;
    }
    if (program->helper.pid > 0 && !program->ended)
        child_kill(&program->helper, SIGKILL);
    PyErr_Restore(type, value, traceback);
}

static bool
wait_program(struct program *program, const struct call *call)
{
    while (!look(program)) {
        if (await(program->fd, program->fd >= 0 ? 1 : STEP) >= 0)
            continue;
        /* The terminal sent its Ctrl-C to the program as well, which decides. */
        if (call->terminal && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
            PyErr_Clear();
            continue;
        }
        end_program(program);
        return false;
    }
    if (!call->terminal)
        return true;
    if (PyErr_CheckSignals() < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
            return false;
        PyErr_Clear();
    }
    if (program->ended && WIFSIGNALED(program->status) &&
        WTERMSIG(program->status) == SIGINT) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return false;
    }
    return true;
}

/* The status that attach_wait() returns, and the reason where that is not success. */
static int
verdict(const struct program *program, const struct call *call)
{
    const int status = program->status;

    if (!program->ended)
        return -1;
    if (status == LOST) {
        because("another waitpid() took its exit status");
        return -1;
    }
    if (!program->started) {
        because("the attached process ended before the program could begin");
        return -1;
    }
    if (program->exec_error != 0)
        because_of(ENDED, "%s: %s", c_str(call->program),
                   strerror(program->exec_error));
    else if (WIFSIGNALED(status))
        because_of(ENDED, "the program was ended by signal %d (%s)", WTERMSIG(status),
                   strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 255)
        because_of(ENDED,
                   call->kind == FUNCTION
                       ? "the function's exit status was 255, as when it raises an "
                         "exception or returns neither None nor an integer"
                       : "the program's exit status was 255");
    return WIFEXITED(status) && WEXITSTATUS(status) == 255 ? -1 : status;
}

/* --- attach and attach_wait --------------------------------------------------- */

static bool
can_attach(const struct held *held)
{
    struct lxc_container *c = held->c;
    const char *state;

    WITHOUT_GIL(state = c->state(c));
    if (state == NULL || strcmp(state, "STOPPED") == 0) {
        because_it(c->is_defined(c) ? NOT_RUNNING : NOT_DEFINED);
        return false;
    }
    /* liblxc would join the cgroup and never come back. */
    if (strcmp(state, "FROZEN") == 0 || strcmp(state, "FREEZING") == 0) {
        because_it(FROZEN);
        return false;
    }
    return true;
}

PyObject *
Container_attach(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct program program = {.fd = -1};
    CALL call;

    start_call(&call);
    if (!convert(args, kwargs, &call))
        return NULL;
    if (call.attach.options.attach_flags & LXC_ATTACH_TERMINAL) {
        PyErr_SetString(PyExc_ValueError, "attach() would wait for the program with "
                                          "LXC_ATTACH_TERMINAL: use attach_wait()");
        return NULL;
    }
    HELD held = hold(self, CONFIG | ADOPT | PIDFD | LISTEN | GATHERS);
    if (held.c == NULL)
        return NULL;
    if (!can_attach(&held))
        return PyLong_FromLong(-1);
    if (!survives_attach(&held, &call)) {
        if (PyErr_Occurred())
            return NULL;
        because("liblxc could not attach to it, or would have ended this process");
        return PyLong_FromLong(-1);
    }
    if (!attach_here(&held, &call, &program))
        return NULL;
    return PyLong_FromLong(program.pid > 0 ? program.pid : -1);
}

/* Have the launcher or a forked child make the call, and wait for the program. */
static PyObject *
attach_apart(struct held *held, struct call *call, bool launcher)
{
    struct program program = {.fd = -1};
    const struct terminal terminal = terminal_of(
        call->attach.options.attach_flags & LXC_ATTACH_TERMINAL ? STDIN_FILENO : -1);
    PyObject *self = (PyObject *)held->self;
    int status = -1;
    bool ok = launcher && attach_launched(held, call, &program);

    if (!ok && (PyErr_Occurred() || !attach_forked(held, call, &program)))
        return NULL;
    let_go(held);
    ok = wait_program(&program, call);
    if (ok && !program.stale)
        status = verdict(&program, call);
    child_reap(&program.helper);
    terminal_take_back(&terminal); /* liblxc's is raw while it is in use */
    if (!ok)
        return NULL;
    if (!program.stale)
        return PyLong_FromLong(status);
    /* Its file was changed while the launcher read it, or that is of no use here: a
     * fork knows what the handle has. */
    HELD again = hold(self, CONFIG | ADOPT | PIDFD | LISTEN | GATHERS);
    return again.c != NULL ? attach_apart(&again, call, false) : NULL;
}

PyObject *
Container_attach_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct program program = {.fd = -1};
    int reports[2] = {-1, -1}, status = -1;
    struct message message;
    bool ok;
    CALL call;

    start_call(&call);
    if (!convert(args, kwargs, &call))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT | PIDFD | LISTEN | GATHERS);
    if (held.c == NULL)
        return NULL;
    if (!can_attach(&held))
        return PyLong_FromLong(-1);
    bool launcher = call.kind != FUNCTION && is_for_the_launcher(&held);
    if (launcher || goes_to_a_child(&held, &call))
        return attach_apart(&held, &call, launcher);
    if (!socket_pair(reports))
        return PyErr_SetFromErrno(PyExc_OSError);
    call.attach.report = reports[1];
    ok = attach_here(&held, &call, &program);
    let_go(&held);
    close(reports[1]);
    if (ok && program.pid > 0) {
        program.fd = (int)syscall(SYS_pidfd_open, program.pid, 0);
        ok = wait_program(&program, &call);
        while (hear(reports[0], &message)) {
            program.started = true;
            program.exec_error = message.said == SAID_NO_EXEC ? message.value : 0;
        }
        if (ok)
            status = verdict(&program, &call);
        if (program.fd >= 0)
            close(program.fd);
    }
    close(reports[0]);
    return ok ? PyLong_FromLong(status) : NULL;
}

/* --- What is attached by name, or called in an attached function -------------- */

PyObject *
module_attach_run_command(PyObject *module, PyObject *command)
{
    OWNED PyObject *program = NULL;
    STRINGS argv = NULL;

    (void)module;
    if (!convert_command(command, &program, &argv) || !flush_streams())
        return NULL;
    default_signals();
    execvp(c_str(program), argv);
    return PyLong_FromLong(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
}

PyObject *
module_attach_run_shell(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    if (!flush_streams())
        return NULL;
    default_signals();
    return PyLong_FromLong(lxc_attach_run_shell(NULL));
}

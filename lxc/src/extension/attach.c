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
#include "features.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
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

enum kind { COMMAND, SHELL, FUNCTION };

/* A call with everything converted: nothing is left to go wrong between the forks. */
struct call {
    struct attach attach; /* first: what is attached is given one of the two */
    enum kind kind;
    PyObject *program, *cwd, *label;      /* bytes */
    PyObject *run, *function, *arguments; /* lxc._attached.run, and what it calls */
    bool threaded; /* there were others when it was forked, which may have held locks */
    int stdio[3];  /* copies of what liblxc is to see as stdin, stdout and stderr */
    bool terminal; /* stdin is our terminal: what is typed there is the program's */
    struct lxc_container *c;
};

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

/* --- Arguments ---------------------------------------------------------------- */

static void
free_call(struct call *call)
{
    for (int i = 0; i < 3; i++) {
        if (call->stdio[i] >= 0)
            close(call->stdio[i]);
        if (call->attach.late[i] >= 0)
            close(call->attach.late[i]);
    }
    if (call->attach.options.log_fd >= 0)
        close(call->attach.options.log_fd);
    free_strings(&call->attach.argv);
    free_strings(&call->attach.options.extra_env_vars);
    free_strings(&call->attach.options.extra_keep_env);
    Py_CLEAR(call->program);
    Py_CLEAR(call->cwd);
    Py_CLEAR(call->label);
    Py_CLEAR(call->run);
    Py_CLEAR(call->function);
    Py_CLEAR(call->arguments);
}

#define CALL __attribute__((cleanup(free_call))) struct call

/* (program, [argument 0, argument 1, ...]) */
static bool
convert_command(PyObject *pair, PyObject **program, char ***argv)
{
    if (pair == NULL || !PyTuple_Check(pair) || PyTuple_Size(pair) != 2 ||
        !PyList_Check(PyTuple_GetItem(pair, 1))) {
        PyErr_SetString(
            PyExc_TypeError,
            "a command is a tuple: (program, [argument 0, argument 1, ...])");
        return false;
    }
    *argv = strings_from(PyTuple_GetItem(pair, 1), "the command's arguments");
    if (*argv == NULL)
        return false;
    if (**argv == NULL) { /* of the copy: another thread may change the list */
        PyErr_SetString(PyExc_ValueError,
                        "a command needs an argument 0, usually its program");
        return false;
    }
    return text(PyTuple_GetItem(pair, 0), program);
}

static bool
convert_function(PyObject *function, PyObject *payload, struct call *call)
{
    if (!PyCallable_Check(function)) {
        PyErr_Format(PyExc_TypeError,
                     "attach needs a callable to run, attach_run_command or "
                     "attach_run_shell, not %R",
                     function);
        return false;
    }
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        /* PyOS_AfterFork_Child() would end the attached process. */
        PyErr_SetString(PyExc_RuntimeError,
                        "a Python function cannot be attached from a subinterpreter: "
                        "attach a command, or call this in the main interpreter");
        return false;
    }
    call->function = Py_NewRef(function);
    call->arguments = payload ? PyTuple_Pack(1, payload) : PyTuple_New(0);
    /* It imports what it needs, and flushes, in the parent: in the child the files are
     * the container's. */
    call->run =
        call->arguments != NULL ? call_in("lxc._attached", "prepare", NULL) : NULL;
    return call->run != NULL;
}

/* A copy of a descriptor that the caller gave, or -1 with an exception. */
static int
copy_descriptor(int fd, const char *what)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (copy < 0 && errno == EMFILE)
        PyErr_SetFromErrno(PyExc_OSError);
    else if (copy < 0)
        PyErr_Format(PyExc_ValueError, "%s: descriptor %d is not usable: %s", what, fd,
                     strerror(errno));
    return copy;
}

/* What is a terminal is left to liblxc with LXC_ATTACH_TERMINAL, which has the
 * container's in its place; but not the caller's own under another number. */
static bool
is_left_to_liblxc(int number, int fd, const struct call *call)
{
    return (call->attach.options.attach_flags & LXC_ATTACH_TERMINAL) && isatty(fd) &&
           (number > 0 || fd == STDIN_FILENO || tcgetsid(fd) != getsid(0));
}

/* All three are copied, so that they can be given in any order. */
static bool
convert_stdio(PyObject *const objects[3], struct call *call)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    lxc_attach_options_t *options = &call->attach.options;
    int *const seen[] = {&options->stdin_fd, &options->stdout_fd, &options->stderr_fd};

    for (int i = 0; i < 3; i++) {
        const bool given = objects[i] != NULL && objects[i] != Py_None;
        const int fd = given ? PyObject_AsFileDescriptor(objects[i]) : i;

        if (fd < 0)
            return false;
        if (fcntl(fd, F_GETFD) < 0) {
            if (given) {
                PyErr_Format(PyExc_ValueError, "%s: descriptor %d is not open",
                             names[i], fd);
                return false;
            }
            call->attach.late[i] = LATE_CLOSED;
            continue;
        }
        if (i == 0) {
            call->terminal = isatty(fd) && tcgetpgrp(fd) == getpgrp();
            call->attach.adopts =
                fd != STDIN_FILENO && isatty(fd) && tcgetsid(fd) != getsid(0);
        }
        if (!is_left_to_liblxc(i, fd, call)) {
            if ((call->attach.late[i] = copy_descriptor(fd, names[i])) < 0)
                return false;
        } else if (fd != i) {
            if ((call->stdio[i] = copy_descriptor(fd, names[i])) < 0)
                return false;
            *seen[i] = call->stdio[i];
        }
    }
    if (call->attach.late[0] < 0) /* liblxc itself makes it the program's own */
        call->attach.adopts = false;
    return true;
}

/* O& converter for a uid or gid: None and -1 are the default. */
static int
id(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    /* CPython 3.9 would make an integer of a float. */
    OWNED PyObject *number = PyNumber_Index(arg);
    if (number == NULL)
        return 0;
    long long value = PyLong_AsLongLong(number);
    if (value == -1 && PyErr_Occurred())
        return 0;
    if (value < -1 || value > (long long)UINT32_MAX - 1) {
        PyErr_Format(PyExc_ValueError, "%lld is no user or group number", value);
        return 0;
    }
    *(uid_t *)result = (uid_t)value; /* gid_t is the same */
    return 1;
}

static int
personality(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    OWNED PyObject *number = PyNumber_Index(arg);
    if (number == NULL)
        return 0;
    *(long *)result = PyLong_AsLong(number);
    return !(*(long *)result == -1 && PyErr_Occurred());
}

/* What liblxc copies to there is what the program prints on its terminal. */
static bool
convert_log(PyObject *file, struct call *call)
{
    lxc_attach_options_t *options = &call->attach.options;
    int fd;

    if (file == NULL || file == Py_None)
        return true;
    if (!(options->attach_flags & LXC_ATTACH_TERMINAL)) {
        PyErr_SetString(PyExc_ValueError,
                        "log_fd gets what is printed on the terminal of "
                        "LXC_ATTACH_TERMINAL: add that to attach_flags");
        return false;
    }
    if ((fd = PyObject_AsFileDescriptor(file)) < 0)
        return false;
    options->log_fd = copy_descriptor(fd, "log_fd");
    return options->log_fd >= 0;
}

/* Without its flag liblxc takes no notice of groups, and where it is too old, of
 * neither. */
static bool
convert_groups(PyObject *given, struct call *call)
{
    struct attach *attach = &call->attach;

    if (given != NULL && given != Py_None)
        attach->options.attach_flags |= LXC_ATTACH_SETGROUPS;
    if (!(attach->options.attach_flags & LXC_ATTACH_SETGROUPS))
        return true;
    if (!has_groups())
        return false;
    if (given == NULL || given == Py_None)
        return true;
    OWNED PyObject *groups = PySequence_Tuple(given);
    if (groups == NULL)
        return false;
    const Py_ssize_t n = PyTuple_Size(groups);
    if (n > MOST_GROUPS) {
        PyErr_Format(PyExc_ValueError, "groups: %zd are too many: %d fit", n,
                     MOST_GROUPS);
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        gid_t *group = &attach->groups[i];

        *group = (gid_t)-1;
        if (!id(PyTuple_GetItem(groups, i), group))
            return false;
        if (*group == (gid_t)-1) {
            PyErr_Format(PyExc_ValueError, "groups: %R is no group number",
                         PyTuple_GetItem(groups, i));
            return false;
        }
    }
    attach->ngroups = (size_t)n;
    return true;
}

static bool
convert_label(PyObject *given, struct call *call)
{
    lxc_attach_options_t *options = &call->attach.options;

    if (!optional_text(given != NULL ? given : Py_None, &call->label))
        return false;
    if (call->label != NULL)
        options->attach_flags |= LXC_ATTACH_LSM_LABEL;
    if (!(options->attach_flags & LXC_ATTACH_LSM_LABEL))
        return true;
    if (!has_lsm_label())
        return false;
    if (call->label == NULL) {
        PyErr_SetString(PyExc_ValueError, "LXC_ATTACH_LSM_LABEL needs an lsm_label");
        return false;
    }
    call->attach.lsm_label = c_str(call->label);
    return true;
}

/* Environment variables are not checked by liblxc: without "=" it would remove one. */
static bool
convert_environment(PyObject *variables, char ***result)
{
    if (variables == NULL || variables == Py_None)
        return true;
    if ((*result = strings_from(variables, "extra_env_vars")) == NULL)
        return false;
    for (char **variable = *result; *variable != NULL; variable++)
        if (strchr(*variable, '=') == NULL || **variable == '=') {
            PyErr_Format(PyExc_ValueError, "extra_env_vars: '%s' is not NAME=VALUE",
                         *variable);
            return false;
        }
    return true;
}

static bool
convert_options(PyObject *kwargs, struct call *call)
{
    static char *names[] = {"attach_flags",
                            "namespaces",
                            "personality",
                            "initial_cwd",
                            "uid",
                            "gid",
                            "env_policy",
                            "extra_env_vars",
                            "extra_keep_env",
                            "stdin",
                            "stdout",
                            "stderr",
                            "log_fd",
                            "lsm_label",
                            "groups",
                            NULL};
    lxc_attach_options_t *options = &call->attach.options;
    PyObject *variables = NULL, *keep = NULL, *stdio[3] = {NULL, NULL, NULL};
    PyObject *log = NULL, *label = NULL, *groups = NULL;
    int env_policy = LXC_ATTACH_KEEP_ENV;
    OWNED PyObject *none = PyTuple_New(0);

    if (none == NULL ||
        !PyArg_ParseTupleAndKeywords(
            none, kwargs, "|O&O&O&O&O&O&O&OOOOOOOO:attach", names, optional_int,
            &options->attach_flags, optional_int, &options->namespaces, personality,
            &options->personality, optional_text, &call->cwd, id, &options->uid, id,
            &options->gid, optional_int, &env_policy, &variables, &keep, &stdio[0],
            &stdio[1], &stdio[2], &log, &label, &groups))
        return false;
    if (env_policy != LXC_ATTACH_KEEP_ENV && env_policy != LXC_ATTACH_CLEAR_ENV) {
        PyErr_SetString(PyExc_ValueError, "env_policy is LXC_ATTACH_KEEP_ENV or "
                                          "LXC_ATTACH_CLEAR_ENV");
        return false;
    }
    options->env_policy = (lxc_attach_env_policy_t)env_policy;
    options->initial_cwd = (char *)c_str(call->cwd);
    if (!convert_environment(variables, &options->extra_env_vars))
        return false;
    if (keep != NULL && keep != Py_None &&
        (options->extra_keep_env = strings_from(keep, "extra_keep_env")) == NULL)
        return false;
    return convert_label(label, call) && convert_groups(groups, call) &&
           convert_log(log, call) && convert_stdio(stdio, call);
}

static bool
is_builtin(PyObject *callable, PyCFunction function)
{
    return PyCFunction_Check(callable) && PyCFunction_GetFunction(callable) == function;
}

static bool
convert(PyObject *args, PyObject *kwargs, struct call *call)
{
    PyObject *run, *payload = NULL;

    if (!PyArg_ParseTuple(args, "O|O:attach", &run, &payload) ||
        !convert_options(kwargs, call))
        return false;
    if (is_builtin(run, module_attach_run_command)) {
        call->kind = COMMAND;
        if (!convert_command(payload, &call->program, &call->attach.argv))
            return false;
        call->attach.program = c_str(call->program);
        return flush_streams();
    }
    if (is_builtin(run, module_attach_run_shell)) {
        call->kind = SHELL;
        return flush_streams();
    }
    call->kind = FUNCTION;
    return convert_function(run, payload, call);
}

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
        close_private((int[]){fd, log_descriptor(), attach->options.log_fd,
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
    close_others((int[]){fd, log_descriptor()}, 2);
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

static void
start_call(struct call *call)
{
    const lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;

    memset(call, 0, sizeof(*call));
    call->attach.options = options;
    call->attach.options.personality = -1; /* some headers' default is another number */
    call->attach.options.stdin_fd = call->attach.options.stdout_fd =
        call->attach.options.stderr_fd = -1;
    for (int i = 0; i < 3; i++) {
        call->stdio[i] = -1;
        call->attach.late[i] = LATE_LEFT;
    }
    call->attach.report = -1;
    call->attach.options.log_fd = -1;
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

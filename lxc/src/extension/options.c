/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The arguments of attach and attach_wait: everything is converted before the forks.
 */
#include "options.h"

#include "attach.h"
#include "convert.h"
#include "features.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

void
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

bool
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

bool
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

void
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

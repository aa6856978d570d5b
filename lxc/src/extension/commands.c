/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What run() and popen() need of C; what they do is in process.py.
 */
#include "commands.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "request.h"
#include "spawn.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* --- Files of a container ----------------------------------------------------- */

/* As linux/openat2.h has it, which older systems do not. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define NO_MAGIC_LINKS 0x02
#define IN_ROOT 0x10

/* Where there is no openat2() the path must have no symbolic links in it. */
static int
walk(int root, const char *path)
{
    char name[256];
    int fd = fcntl(root, F_DUPFD_CLOEXEC, 3);

    for (path += strspn(path, "/"); fd >= 0 && *path != '\0';) {
        const size_t length = strcspn(path, "/");
        int next;

        if (length >= sizeof(name)) {
            close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, length);
        name[length] = '\0';
        path += length;
        path += strspn(path, "/");
        next = openat(fd, name,
                      O_PATH | O_NOFOLLOW | O_CLOEXEC | (*path ? O_DIRECTORY : 0));
        close(fd);
        fd = next;
    }
    return fd;
}

int
find_beneath(int pid, const char *path, int flags)
{
    const uint64_t how[3] = {(uint64_t)(O_PATH | O_CLOEXEC | flags), 0,
                             IN_ROOT | NO_MAGIC_LINKS};
    char proc[64];
    int root, found = -1, error;

    snprintf(proc, sizeof(proc), "/proc/%d/root", pid);
    if ((root = open(proc, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    for (int i = 0; i < 100; i++) { /* somebody renames something meanwhile */
        found = (int)syscall(SYS_openat2, root, path, how, sizeof(how));
        if (found >= 0 || errno != EAGAIN)
            break;
    }
    /* Or where a filter of system calls does not know it. */
    if (found < 0 && (errno == ENOSYS || errno == EPERM))
        found = walk(root, path);
    error = errno;
    close(root);
    errno = error;
    return found;
}

/* Open a plain file beneath the root of a process.  What is at the path may be anything
 * that the container's root can think of: a symbolic link to a file of the host's, a
 * FIFO that blocks, a device that does something when it is opened.  -1 with errno. */
static int
open_beneath(int pid, const char *path)
{
    char proc[64];
    struct stat status;
    struct statfs system;
    int found = find_beneath(pid, path, 0), fd = -1, error = errno;

    if (found >= 0) {
        /* /proc/kmsg is one too, but reading is not all that it does: nor are others in
         * /proc and /sys, which have a size of 0 or are of a file system like theirs.
         */
        if (fstat(found, &status) == 0 && S_ISREG(status.st_mode) &&
            fstatfs(found, &system) == 0 && system.f_type != PROC_SUPER_MAGIC &&
            system.f_type != SYSFS_MAGIC && system.f_type != DEBUGFS_MAGIC &&
            system.f_type != TRACEFS_MAGIC) {
            snprintf(proc, sizeof(proc), "/proc/self/fd/%d", found);
            fd = open(proc, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
            error = errno;
        } else {
            error = EINVAL;
        }
        close(found);
    }
    errno = error;
    return fd;
}

PyObject *
module__open_beneath(PyObject *module, PyObject *args)
{
    OWNED PyObject *path = NULL;
    int pid, fd;

    (void)module;
    if (!PyArg_ParseTuple(args, "iO&:_open_beneath", &pid, text, &path))
        return NULL;
    const char *s = c_str(path);
    WITHOUT_GIL(fd = open_beneath(pid, s));
    if (fd < 0)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, s);
    return PyLong_FromLong(fd);
}

/* --- The launcher's words ----------------------------------------------------- */

/* The second is the launcher's.  What the first receives names its sender, for which
 * the kernel answers: the container's root may come by the launcher's end. */
PyObject *
module__socket_pair(PyObject *module, PyObject *ignored)
{
    int pair[2];

    (void)module;
    (void)ignored;
    if (!socket_pair(pair))
        return PyErr_SetFromErrno(PyExc_OSError);
    setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
    return Py_BuildValue("ii", pair[0], pair[1]);
}

/* As hear(), with the sender's pid; 0 is unknown. */
static bool
hear_from(int fd, struct message *message, pid_t *sender)
{
    union {
        char room[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr aligned;
    } control;
    struct iovec data = {message, sizeof(*message)};
    struct msghdr header = {.msg_iov = &data,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    const struct cmsghdr *found;
    struct ucred credentials;
    ssize_t got;

    do
        got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    *sender = 0;
    if (got != (ssize_t)sizeof(*message))
        return false;
    found = CMSG_FIRSTHDR(&header);
    if (found != NULL && found->cmsg_level == SOL_SOCKET &&
        found->cmsg_type == SCM_CREDENTIALS &&
        found->cmsg_len == CMSG_LEN(sizeof(credentials))) {
        memcpy(&credentials, CMSG_DATA(found), sizeof(credentials));
        *sender = credentials.pid;
    }
    return true;
}

PyObject *
module__hear(PyObject *module, PyObject *args)
{
    static const char *const steps[] = {[STEP_EXEC] = "exec",
                                        [STEP_CWD] = "cwd",
                                        [STEP_USER] = "user",
                                        [STEP_TERMINAL] = "terminal",
                                        [STEP_FORK] = "fork"};
    struct message message;
    const char *what = "nonsense";
    pid_t sender;
    double seconds;
    int fd, ready;

    (void)module;
    if (!PyArg_ParseTuple(args, "id:_hear", &fd, &seconds) ||
        (ready = await(fd, seconds)) < 0)
        return NULL;
    if (ready == 0) {
        PyErr_SetNone(PyExc_TimeoutError);
        return NULL;
    }
    if (!hear_from(fd, &message, &sender))
        Py_RETURN_NONE;
    if (message.said == SAID_EXECUTED)
        what = "executed";
    else if (message.said == SAID_ENDED)
        what = "ended";
    else if (message.said == SAID_RETURNED)
        what = "returned";
    else if (message.said == SAID_STALE)
        what = "stale";
    else if (message.said == SAID_NO_EXEC && message.extra >= 0 &&
             (size_t)message.extra < sizeof(steps) / sizeof(*steps))
        what = steps[message.extra];
    return Py_BuildValue("sii", what, message.value, (int)sender);
}

/* What became of the caller's interest: see SAID_RELEASE and SAID_KILL. */
PyObject *
module__order(PyObject *module, PyObject *args)
{
    int fd, end;

    (void)module;
    if (!PyArg_ParseTuple(args, "ip:_order", &fd, &end))
        return NULL;
    say(fd, end ? SAID_KILL : SAID_RELEASE, 0, 0);
    Py_RETURN_NONE;
}

/* --- The request -------------------------------------------------------------- */

/* (uid, gid, groups), or None for what liblxc makes it. */
static bool
convert_user(PyObject *given, struct user *user)
{
    const size_t room = sizeof(user->groups) / sizeof(*user->groups);
    PyObject *sequence;

    if (given == Py_None)
        return true;
    if (!PyArg_ParseTuple(given, "IIO:user", &user->uid, &user->gid, &sequence))
        return false;
    OWNED PyObject *groups = PySequence_Tuple(sequence);
    if (groups == NULL)
        return false;
    const Py_ssize_t n = PyTuple_Size(groups);
    if ((size_t)n > room) {
        PyErr_Format(PyExc_ValueError, "%zd groups are too many: %zu fit", n, room);
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        user->groups[i] = (gid_t)PyLong_AsUnsignedLong(PyTuple_GetItem(groups, i));
    user->ngroups = (int)n;
    user->given = true;
    return !PyErr_Occurred();
}

PyObject *
Container__request(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"program", "argv",  "environment", "variables", "cwd",
                            "user",    "umask", "tty",         "log",       NULL};
    OWNED PyObject *program = NULL, *cwd = NULL;
    PyObject *argv, *environment, *variables, *user;
    STRINGS arguments = NULL;
    STRINGS whole = NULL;
    STRINGS added = NULL;
    const lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    struct request request = {.what = DO_RUN,
                              .attach = {.late = {LATE_LEFT, LATE_LEFT, LATE_LEFT}}};
    int tty, log, fd;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&OOOO&Oipi:_request", names, text,
                                     &program, &argv, &environment, &variables,
                                     optional_text, &cwd, &user, &request.umask, &tty,
                                     &log) ||
        (arguments = strings_from(argv, "args")) == NULL ||
        (added = strings_from(variables, "variables")) == NULL ||
        (environment != Py_None &&
         (whole = strings_from(environment, "env")) == NULL) ||
        !convert_user(user, &request.user))
        return NULL;
    if (*arguments == NULL) {
        PyErr_SetString(PyExc_ValueError, "args is empty");
        return NULL;
    }
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    request.attach.options = options;
    request.attach.options.personality = -1;
    request.attach.options.env_policy = LXC_ATTACH_CLEAR_ENV;
    request.attach.options.stdin_fd = request.attach.options.stdout_fd =
        request.attach.options.stderr_fd = -1;
    request.attach.options.initial_cwd = (char[]){"/"};
    request.attach.program = c_str(program);
    request.attach.argv = arguments;
    request.environment = whole;
    request.variables = added;
    request.cwd = c_str(cwd);
    request.tty = tty;
    request.log = log;
    request.level = log_get_level();
    fd = pack_run(&held, &request);
    return fd >= 0 ? PyLong_FromLong(fd) : NULL;
}

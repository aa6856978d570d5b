/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that are made in a forked C child, which never touches Python: it reports in
 * messages of one size and goes.
 */
#include "apart.h"

#include "convert.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* --- Time --------------------------------------------------------------------- */

int
await(int fd, double seconds)
{
    const double end = monotonic() + seconds;
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    for (;;) {
        double left = seconds < 0 ? STEP : end - monotonic();
        int ready;

        /* In slices: another thread may have taken the signal that is for this one. */
        left = left < 0 ? 0 : left > STEP ? STEP : left;
        WITHOUT_GIL(ready = poll(&entry, 1, (int)(left * 1000 + 0.5)));
        if (ready > 0)
            return 1;
        if (PyErr_CheckSignals() < 0)
            return -1;
        if (seconds >= 0 && monotonic() >= end)
            return 0;
    }
}

/* --- The child and what it says ----------------------------------------------- */

bool
socket_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return false;
    /* Where the caller has closed its stdio, ours must not take its place. */
    for (int i = 0; i < 2; i++) {
        int fd = fds[i];

        if (fd > 2)
            continue;
        fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        if (fds[i] < 0) {
            close(fds[1 - i]);
            return false;
        }
    }
    return true;
}

#ifdef Py_GIL_DISABLED
#define HAS_GIL false
#else
#define HAS_GIL true
#endif

bool
before_fork(bool python)
{
    if (!umask_take())
        return false;
    /* Without a GIL it is CPython's hooks that stop the other threads. */
    if (python || !HAS_GIL)
        PyOS_BeforeFork();
    return true;
}

void
after_fork(bool python)
{
    if (python || !HAS_GIL)
        PyOS_AfterFork_Parent();
    umask_drop();
}

bool
is_threaded(void)
{
    struct stat status;

    /* A directory per thread, "." and "..". */
    return stat("/proc/self/task", &status) < 0 || status.st_nlink != 3;
}

bool
child_gone(const struct child *child)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
           info.si_pid == child->pid;
}

/* In the child.  A thread that is not here may have been inside setenv() at the fork:
 * C code, or another interpreter that has a GIL of its own.  The lock of the
 * environment is taken for ever then, and liblxc waits for it.  So try it, and die of
 * that. */
static void
try_environment(void)
{
    const struct itimerval limit = {.it_value = {.tv_usec = 30 * 1000}}, none = {0};
    struct sigaction action = {.sa_handler = SIG_DFL}, old;
    sigset_t alarm, all;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigaction(SIGALRM, &action, &old);
    pthread_sigmask(SIG_UNBLOCK, &alarm, &all);
    setitimer(ITIMER_REAL, &limit, NULL);
    unsetenv("no such variable");
    setitimer(ITIMER_REAL, &none, NULL);
    restore_signals(&all);
    sigaction(SIGALRM, &old, NULL);
}

/* Wait for the child's next message, or its end; signals are answered afterwards.
 * Whether it said something. */
static bool
child_hear_unheeding(const struct child *child, struct message *message)
{
    struct pollfd entry = {.fd = child->fd, .events = POLLIN};

    for (;;) {
        WITHOUT_GIL(poll(&entry, 1, (int)(STEP * 1000)));
        if (hear(child->fd, message))
            return true;
        if (child_gone(child))
            return hear(child->fd, message);
    }
}

/* The child says that it is usable, if it may not be. */
static bool
fork_once(struct child *child, void (*body)(void *, int), void *argument, bool python,
          bool threaded)
{
    sigset_t old;
    int fds[2], error;

    if (!socket_pair(fds)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    child_log_begin(child);
    if (!before_fork(python)) {
        close(fds[0]);
        close(fds[1]);
        child_log_end(child);
        return false;
    }
    block_signals(&old);
    child->pid = fork();
    error = errno;
    if (child->pid == 0) {
        close(fds[0]);
        if (threaded) {
            try_environment();
            say(fds[1], SAID_USABLE, 0, 0);
        }
        signal(SIGCHLD, SIG_DFL); /* liblxc waits for its children */
        log_use(child->log, true);
        body(argument, fds[1]);
        _exit(EXIT_FAILURE);
    }
    restore_signals(&old);
    after_fork(python);
    close(fds[1]);
    child->fd = fds[0];
    if (child->pid < 0) {
        close(child->fd);
        child->fd = -1;
        child->pid = 0;
        child_log_end(child);
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    return true;
}

bool
child_fork(struct child *child, void (*body)(void *, int), void *argument, bool python)
{
    const bool threaded = is_threaded();
    struct message message;

    for (int i = 0; i < 100; i++) {
        if (!fork_once(child, body, argument, python, threaded))
            return false;
        if (!threaded || child_hear_unheeding(child, &message))
            return true;
        child_reap(child);
    }
    PyErr_SetString(PyExc_RuntimeError, "no child could be forked in which the C "
                                        "library's environment is not locked");
    return false;
}

void
child_kill(const struct child *child, int number)
{
    /* One that somebody else has reaped may be another process by now. */
    if (!child_gone(child))
        kill(child->pid, number);
}

/* What it had to say has been heard: it has nothing more to do but to end.  Where what
 * was heard was not its own word, it is not waited for for ever. */
static void
wait_for_end(pid_t pid)
{
    const int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    const double end = monotonic() + 5;
    struct pollfd ended = {.fd = fd, .events = POLLIN};

    while (fd >= 0 && poll(&ended, 1, 1000) <= 0)
        if (monotonic() > end) {
            kill(pid, SIGKILL);
            break;
        }
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void
child_reap(struct child *child)
{
    const pid_t pid = child->pid;

    if (pid <= 0)
        return;
    say(child->fd, SAID_ENDED, 0, 0); /* some wait for a word that they were heard */
    close(child->fd);
    child->fd = -1;
    child->pid = 0;
    WITHOUT_GIL(wait_for_end(pid));
    child_log_end(child);
}

int
child_hear(struct child *child, struct message *message, double seconds)
{
    const double end = monotonic() + seconds;

    for (;;) {
        double left = seconds < 0 ? 0.1 : end - monotonic();
        int ready = await(child->fd, left > 0.1 ? 0.1 : left < 0 ? 0 : left);

        if (ready < 0)
            return -1;
        if (hear(child->fd, message))
            return 1;
        /* End of file only comes when no other forked child has the socket. */
        if (ready > 0 || child_gone(child))
            return hear(child->fd, message) ? 1 : 0;
        if (seconds >= 0 && monotonic() >= end)
            return 0;
    }
}

bool
child_hear_quietly(struct child *child, struct message *message, double seconds)
{
    PyObject *type, *value, *traceback;
    const double end = monotonic() + seconds;
    int heard;

    PyErr_Fetch(&type, &value, &traceback);
    while ((heard = child_hear(child, message, end - monotonic())) < 0)
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return heard > 0;
}

bool
child_outlive(struct child *child, struct message *message)
{
    int heard = child_hear(child, message, -1);

    return heard < 0 ? child_hear_quietly(child, message, 1e9) : heard > 0;
}

/* --- Calls that fork inside liblxc -------------------------------------------- */

struct apart {
    int (*call)(const void *);
    const void *argument;
};

static void
call_now(void *argument, int fd)
{
    const struct apart *apart = argument;

    setpgid(0, 0); /* a typed Ctrl-C must not end it half-way */
    default_signals();
    open_stdio();
    say(fd, SAID_RETURNED, apart->call(apart->argument), 0);
    _exit(EXIT_SUCCESS);
}

bool
ignores_children(void)
{
    struct sigaction action;

    return sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* What liblxc forks changes its environment for a hook, and where the caller is no root
 * it may come from a bare clone(2): locks that another thread held at that moment stay
 * taken for ever in there, and liblxc would wait for ever.  A forked child has no other
 * threads, and it has a umask and signals of its own: liblxc changes the umask.  The
 * price is a fork of this process, as liblxc makes another in most of these calls. */
bool
call_apart(int (*call)(const void *), const void *argument, int *result)
{
    struct apart apart = {call, argument};
    struct message message = {0};
    struct child child;

    /* Where SIGCHLD is ignored, liblxc would not hear how its own children end. */
    if (!is_threaded() && !ignores_children()) {
        WITHOUT_GIL(*result = call(argument));
        return true;
    }
    if (!child_fork(&child, call_now, &apart, false))
        return false;
    if (child_hear_unheeding(&child, &message))
        *result = message.value;
    else
        because("the process that was to do it was killed");
    child_reap(&child);
    return true;
}

/* --- The terminal ------------------------------------------------------------- */

struct terminal
terminal_of(int fd)
{
    struct terminal terminal = {.fd = -1, .group = getpgrp()};

    if (tcgetattr(fd, &terminal.settings) == 0 && tcgetpgrp(fd) == terminal.group)
        terminal.fd = fd;
    return terminal;
}

/* In the parent, when the child is gone. */
void
terminal_take_back(const struct terminal *terminal)
{
    sigset_t old;

    if (terminal->fd < 0)
        return;
    block_signals(&old); /* SIGTTOU would stop us */
    tcsetpgrp(terminal->fd, terminal->group);
    tcsetattr(terminal->fd, TCSADRAIN, &terminal->settings);
    restore_signals(&old);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that are made in a forked C child: start and console here, attach in attach.c.
 *
 * liblxc's start() makes its caller the parent of a monitor, gives the container's init
 * the caller's blocked and ignored signals and, in the foreground, takes the process
 * over.  console() starts a session and ignores SIGTTIN and SIGTTOU for good.  All of
 * that is done to a child, which never touches Python: it reports in messages of one
 * size and goes.
 */
#include "_lxc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
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
    WITHOUT_GIL(while (waitpid(pid, NULL, 0) < 0 && errno == EINTR));
    child_log_end(child);
}

/* Wait for the child's one message.  1 heard, 0 time is up or the child is gone, -1
 * with an exception. */
static int
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

/* The same while an exception is pending: it stays, and newer ones are dropped. */
static bool
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

/* --- start -------------------------------------------------------------------- */

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
    close_others((int[]){fd, log_descriptor()}, 2);
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
        if (held.c->lxc_conf == NULL) {
            because_it(NOT_DEFINED);
            Py_RETURN_FALSE;
        }
        if (journal_has_bare_shmounts(held.self)) {
            because("lxc.mount.auto = shmounts: lacks a path, and would hang: use "
                    "shmounts:/a/shared/mount");
            Py_RETURN_FALSE;
        }
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
    close_others((int[]){fd, log_descriptor(), console->stdinfd, console->stdoutfd,
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

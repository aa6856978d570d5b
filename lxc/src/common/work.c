/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the extension's forked children and the launcher have in common: see work.h.
 */
#define _GNU_SOURCE
#include "work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- Messages ----------------------------------------------------------------- */

void
say(int fd, enum said said, int value, int extra)
{
    const struct message message = {said, value, extra};

    while (send(fd, &message, sizeof(message), MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

bool
hear(int fd, struct message *message)
{
    ssize_t got;

    do
        got = recv(fd, message, sizeof(*message), MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(*message);
}

int
above_stdio(int fd)
{
    int copy, error;

    if (fd < 0 || fd > 2)
        return fd;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    error = errno;
    close(fd);
    errno = error;
    return copy;
}

/* --- Descriptors -------------------------------------------------------------- */

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static bool
is_in(int fd, const int *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == fd)
            return true;
    return false;
}

struct kept {
    const int *list;
    size_t n;
    bool public;     /* and what a program that is executed would have */
    struct stat log; /* and the file that liblxc logs to for a handle */
};

void
find_log(struct lxc_container *c, struct stat *log)
{
    char *file = config_get(c, "lxc.log.file");

    if (file == NULL || stat(file, log) < 0)
        log->st_ino = 0;
    free(file);
}

bool
is_log(int fd, const struct stat *log)
{
    struct stat status;

    return log->st_ino != 0 && fstat(fd, &status) == 0 &&
           status.st_ino == log->st_ino && status.st_dev == log->st_dev;
}

static void
close_one(int fd, const struct kept *kept)
{
    if (!is_in(fd, kept->list, kept->n) &&
        !(kept->public && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) &&
        !is_log(fd, &kept->log))
        close(fd);
}

/* From 3 on.  Where there is no /proc, or no descriptor to read it with, all numbers.
 */
static void
close_each(const struct kept *kept)
{
    DIR *directory = opendir("/proc/self/fd");
    const long end = sysconf(_SC_OPEN_MAX);
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(directory))
            close_one(atoi(entry->d_name), kept);
    if (directory != NULL)
        closedir(directory);
    else
        for (int fd = 3; fd < end; fd++)
            close_one(fd, kept);
}

void
close_private(struct lxc_container *c, const int *keep, size_t n)
{
    struct kept kept = {.list = keep, .n = n, .public = true};

    find_log(c, &kept.log);
    close_each(&kept);
}

void
close_for_call(struct lxc_container *c, const int *keep, size_t n)
{
    struct kept kept = {.list = keep, .n = n};

    find_log(c, &kept.log);
    if (kept.log.st_ino == 0)
        close_others(keep, n);
    else
        close_each(&kept);
}

void
close_others(const int *keep, size_t n)
{
    int from = 3;

    for (;;) {
        int to = INT_MAX;

        for (size_t i = 0; i < n; i++)
            if (keep[i] >= from && keep[i] < to)
                to = keep[i];
        if (to > from && syscall(SYS_close_range, from, to - 1, 0) < 0) {
            close_each(&(struct kept){.list = keep, .n = n}); /* before Linux 5.9 */
            return;
        }
        if (to == INT_MAX)
            return;
        from = to + 1;
    }
}

void
open_stdio(void)
{
    int fd;

    /* open() takes the lowest number that is free. */
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
        ;
    if (fd >= 0)
        close(fd);
}

void
null_stdio(void)
{
    const int null = open("/dev/null", O_RDWR);

    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
}

/* --- Processes ---------------------------------------------------------------- */

/* "PID (NAME) STATE PARENT": the name may have anything in it. */
static void
read_stat(pid_t pid, char *state, int *parent)
{
    char path[64], text[512], *end;
    ssize_t got;
    int fd;

    *state = *parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (pid <= 0 || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    if ((end = strrchr(text, ')')) != NULL)
        sscanf(end + 1, " %c %d", state, parent);
}

pid_t
parent_of(pid_t pid)
{
    char state;
    int parent;

    read_stat(pid, &state, &parent);
    return parent;
}

bool
has_ended(pid_t pid)
{
    char state;
    int parent;

    read_stat(pid, &state, &parent);
    return state == 'Z' || (state == 0 && kill(pid, 0) < 0 && errno == ESRCH);
}

/* --- Signals ------------------------------------------------------------------ */

void
block_signals(sigset_t *old)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
}

void
restore_signals(const sigset_t *old)
{
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

void
default_dispositions(void)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* fails for SIGKILL and the like: as well */
}

void
default_signals(void)
{
    sigset_t none;

    default_dispositions();
    sigemptyset(&none);
    restore_signals(&none);
}

void
ignored_signals(sigset_t *ignored)
{
    struct sigaction action;

    sigemptyset(ignored);
    for (int number = 1; number < NSIG; number++)
        /* sigaction() knows nothing of the two between. */
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            sigaddset(ignored, number);
}

void
signals_but(const sigset_t *ignored)
{
    sigset_t none;

    default_dispositions();
    for (int number = 1; number < NSIG; number++)
        if (sigismember(ignored, number) == 1)
            signal(number, SIG_IGN);
    sigemptyset(&none);
    restore_signals(&none);
}

/* --- Time --------------------------------------------------------------------- */

double
monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
nap(double seconds)
{
    struct timespec time = {(time_t)seconds,
                            (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&time, NULL);
}

/* --- The terminal ------------------------------------------------------------- */

/* With SIGTTOU blocked: a process group of its own, so that what is typed reaches it
 * alone, and the terminal for that. */
void
terminal_give(const struct terminal *terminal)
{
    setpgid(0, 0);
    if (terminal->fd >= 0)
        tcsetpgrp(terminal->fd, getpid());
}

/* --- Attach ------------------------------------------------------------------- */

/* liblxc would make the attached user the owner of what is there as 0, 1 and 2, and
 * change its mode, be it a file of the host's; it would ignore SIGINT and SIGQUIT in
 * the caller, for ever, where it is given descriptor 0; and it fails where it is given
 * our own terminal.  So it sees /dev/null, which it leaves alone, and the program's
 * streams are put into place when it is done. */
void
attach_begin(const struct attach *attach)
{
    log_leave();
    for (int fd = 0; fd < 3; fd++)
        if (attach->late[fd] >= 0)
            dup2(attach->late[fd], fd);
        else if (attach->late[fd] == LATE_CLOSED)
            close(fd);
    for (int fd = 0; fd < 3; fd++) /* what a function starts must not have them */
        if (attach->late[fd] >= 0)
            close(attach->late[fd]);
    if (attach->adopts && setsid() >= 0)
        ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    if (attach->bound)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    say(attach->report, SAID_STARTED, 0, 0);
}

int
run_command(void *payload)
{
    const struct attach *attach = payload;
    int error;

    attach_begin(attach);
    default_signals();
    execvp(attach->program, attach->argv);
    error = errno;
    say(attach->report, SAID_NO_EXEC, error, STEP_EXEC);
    /* As shells have it, on every liblxc. */
    return error == ENOENT || error == ENOTDIR ? 127 : 126;
}

int
run_shell(void *payload)
{
    attach_begin(payload);
    default_signals();
    return lxc_attach_run_shell(NULL);
}

/* This thread makes an attach: what it forks hides. */
static __thread bool hides;

static void
hide_child(void)
{
    if (hides)
        prctl(PR_SET_DUMPABLE, 0);
}

static void
prepare_hiding(void)
{
    pthread_atfork(NULL, NULL, hide_child);
}

/* A security module's label is written by liblxc through /proc/PID of the attached
 * process, which an ordinary user may not open where that process hides. */
static bool
can_hide(void)
{
    char label;
    int fd;
    ssize_t got;

    if (geteuid() == 0)
        return true;
    if ((fd = open("/proc/self/attr/current", O_RDONLY | O_CLOEXEC)) < 0)
        return true;
    got = read(fd, &label, 1);
    close(fd);
    return got <= 0;
}

/* Whether a process is in another user namespace than this one; it may be gone. */
static bool
is_foreign(pid_t pid)
{
    char path[64];
    struct stat own, other;

    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    return pid <= 0 || stat("/proc/self/ns/user", &own) < 0 || stat(path, &other) < 0 ||
           own.st_ino != other.st_ino || own.st_dev != other.st_dev;
}

/* liblxc forks a process that joins the namespaces, and clones the attached process
 * from that.  From the moment of the joining until it executes a program, the
 * container's root could trace it and read what it has of our memory.  A process that
 * is not dumpable he may not trace, unless he is root of our own user namespace as
 * well: that one cannot be kept out.  Only what is forked changes, never this process:
 * it may not write to its own /proc any more, nor may newuidmap, which liblxc needs for
 * others that it clones. */
int
attach_hidden(struct lxc_container *c, lxc_attach_exec_t run, void *payload,
              lxc_attach_options_t *options, pid_t *pid)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int result;

    pthread_once(&once, prepare_hiding);
    hides = can_hide() && is_foreign(c->init_pid(c));
    result = c->attach(c, run, payload, options, pid);
    hides = false;
    return result;
}

/* Let liblxc see /dev/null where the streams come later. */
static int
cover_stdio(struct attach *attach)
{
    lxc_attach_options_t *options = &attach->options;
    int *const seen[] = {&options->stdin_fd, &options->stdout_fd, &options->stderr_fd};
    const int null = above_stdio(open("/dev/null", O_RDWR | O_CLOEXEC));

    for (int fd = 0; fd < 3; fd++)
        if (attach->late[fd] != LATE_LEFT)
            *seen[fd] = null;
    return null;
}

int
attach_now(struct lxc_container *c, struct attach *attach, int (*run)(void *),
           void *payload, pid_t *pid)
{
    const int null = cover_stdio(attach);
    char *label = attach->lsm_label != NULL ? strdup(attach->lsm_label) : NULL;
    /* Where the host has no security module, liblxc takes 0 for the descriptor that the
     * label is written to, and closes it. */
    const int flags = label != NULL ? fcntl(STDIN_FILENO, F_GETFD) : -1;
    const int copy = flags >= 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : -1;
    int result;

#if KNOWS_GROUPS
    attach->options.groups.size = attach->ngroups;
    attach->options.groups.list = attach->groups;
    attach->options.lsm_label = label;
#endif
    result = attach_hidden(c, run, payload, &attach->options, pid);
    if (null >= 0)
        close(null);
    if (copy >= 0) {
        if (fcntl(STDIN_FILENO, F_GETFD) < 0 && dup2(copy, STDIN_FILENO) >= 0)
            fcntl(STDIN_FILENO, F_SETFD, flags);
        close(copy);
    }
    /* liblxc frees it on one of its ways to fail, and does not say on which. */
    if (result >= 0)
        free(label);
    return result;
}

void
attach_and_tell(struct lxc_container *c, struct attach *attach, int (*run)(void *),
                void *payload, int fd)
{
    siginfo_t info;
    pid_t pid = -1;
    int result;

    attach->report = fd;
    result = attach_now(c, attach, run, payload, &pid);
    if (result < 0) {
        say(fd, SAID_RETURNED, result, 0);
        _exit(EXIT_FAILURE);
    }
    say(fd, SAID_ATTACHED, pid, 0);
    null_stdio();
    close_others(&fd, 1);
    /* Not reaped until the parent has heard of it, who may be about to kill it. */
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    say(fd, SAID_ENDED,
        info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
                                   : info.si_status | (info.si_code == CLD_DUMPED) << 7,
        0);
    poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1000);
    waitpid(pid, NULL, 0);
    _exit(EXIT_SUCCESS);
}

/* --- Start -------------------------------------------------------------------- */

/* Make the call, in a process that nobody else is in. */
static void __attribute__((noreturn)) start_now(const struct start *start, int fd)
{
    struct lxc_container *c = start->c;
    bool ok;

    default_signals();
    c->want_close_all_fds(c, start->close_fds);
    c->want_daemonize(c, start->daemonize);
    ok = c->start(c, start->useinit, start->cmd);
    if (ok)
        log_seal(); /* the monitor would write there as long as the container runs */
    say(fd, SAID_RETURNED, ok, c->error_num);
    _exit(EXIT_SUCCESS);
}

/* This process watches over one that becomes the monitor, and stops the container when
 * the caller asks for it (SIGTERM) or has died (the same). */
static void __attribute__((noreturn))
start_in_foreground(const struct start *start, int fd)
{
    struct lxc_container *c = start->c;
    const int log = log_descriptor();
    sigset_t awaited;
    pid_t monitor;

    block_signals(&awaited);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != start->parent)
        _exit(EXIT_FAILURE);
    default_dispositions();
    terminal_give(&start->terminal);
    monitor = fork();
    if (monitor < 0)
        _exit(EXIT_FAILURE);
    if (monitor == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        start_now(start, fd);
    }
    null_stdio();
    close_others(&log, 1);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGCHLD);
    for (;;) {
        int number = sigwaitinfo(&awaited, NULL);

        if (number == SIGTERM) {
            c->stop(c);
            for (int i = 0; i < 100; i++, nap(STEP))
                if (waitpid(monitor, NULL, WNOHANG) != 0)
                    _exit(EXIT_SUCCESS);
            /* Not up yet, or not to be stopped: the kernel ends init with it. */
            kill(monitor, SIGKILL);
            _exit(EXIT_SUCCESS);
        }
        if (number == SIGCHLD) {
            int status = 0;
            pid_t got = waitpid(monitor, &status, WNOHANG | WUNTRACED);

            if (got == monitor && WIFSTOPPED(status)) /* nobody would wake it */
                kill(monitor, SIGCONT);
            else if (got != 0)
                _exit(EXIT_SUCCESS); /* it has said how it ended */
        }
    }
}

void
start_and_tell(const struct start *start, int fd)
{
    close_private(start->c, (int[]){fd, log_descriptor()}, 2);
    open_stdio();
    if (!start->daemonize)
        start_in_foreground(start, fd);
    setpgid(0, 0); /* a typed Ctrl-C must not end the start half-way */
    start_now(start, fd);
}

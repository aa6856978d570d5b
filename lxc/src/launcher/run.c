/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A command that is run: the launcher's side, and the supervisor's.
 *
 *     caller --spawns--> launcher --attaches--> supervisor --forks--> command
 *        |                  |  control socket      |
 *        +---- report ------|----------------------+
 *        +---- leash -------|----------------------+
 *
 * The supervisor is the attached process itself, in the container's PID namespace.  It
 * can end all that came of the command, also what the command left behind; it does so
 * when the launcher is killed or when there is a byte in the leash.
 *
 * The container's root may do with the supervisor what it likes.  So that holds no more
 * of the host than it needs, and what it says is only believed where nothing depends on
 * it but how the command is said to have ended.
 */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct supervised {
    const struct request *request;
    const int *stdio; /* the command's; -1: closed */
    int control;      /* the supervisor's end of the socket */
    int launchers;    /* the launcher's end of it */
};

/* The environment that the launcher was given, in its memory. */
static char *environment, *environment_end;

/* --- The command, in the container -------------------------------------------- */

/* What the command's process says before its exec, if that fails. */
struct failure {
    int error;
    enum step step;
};

static void __attribute__((noreturn)) fail(int fd, enum step step)
{
    const struct failure failure = {errno, step};

    if (write(fd, &failure, sizeof(failure)) < 0)
        _exit(NOT_RUN);
    _exit(failure.error == ENOENT ? 127 : 126);
}

static void
take_environment(const struct request *request)
{
    if (request->environment != NULL) { /* as it is: the C library has rules */
        environ = request->environment;
        return;
    }
    for (char **variable = request->variables; variable && *variable; variable++) {
        char *value = strchr(*variable, '=');

        if (value == NULL)
            continue;
        *value = '\0';
        setenv(*variable, value + 1, 0);
    }
}

/* As subprocess looks for it: execvp() would give a file without "#!" to a shell.
 * Returns with errno. */
static void
execute(const char *program, char **argv)
{
    const char *path = getenv("PATH"), *end;
    int error = 0;

    if (strchr(program, '/') != NULL) {
        execv(program, argv);
        return;
    }
    errno = ENOENT;
    for (path = path ? path : "/bin:/usr/bin"; path != NULL;
         path = *end ? end + 1 : NULL) {
        char file[4096];
        int length;

        end = strchrnul(path, ':');
        length = (int)(end - path);
        if (snprintf(file, sizeof(file), "%.*s%s%s", length, path, length ? "/" : "",
                     program) >= (int)sizeof(file)) {
            errno = ENAMETOOLONG;
        } else {
            execv(file, argv);
        }
        if (errno != ENOENT && errno != ENOTDIR && error == 0)
            error = errno;
    }
    if (error != 0)
        errno = error;
}

static void __attribute__((noreturn))
become(const struct supervised *run, int terminal, int failed)
{
    const struct request *request = run->request;
    const struct user *user = &request->user;

    /* Of a session of its own, it cannot type at the caller's terminal. */
    setsid();
    if (terminal >= 0) {
        ioctl(terminal, TIOCSCTTY, 0);
        if (user->given && fchown(terminal, user->uid, (gid_t)-1) < 0)
            fail(failed, STEP_TERMINAL);
    }
    for (int fd = 0; fd < 3; fd++) {
        const int from = terminal >= 0 ? terminal : run->stdio[fd];

        if (from >= 0)
            dup2(from, fd);
        else
            close(fd);
    }
    if (request->cwd != NULL && chdir(request->cwd) < 0)
        fail(failed, STEP_CWD);
    if (request->umask >= 0)
        umask((mode_t)request->umask);
    if (user->given && (setgroups((size_t)user->ngroups, user->groups) < 0 ||
                        setresgid(user->gid, user->gid, user->gid) < 0 ||
                        setresuid(user->uid, user->uid, user->uid) < 0))
        fail(failed, STEP_USER);
    take_environment(request);
    default_signals();
    execute(request->attach.program, request->attach.argv);
    fail(failed, STEP_EXEC);
}

/* --- The end of all ----------------------------------------------------------- */

/* False where there is no /proc. */
static bool
kill_children(void)
{
    DIR *processes = opendir("/proc");
    struct statfs status;
    struct dirent *entry;
    bool usable = processes != NULL && fstatfs(dirfd(processes), &status) == 0 &&
                  status.f_type == PROC_SUPER_MAGIC;

    while (usable && (entry = readdir(processes)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            parent_of(atoi(entry->d_name)) == getpid())
            kill(atoi(entry->d_name), SIGKILL);
    if (processes != NULL)
        closedir(processes);
    return usable;
}

/* Any number may be a child's: the kernel knows. */
static void
kill_children_by_trying(void)
{
    const pid_t most = 4 * 1024 * 1024; /* PID_MAX_LIMIT */

    for (pid_t pid = 2; pid <= most; pid++) {
        siginfo_t info;

        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0)
            kill(pid, SIGKILL);
    }
}

/* End what is below this process.  What loses its parent becomes its child, as it is a
 * subreaper: so kill children until there are none. */
static void
end_all(pid_t command)
{
    pid_t got;

    if (command > 0)
        kill(command, SIGKILL);
    for (int round = 0;; round++) {
        while ((got = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
            round = 0;
        if (got < 0)
            return;
        /* A /proc that is no help may be missing, hidden, or another namespace's. */
        if (!kill_children() || round > 100)
            kill_children_by_trying();
        nap(0.001);
    }
}

/* --- The supervisor ----------------------------------------------------------- */

/* Watch over the command until nobody wants to hear of it or of what it left.  It says
 * with the command's end whether anything is left, so that the launcher knows whether
 * to wait: who dies after his parent is for the host's init to bury, and until that is
 * done the container cannot stop. */
static void
watch(pid_t command, int control, int leash, int signals)
{
    bool released = false, ended = false, told = false;
    int how = 0;

    while (!(ended && released && leash < 0)) {
        struct pollfd news[] = {{.fd = signals, .events = POLLIN},
                                {.fd = released ? -1 : control, .events = POLLIN},
                                {.fd = leash, .events = POLLIN}};
        struct signalfd_siginfo info;
        struct message message;
        int status;
        pid_t got;
        char order;

        if (poll(news, 3, -1) < 0)
            continue;
        if (news[0].revents && read(signals, &info, sizeof(info)) < 0)
            continue;
        while ((got = waitpid(-1, &status, WNOHANG)) > 0)
            if (got == command) {
                ended = true;
                how = status;
            }
        if (ended && !told) {
            told = true;
            say(control, SAID_ENDED, how, got == 0);
        }
        if (ended && got < 0)
            return;
        if (news[1].revents) {
            if (!hear(control, &message)) { /* the launcher was killed */
                end_all(ended ? 0 : command);
                return;
            }
            if (message.said == SAID_SIGNAL && !ended)
                kill(message.extra ? -command : command, message.value);
            released = message.said == SAID_RELEASE;
        }
        if (news[2].revents) {
            if (read(leash, &order, 1) == 1) {
                end_all(ended ? 0 : command);
                return;
            }
            leash = -1; /* the caller has gone, or has all that it wanted */
        }
    }
}

/* Nobody is to see in this process's memory, or take from it, what is the host's. */
static void
hide(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    if (environment != NULL)
        explicit_bzero(environment, (size_t)(environment_end - environment));
}

static int
supervise(void *payload)
{
    const struct supervised *run = payload;
    const struct request *request = run->request;
    const int report = request->attach.report, leash = request->leash;
    struct pollfd launcher = {.fd = run->control, .events = POLLIN};
    struct message message;
    struct failure failure;
    int failed[2], signals, terminal = -1;
    sigset_t awaited;
    pid_t command;
    ssize_t got;

    hide();
    close(run->launchers); /* it is to be seen here when the launcher closes it */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    block_signals(NULL);
    signals = signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || pipe2(failed, O_CLOEXEC) < 0)
        return NOT_RUN;
    if (request->tty && (terminal = open_terminal(run->control)) < 0) {
        say(report, SAID_NO_EXEC, errno, STEP_TERMINAL);
        return NOT_RUN;
    }
    /* The launcher may have been killed meanwhile, or ended by liblxc, which does that
     * where it cannot move this process: then the command must not begin. */
    while (poll(&launcher, 1, -1) < 0)
        ;
    if (!hear(run->control, &message) || message.said != SAID_ATTACHED)
        return NOT_RUN;
    command = fork();
    if (command < 0) {
        say(report, SAID_NO_EXEC, errno, STEP_FORK);
        return NOT_RUN;
    }
    if (command == 0)
        become(run, terminal, failed[1]);
    /* Not the command's pipes: they end with it. */
    close_others((int[]){report, run->control, leash, signals, failed[0]}, 5);
    do
        got = read(failed[0], &failure, sizeof(failure));
    while (got < 0 && errno == EINTR);
    close(failed[0]);
    if (got == (ssize_t)sizeof(failure))
        say(report, SAID_NO_EXEC, failure.error, failure.step);
    else
        say(report, SAID_EXECUTED, command, 0);
    close(report);
    watch(command, run->control, leash, signals);
    return 0;
}

/* --- The launcher's side ------------------------------------------------------ */

void
run_prepare(int stdio[3])
{
    char **last = environ;
    int null;

    while (last != NULL && last[0] != NULL && last[1] != NULL)
        last++;
    if (last != NULL && *last != NULL) { /* one after the other, as exec puts them */
        environment = *environ;
        environment_end = *last + strlen(*last);
    }
    for (int fd = 0; fd < 3; fd++)
        stdio[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        if (fd != null)
            dup2(null, fd);
    if (null > 2)
        close(null);
    else if (null >= 0)
        fcntl(null, F_SETFD, 0);
}

/* End as the command did, which is what the caller's waitpid() sees. */
static void __attribute__((noreturn)) end_as(int status)
{
    if (WIFSIGNALED(status)) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* it would be ours */
        default_signals();
        kill(getpid(), WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Whether a process can have ended like that: the supervisor might say anything. */
static bool
is_an_end(int status)
{
    switch (WIFSIGNALED(status) ? WTERMSIG(status) : 0) {
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGCONT:
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
        return false;
    }
    return WIFEXITED(status) || WIFSIGNALED(status);
}

/* Hand a signal on.  What was typed at the terminal was for a whole process group; the
 * command is in another session, where nothing but SIGSTOP stops it. */
static void
forward(int control, const struct signalfd_siginfo *info)
{
    const bool typed = info->ssi_code == SI_KERNEL;
    const int number = (int)info->ssi_signo;

    /* SIGPIPE for what the relay wrote is no signal of anybody's. */
    if (info->ssi_code == SI_USER && info->ssi_pid == (uint32_t)getpid())
        return;
    if (number != SIGCHLD)
        say(control, SAID_SIGNAL, typed && number == SIGTSTP ? SIGSTOP : number,
            typed || number == SIGCONT);
}

/* Pass signals on until the supervisor says how the command ended, or is gone. */
static int
accompany(pid_t supervisor, int control, int signals, struct relay *relay, bool *left)
{
    *left = false;
    for (;;) {
        struct pollfd news[5] = {{.fd = signals, .events = POLLIN},
                                 {.fd = control, .events = POLLIN}};
        struct signalfd_siginfo info;
        struct message message;
        int status = 0;

        relay_prepare(relay, news + 2);
        /* A terminal that nobody has open may be opened again, as /dev/tty. */
        const int got = poll(news, 5, relay->silent ? 50 : -1);

        if (got < 0)
            continue;
        if (got == 0)
            relay->silent = false;
        relay_go_on(relay, news + 2);
        if (news[0].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
            if (info.ssi_signo == SIGWINCH && relay->ptmx >= 0)
                relay_size(relay);
            else
                forward(control, &info);
        }
        if (!news[1].revents)
            continue;
        if (hear(control, &message) && message.said == SAID_ENDED) {
            *left = message.extra != 0;
            return is_an_end(message.value) ? message.value : SIGKILL;
        }
        /* The container was stopped, or the supervisor killed. */
        while (waitpid(supervisor, &status, 0) < 0 && errno == EINTR)
            ;
        return status != 0 && is_an_end(status) ? status : SIGKILL;
    }
}

void
run_and_end(struct lxc_container *c, struct request *request, const int stdio[3])
{
    int control[2], signals, status, result;
    sigset_t all;
    struct supervised run = {.request = request, .stdio = stdio};
    struct relay relay = {.in = -1, .out = -1, .ptmx = -1, .raw = -1};
    pid_t supervisor;
    bool left;

    sigfillset(&all);
    signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        _exit(NOT_RUN);
    run.launchers = control[0];
    run.control = control[1];
    result = attach_hidden(c, supervise, &run, &request->attach.options, &supervisor);
    if (result < 0) {
        say(request->attach.report, SAID_RETURNED, result, 0);
        _exit(NOT_RUN);
    }
    /* The pipes are the command's: their other ends must see when it closes them. */
    if (request->tty) {
        close_others((int[]){control[0], signals, stdio[0], stdio[1], stdio[2]}, 5);
        relay_begin(&relay, control[0], stdio);
    } else {
        close_others((int[]){control[0], signals}, 2);
    }
    say(control[0], SAID_ATTACHED, supervisor, 0); /* and now it may begin */
    status = accompany(supervisor, control[0], signals, &relay, &left);
    if (request->tty)
        relay_end(&relay);
    say(control[0], SAID_RELEASE, 0, 0);
    if (request->leash < 0 || !left) /* else it stays for as long as the caller reads */
        while (waitpid(supervisor, NULL, 0) < 0 && errno == EINTR)
            ;
    end_as(status);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A command that is run: the launcher's side, and the supervisor's.
 *
 *     caller --spawns--> launcher --forks--> worker --attaches--> supervisor
 *        |                | |                                         | |
 *        +---- report ----+ +---------------- control ----------------+ +--forks-->
 * command
 *
 * The worker is there only for liblxc's call, which asks the container's monitor and
 * may wait for it: so the launcher itself can always be told to end, and as a subreaper
 * it buries all that came of the call, the supervisor first of all.  It ends last.
 *
 * The supervisor is the attached process itself, in the container's PID namespace.  It
 * can end all that came of the command, also what the command left behind; it does so
 * when it is told to, or when the launcher is killed.
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
    struct request *request;
    const int *stdio; /* the command's; -1: closed */
    const sigset_t *ignored;
    int control;   /* the supervisor's end of the socket */
    int launchers; /* the launcher's end of it */
    int result;    /* where the worker says what liblxc's call returned */
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
    signals_but(run->ignored);
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

/* Any number may be a child's: the kernel knows.  They are given one after the other,
 * so that those up to a new child's come first; but they begin again one day. */
static void
kill_children_by_trying(bool all)
{
    const pid_t newest = all ? -1 : fork();
    const pid_t most = newest > 0 ? newest : 4 * 1024 * 1024; /* PID_MAX_LIMIT */

    if (newest == 0)
        _exit(EXIT_SUCCESS);
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
    for (int round = 0, tries = 0;; round++) {
        while ((got = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
            round = 0;
        if (got < 0)
            return;
        /* A /proc that is no help may be missing, hidden, or another namespace's. */
        if (!kill_children() || round > 100)
            kill_children_by_trying(++tries % 4 == 0);
        nap(0.001);
    }
}

/* --- The supervisor ----------------------------------------------------------- */

/* Say whether the command has begun, once that is known. */
static void
say_begun(int failed, int control, pid_t command)
{
    struct failure failure;
    ssize_t got;

    do
        got = read(failed, &failure, sizeof(failure));
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(failure))
        say(control, SAID_NO_EXEC, failure.error, failure.step);
    else
        say(control, SAID_EXECUTED, command, 0);
    close(failed);
}

/* Watch over the command until nobody wants to hear of it or of what it left.  It says
 * with the command's end whether anything is left. */
static void
watch(pid_t command, int failed, int control, int signals)
{
    bool ended = false, told = false;
    int how = 0;

    for (;;) {
        struct pollfd news[] = {{.fd = signals, .events = POLLIN},
                                {.fd = control, .events = POLLIN},
                                {.fd = failed, .events = POLLIN}};
        struct signalfd_siginfo info;
        struct message message;
        int status;
        pid_t got;

        if (poll(news, 3, -1) < 0)
            continue;
        if (news[2].revents) { /* before its end, which may be due as well */
            say_begun(failed, control, command);
            failed = -1;
        }
        if (news[0].revents && read(signals, &info, sizeof(info)) < 0)
            continue;
        while ((got = waitpid(-1, &status, WNOHANG)) > 0)
            if (got == command) {
                ended = true;
                how = status;
            }
        if (ended && !told && failed < 0) {
            told = true;
            say(control, SAID_ENDED, how, got == 0);
        }
        if (told && got < 0)
            return;
        if (!news[1].revents)
            continue;
        if (!hear(control, &message) || message.said == SAID_KILL) {
            end_all(ended ? 0 : command); /* the launcher was killed, or told to */
            return;
        }
        if (message.said == SAID_SIGNAL && !ended)
            kill(message.extra ? -command : command, message.value);
        if (message.said == SAID_RELEASE)
            return;
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
    struct pollfd launcher = {.fd = run->control, .events = POLLIN};
    struct message message;
    int failed[2], signals, terminal = -1;
    sigset_t awaited;
    pid_t command;

    hide();
    close(run->result);
    close(request->attach.report);
    close(run->launchers); /* it is to be seen here when the launcher closes it */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    block_signals(NULL);
    signals = signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || pipe2(failed, O_CLOEXEC) < 0)
        return NOT_RUN;
    if (request->tty && (terminal = open_terminal(run->control)) < 0) {
        say(run->control, SAID_NO_EXEC, errno, STEP_TERMINAL);
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
        say(run->control, SAID_NO_EXEC, errno, STEP_FORK);
        return NOT_RUN;
    }
    if (command == 0)
        become(run, terminal, failed[1]);
    /* Not the command's pipes: they end with it. */
    close_others((int[]){run->control, signals, failed[0]}, 3);
    watch(command, failed[0], run->control, signals);
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

/* Whether the kernel would let a typed Ctrl-Z stop this process group: not one that
 * nobody could continue.  A child finds out, lest this process be stopped. */
static bool
can_be_stopped(void)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        default_signals();
        raise(SIGTSTP);
        _exit(EXIT_SUCCESS);
    }
    while (child > 0 && waitpid(child, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
    if (child < 0 || !WIFSTOPPED(status))
        return false;
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return true;
}

/* Hand a signal on.  What was typed at the terminal was for a whole process group; the
 * command is in another session, where nothing but SIGSTOP stops it. */
static void
forward(int control, const struct signalfd_siginfo *info, const sigset_t *ignored)
{
    const bool typed = info->ssi_code == SI_KERNEL;
    int number = (int)info->ssi_signo;

    /* SIGPIPE for what the relay wrote is no signal of anybody's. */
    if (info->ssi_code == SI_USER && info->ssi_pid == (uint32_t)getpid())
        return;
    if (number == SIGCHLD)
        return;
    if (typed && number == SIGTSTP) {
        if (sigismember(ignored, SIGTSTP) == 1 || !can_be_stopped())
            return;
        number = SIGSTOP;
    }
    say(control, SAID_SIGNAL, number, typed || number == SIGCONT);
}

/* What the launcher does while there is a command. */
struct company {
    pid_t supervisor;
    int control, signals;
    int report;          /* what there is to say goes there */
    int orders;          /* the same, until the caller has said what is to be done */
    struct relay *relay; /* of its terminal, if it has one */
    const int *stdio;    /* what is to be connected to it, once it is there; or NULL */
    const sigset_t *ignored;
    int status;          /* how it ended */
    bool ended, is_over; /* it has; and the supervisor, or all that it wanted */
};

/* The caller has all that it wanted, or has gone; or wants all to end. */
static void
obey(struct company *company)
{
    struct message message;

    if (hear(company->orders, &message) && message.said == SAID_KILL) {
        say(company->control, SAID_KILL, 0, 0);
        company->relay->in = company->relay->out = -1; /* nobody reads it any more */
    } else if (company->ended) {
        company->is_over = true;
    }
    company->orders = -1;
}

static void
let_begin(const struct company *company)
{
    say(company->control, SAID_ATTACHED, company->supervisor, 0);
}

/* Take in what the supervisor says, a terminal first of all. */
static void
listen_to(struct company *company)
{
    struct message message;
    int status = 0;

    if (company->stdio != NULL) {
        relay_begin(company->relay, company->control, company->stdio);
        company->stdio = NULL;
        let_begin(company);
    } else if (!hear(company->control, &message)) {
        /* The container was stopped, or the supervisor killed, or it has ended all. */
        company->is_over = true;
        while (waitpid(company->supervisor, &status, 0) < 0 && errno == EINTR)
            ;
        if (!company->ended)
            company->status = status != 0 && is_an_end(status) ? status : SIGKILL;
    } else if (message.said == SAID_ENDED) {
        company->ended = true;
        company->status = is_an_end(message.value) ? message.value : SIGKILL;
        company->is_over = !message.extra || company->orders < 0;
    } else if (message.said == SAID_EXECUTED || message.said == SAID_NO_EXEC) {
        say(company->report, message.said, message.value, message.extra);
    }
}

static void
pass_on(const struct company *company)
{
    struct signalfd_siginfo info;

    if (read(company->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH && company->relay->ptmx >= 0)
        relay_size(company->relay);
    else
        forward(company->control, &info, company->ignored);
}

/* Pass signals on until the supervisor says how the command ended, or is gone. */
static void
accompany(struct company *company)
{
    struct relay *relay = company->relay;

    while (!company->ended && !company->is_over) {
        struct pollfd news[6] = {{.fd = company->signals, .events = POLLIN},
                                 {.fd = company->control, .events = POLLIN},
                                 {.fd = company->orders, .events = POLLIN}};

        relay_prepare(relay, news + 3);
        /* A terminal that nobody has open may be opened again, as /dev/tty. */
        const int got = poll(news, 6, relay->silent ? 50 : -1);

        if (got < 0)
            continue;
        if (got == 0)
            relay->silent = false;
        relay_go_on(relay, news + 3);
        if (news[0].revents)
            pass_on(company);
        if (news[1].revents)
            listen_to(company);
        if (news[2].revents)
            obey(company);
    }
}

/* Stay for as long as the caller may want what the command left to end. */
static void
stay(struct company *company)
{
    while (!company->is_over) {
        struct pollfd news[2] = {{.fd = company->control, .events = POLLIN},
                                 {.fd = company->orders, .events = POLLIN}};

        if (poll(news, 2, -1) < 0)
            continue;
        if (news[0].revents)
            listen_to(company);
        if (news[1].revents)
            obey(company);
    }
    say(company->control, SAID_RELEASE, 0, 0);
    while (waitpid(company->supervisor, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void __attribute__((noreturn))
work(struct lxc_container *c, struct supervised *run, pid_t launcher)
{
    pid_t supervisor = 0;
    int result;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher)
        _exit(NOT_RUN);
    result =
        attach_hidden(c, supervise, run, &run->request->attach.options, &supervisor);
    say(run->result, SAID_RETURNED, result, supervisor);
    _exit(EXIT_SUCCESS);
}

/* Have the worker attach the supervisor.  Returns its pid, or -1. */
static pid_t
attach_supervisor(struct lxc_container *c, struct supervised *run)
{
    const pid_t launcher = getpid();
    const int report = run->request->attach.report;
    int results[2], orders = report;
    struct message message = {.value = -1};
    siginfo_t info;
    pid_t worker;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, results) < 0)
        return -1;
    run->result = results[1];
    if ((worker = fork()) < 0)
        return -1;
    if (worker == 0)
        work(c, run, launcher);
    close(results[1]);
    for (;;) {
        struct pollfd news[] = {{.fd = results[0], .events = POLLIN},
                                {.fd = orders, .events = POLLIN}};

        if (poll(news, 2, -1) < 0)
            continue;
        if (news[0].revents) {
            hear(results[0], &message);
            break;
        }
        if (hear(orders, &message) && message.said == SAID_KILL) {
            end_all(worker);
            _exit(NOT_RUN);
        }
        orders = -1; /* whoever gave the order to begin has gone */
    }
    /* When the worker has ended what it attached is a child of this process. */
    while (waitpid(worker, NULL, 0) < 0 && errno == EINTR)
        ;
    if (message.said != SAID_RETURNED) /* liblxc ended it, or a signal */
        return -1;
    if (message.value < 0) {
        say(report, SAID_RETURNED, message.value, 0);
        return -1;
    }
    if (message.extra <= 0 ||
        waitid(P_PID, (id_t)message.extra, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return -1;
    return message.extra;
}

void
run_and_end(struct lxc_container *c, struct request *request, const int stdio[3],
            const sigset_t *ignored)
{
    const int report = request->attach.report;
    int control[2], signals;
    sigset_t all;
    struct supervised run = {.request = request, .stdio = stdio, .ignored = ignored};
    struct relay relay = {.in = -1, .out = -1, .ptmx = -1, .raw = -1};
    struct company company = {
        .report = report, .orders = report, .relay = &relay, .ignored = ignored};

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigfillset(&all);
    company.signals = signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        _exit(NOT_RUN);
    run.launchers = company.control = control[0];
    run.control = control[1];
    if ((company.supervisor = attach_supervisor(c, &run)) < 0) {
        end_all(0);
        _exit(NOT_RUN);
    }
    /* The pipes are the command's: their other ends must see when it closes them. */
    if (request->tty) {
        close_others((int[]){control[0], signals, report, stdio[0], stdio[1], stdio[2]},
                     6);
        company.stdio = stdio;
    } else {
        close_others((int[]){control[0], signals, report}, 3);
        let_begin(&company);
    }
    accompany(&company);
    if (request->tty)
        relay_end(&relay);
    /* The caller believes this process alone, and may not be able to wait for it. */
    say(report, SAID_ENDED, company.status, 0);
    stay(&company);
    end_as(company.status);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The launcher: attaches one command to a container, or starts one, and ends.
 *
 *     launcher REPORT [DESCRIPTOR...] REQUEST
 *
 * The arguments are descriptors: a socket for what there is to say (work.h), a request
 * (request.h), and in between what the request speaks of.  Being small and new, it
 * costs the same whatever the size of the process that spawned it, and a container's
 * monitor that comes from it keeps nothing of that process.
 *
 * A command that is run (DO_RUN) has a supervisor: the attached process itself, in the
 * container's PID namespace, which forks the command and can end all that came of it.
 *
 *     caller --spawns--> launcher --attaches--> supervisor --forks--> command
 *        |                  |  control socket      |
 *        +---- report ------|----------------------+
 *        +---- leash -------|----------------------+
 */
#define _GNU_SOURCE
#include "request.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How the launcher itself ends when the command never began. */
#define NOT_RUN 125

/* --- The handle --------------------------------------------------------------- */

/* The same calls as the caller's handle has seen: see journal_note(). */
static void
replay(struct lxc_container *c, char **journal)
{
    for (char **entry = journal; entry != NULL && *entry != NULL; entry++)
        switch (**entry) {
        case 's': /* set: key, value */
            c->set_config_item(c, entry[1], entry[2]);
            entry += 2;
            break;
        case 'c': /* clear one item: key */
            c->clear_config_item(c, entry[1]);
            entry++;
            break;
        case 'f': /* forget all */
            c->clear_config(c);
            break;
        case 'l': /* load the file again */
            c->load_config(c, NULL);
            break;
        }
}

/* A handle like the caller's, or NULL where its file is another by now. */
static struct lxc_container *
open_like(const struct request *request)
{
    struct lxc_container *c = lxc_container_new(request->name, request->lxcpath);
    struct stamp now;

    if (c == NULL)
        return NULL;
    read_stamp(c->configfile, &now); /* after it was read: it may just have changed */
    if (memcmp(&now, &request->file, sizeof(now)) != 0)
        return NULL;
    replay(c, request->journal);
    return c;
}

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
take_environment(char **environment)
{
    clearenv();
    for (; *environment != NULL; environment++)
        putenv(*environment);
}

static void __attribute__((noreturn))
become(const struct request *request, int terminal, int failed)
{
    const struct user *user = &request->user;

    if (terminal >= 0) {
        setsid();
        ioctl(terminal, TIOCSCTTY, 0);
        for (int fd = 0; fd < 3; fd++)
            dup2(terminal, fd);
    }
    if (request->cwd != NULL && chdir(request->cwd) < 0)
        fail(failed, STEP_CWD);
    if (user->given &&
        ((user->ngroups >= 0 && setgroups((size_t)user->ngroups, user->groups) < 0) ||
         setresgid(user->gid, user->gid, user->gid) < 0 ||
         setresuid(user->uid, user->uid, user->uid) < 0))
        fail(failed, STEP_USER);
    if (request->environment != NULL)
        take_environment(request->environment);
    default_signals();
    execvp(request->attach.program, request->attach.argv);
    fail(failed, STEP_EXEC);
}

/* --- The supervisor ----------------------------------------------------------- */

struct supervised {
    const struct request *request;
    int control; /* its end of the socket between it and the launcher */
};

/* The parent of a process, as /proc has it; 0 if it is gone. */
static pid_t
parent_of(const char *pid)
{
    char path[64], text[512], *end;
    ssize_t got;
    int fd, parent = 0;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    /* "PID (NAME) STATE PARENT": the name may have anything in it. */
    if ((end = strrchr(text, ')')) != NULL)
        sscanf(end + 1, " %*c %d", &parent);
    return parent;
}

/* End what is below this process.  What loses its parent becomes its child, as it is a
 * subreaper: so kill children until there are none. */
static void
end_all(pid_t command)
{
    kill(command, SIGKILL);
    for (;;) {
        DIR *processes = opendir("/proc");
        struct dirent *entry;
        pid_t got;

        while (processes != NULL && (entry = readdir(processes)) != NULL)
            if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
                parent_of(entry->d_name) == getpid())
                kill(atoi(entry->d_name), SIGKILL);
        if (processes != NULL)
            closedir(processes);
        while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        /* A container without /proc shows nothing but the command. */
        if (got < 0 || processes == NULL)
            return;
        nap(0.001);
    }
}

/* Close what the launcher and its caller have open, but these. */
static void
close_others(const int *keep, size_t n)
{
    const int most = (int)sysconf(_SC_OPEN_MAX);
    DIR *open = opendir("/proc/self/fd");
    struct dirent *entry;

    for (int fd = 0; open == NULL && fd < most && fd < 1024; fd++) {
        bool kept = false;

        for (size_t i = 0; i < n; i++)
            kept = kept || fd == keep[i];
        if (!kept)
            close(fd);
    }
    while (open != NULL && (entry = readdir(open)) != NULL) {
        const int fd = atoi(entry->d_name);
        bool kept = entry->d_name[0] == '.' || fd == dirfd(open);

        for (size_t i = 0; i < n; i++)
            kept = kept || fd == keep[i];
        if (!kept)
            close(fd);
    }
    if (open != NULL)
        closedir(open);
}

/* Open a terminal of the container's, and give its other side to the launcher. */
static int
open_terminal(int control)
{
    int ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int locked = 0, terminal = -1;
    char room[CMSG_SPACE(sizeof(int))] = {0}, nothing = 0;
    struct iovec data = {&nothing, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = room,
                             .msg_controllen = sizeof(room)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

    if (ptmx < 0)
        return -1;
    if (ioctl(ptmx, TIOCSPTLCK, &locked) == 0)
        terminal = ioctl(ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &ptmx, sizeof(ptmx));
    if (terminal >= 0)
        sendmsg(control, &message, MSG_NOSIGNAL);
    close(ptmx);
    return terminal;
}

/* Watch over the command until nobody wants to hear of it or of what it left. */
static void
watch(pid_t command, int control, int leash, int signals)
{
    bool released = false, ended = false;

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
                say(control, SAID_ENDED, status, 0);
            }
        if (news[1].revents) {
            if (!hear(control, &message)) { /* the launcher was killed */
                end_all(command);
                return;
            }
            if (message.said == SAID_SIGNAL && !ended)
                kill(command, message.value);
            released = message.said == SAID_RELEASE;
        }
        if (news[2].revents) {
            if (read(leash, &order, 1) == 1) {
                end_all(command);
                return;
            }
            leash = -1; /* the caller has gone, or has all that it wanted */
        }
    }
}

static int
supervise(void *payload)
{
    const struct supervised *run = payload;
    const struct request *request = run->request;
    const int report = request->attach.report, leash = request->leash;
    struct failure failure;
    int failed[2], signals, terminal = -1;
    sigset_t awaited;
    pid_t command;
    ssize_t got;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    block_signals(NULL);
    signals = signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || pipe2(failed, O_CLOEXEC) < 0)
        return NOT_RUN;
    if (request->tty && (terminal = open_terminal(run->control)) < 0) {
        say_why(report, SAID_NO_EXEC, errno, STEP_EXEC,
                "the container has no /dev/ptmx to open a terminal");
        return NOT_RUN;
    }
    command = fork();
    if (command < 0) {
        say(report, SAID_NO_EXEC, errno, STEP_EXEC);
        return NOT_RUN;
    }
    if (command == 0)
        become(request, terminal, failed[1]);
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

/* --- Between the terminals ---------------------------------------------------- */

struct relay {
    int ptmx;   /* the command's terminal as we have it; -1: none */
    bool input; /* there may still be some */
    bool raw;   /* ours was set to raw */
    struct termios settings;
    char last; /* of what was typed */
};

static void
copy_size(const struct relay *relay)
{
    struct winsize size;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 ||
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        ioctl(relay->ptmx, TIOCSWINSZ, &size);
}

static struct relay
relay_begin(int control)
{
    struct relay relay = {.ptmx = -1, .input = true, .last = '\n'};
    char room[CMSG_SPACE(sizeof(int))], nothing;
    struct iovec data = {&nothing, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = room,
                             .msg_controllen = sizeof(room)};
    struct cmsghdr *rights;
    struct termios raw;

    if (recvmsg(control, &message, MSG_CMSG_CLOEXEC) <= 0 ||
        (rights = CMSG_FIRSTHDR(&message)) == NULL || rights->cmsg_type != SCM_RIGHTS)
        return relay;
    memcpy(&relay.ptmx, CMSG_DATA(rights), sizeof(relay.ptmx));
    copy_size(&relay);
    if (tcgetpgrp(STDIN_FILENO) == getpgrp() &&
        tcgetattr(STDIN_FILENO, &relay.settings) == 0) {
        raw = relay.settings;
        cfmakeraw(&raw);
        relay.raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
    }
    return relay;
}

static bool
write_all(int fd, const char *data, ssize_t size)
{
    while (size > 0) {
        const ssize_t done = write(fd, data, (size_t)size);

        if (done < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100);
        else if (done < 0 && errno != EINTR)
            return false;
        else if (done > 0) {
            data += done;
            size -= done;
        }
    }
    return true;
}

/* From the command's terminal to our output; false when there is no more. */
static bool
relay_output(struct relay *relay)
{
    char data[4096];
    const ssize_t got = read(relay->ptmx, data, sizeof(data));

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    return got > 0 && write_all(STDOUT_FILENO, data, got);
}

static void
relay_input(struct relay *relay)
{
    char data[4096];
    const ssize_t got = read(STDIN_FILENO, data, sizeof(data));

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        relay->last = data[got - 1];
        write_all(relay->ptmx, data, got);
        return;
    }
    /* The end of a file is a Ctrl-D at the begin of a line. */
    relay->input = false;
    write_all(relay->ptmx, "\004\004", relay->last == '\n' ? 1 : 2);
}

static void
relay_end(struct relay *relay)
{
    struct pollfd more = {.fd = relay->ptmx, .events = POLLIN};

    /* What the command wrote last; not what a process writes that it left. */
    for (int i = 0; i < 256 && relay->ptmx >= 0 && poll(&more, 1, 0) > 0; i++)
        if (!relay_output(relay))
            break;
    if (relay->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &relay->settings);
}

/* --- Run: the launcher's side ------------------------------------------------- */

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

/* Pass signals on until the supervisor says how the command ended, or is gone. */
static int
accompany(pid_t supervisor, int control, int signals, bool tty)
{
    struct relay relay = {.ptmx = -1};
    int status = 0;

    if (tty)
        relay = relay_begin(control);
    for (;;) {
        struct pollfd news[] = {
            {.fd = signals, .events = POLLIN},
            {.fd = control, .events = POLLIN},
            {.fd = relay.ptmx, .events = POLLIN},
            {.fd = relay.ptmx >= 0 && relay.input ? STDIN_FILENO : -1,
             .events = POLLIN}};
        struct signalfd_siginfo info;
        struct message message;

        if (poll(news, 4, -1) < 0)
            continue;
        if (news[2].revents && !relay_output(&relay))
            relay.ptmx = -1;
        if (news[3].revents && relay.ptmx >= 0)
            relay_input(&relay);
        if (news[1].revents) {
            if (hear(control, &message) && message.said == SAID_ENDED) {
                status = message.value;
                break;
            }
            /* The container was stopped, or the supervisor killed. */
            while (waitpid(supervisor, &status, 0) < 0 && errno == EINTR)
                ;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                status = SIGKILL;
            break;
        }
        if (!news[0].revents || read(signals, &info, sizeof(info)) != sizeof(info))
            continue;
        if (info.ssi_signo == SIGWINCH && relay.ptmx >= 0)
            copy_size(&relay);
        /* What is typed at a terminal has reached the command too. */
        else if (info.ssi_signo != SIGCHLD && info.ssi_code != SI_KERNEL)
            say(control, SAID_SIGNAL, (int)info.ssi_signo, 0);
    }
    relay_end(&relay);
    return status;
}

/* The pipes are the command's: their other ends must see when it closes them. */
static void
let_go_of_stdio(void)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
}

static void __attribute__((noreturn))
run_and_end(struct lxc_container *c, struct request *request)
{
    const int log = log_begin();
    char why[sizeof(((struct message *)0)->text)];
    int control[2], signals, status, result;
    sigset_t all;
    struct supervised run = {.request = request};
    pid_t supervisor;

    sigfillset(&all);
    signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        _exit(NOT_RUN);
    run.control = control[1];
    result = c->attach(c, supervise, &run, &request->attach.options, &supervisor);
    if (result < 0) {
        log_reason(log, why, sizeof(why));
        say_why(request->attach.report, SAID_RETURNED, result, 0, why);
        _exit(NOT_RUN);
    }
    close(request->attach.report); /* the supervisor's from now on */
    close(control[1]);
    if (request->leash >= 0)
        close(request->leash);
    if (!request->tty)
        let_go_of_stdio();
    status = accompany(supervisor, control[0], signals, request->tty);
    say(control[0], SAID_RELEASE, 0, 0);
    if (request->leash < 0) /* else it stays for as long as the caller reads */
        while (waitpid(supervisor, NULL, 0) < 0 && errno == EINTR)
            ;
    end_as(status);
}

/* --- Main --------------------------------------------------------------------- */

/* The two that glibc keeps for its threads: posix_spawn() has them ignored in what it
 * starts, and signal() will not touch them. */
static void
reset_internal_signals(void)
{
    const struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned char mask[8];
    } standard = {.handler = SIG_DFL};

    syscall(SYS_rt_sigaction, 32, &standard, NULL, sizeof(standard.mask));
    syscall(SYS_rt_sigaction, 33, &standard, NULL, sizeof(standard.mask));
}

int
main(int argc, char **argv)
{
    struct request request;
    struct lxc_container *c;

    if (argc < 3) {
        fputs("This program is started by Python's lxc package.\n", stderr);
        return EXIT_FAILURE;
    }
    /* What is typed at a terminal is for the command, which gets them back. */
    block_signals(NULL);
    default_dispositions();
    reset_internal_signals();
    for (int i = 1; i < argc; i++)
        fcntl(atoi(argv[i]), F_SETFD, FD_CLOEXEC);
    const int report = atoi(argv[1]), packed = atoi(argv[argc - 1]);
    if (!request_unpack(packed, &request)) {
        say(report, SAID_STALE, 0, 0); /* built with another extension */
        return EXIT_FAILURE;
    }
    close(packed);
    if (request.what != DO_RUN)
        say(report, SAID_USABLE, 0, 0);
    if ((c = open_like(&request)) == NULL) {
        say(report, SAID_STALE, 0, 0);
        return EXIT_FAILURE;
    }
    request.start.c = c;
    request.attach.report = report;
    switch (request.what) {
    case DO_START:
        start_and_tell(&request.start, report);
    case DO_RUN:
        run_and_end(c, &request);
    case DO_COMMAND:
    case DO_SHELL:
        attach_and_tell(c, &request.attach,
                        request.what == DO_SHELL ? run_shell : run_command,
                        &request.attach, report);
    }
    return EXIT_FAILURE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A terminal for a command: its own side is opened in the container, with the rights
 * of that; the other side is the launcher's, which passes on what is typed and shown.
 */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Where nobody has a terminal whose size could be asked for. */
static const struct winsize usual = {.ws_row = 24, .ws_col = 80};

/* What is typed for "this is the end". */
#define END_OF_FILE '\004'

/* A message of one byte with room for one descriptor. */
struct parcel {
    char byte;
    struct iovec data;
    struct msghdr message;
    /* Last, as a cmsghdr ends in an array without a size. */
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    };
};

static struct msghdr *
wrap(struct parcel *parcel)
{
    memset(parcel, 0, sizeof(*parcel));
    parcel->data = (struct iovec){&parcel->byte, 1};
    parcel->message = (struct msghdr){.msg_iov = &parcel->data,
                                      .msg_iovlen = 1,
                                      .msg_control = parcel->room,
                                      .msg_controllen = sizeof(parcel->room)};
    return &parcel->message;
}

int
open_terminal(int control)
{
    int ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int locked = 0, terminal = -1, error;
    struct parcel parcel;
    struct msghdr *message = wrap(&parcel);
    struct cmsghdr *rights = CMSG_FIRSTHDR(message);

    if (ptmx < 0)
        return -1;
    if (ioctl(ptmx, TIOCSPTLCK, &locked) == 0)
        terminal = ioctl(ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &ptmx, sizeof(ptmx));
    if (terminal >= 0 && sendmsg(control, message, MSG_NOSIGNAL) < 0) {
        close(terminal);
        terminal = -1;
    }
    error = errno;
    close(ptmx);
    errno = error;
    return terminal;
}

/* --- The launcher's side ------------------------------------------------------ */

static int
receive_terminal(int control)
{
    struct parcel parcel;
    struct msghdr *message = wrap(&parcel);
    struct cmsghdr *rights;
    struct message first;
    struct stat status;
    unsigned int number;
    int ptmx;

    /* Not a message: that there is no terminal to give. */
    if (recv(control, &first, sizeof(first), MSG_PEEK) != 1 ||
        recvmsg(control, message, MSG_CMSG_CLOEXEC) <= 0 ||
        (rights = CMSG_FIRSTHDR(message)) == NULL || rights->cmsg_level != SOL_SOCKET ||
        rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof(int)))
        return -1;
    memcpy(&ptmx, CMSG_DATA(rights), sizeof(ptmx));
    /* Only a terminal's other side has such a number: a file of a file system in the
     * container's hands may say so as well, and then never answer. */
    if (fstat(ptmx, &status) < 0 || !S_ISCHR(status.st_mode) ||
        status.st_rdev != makedev(5, 2) || ioctl(ptmx, TIOCGPTN, &number) < 0 ||
        fcntl(ptmx, F_SETFL, O_NONBLOCK) < 0) {
        close(ptmx);
        return -1;
    }
    return ptmx;
}

void
relay_size(const struct relay *relay)
{
    const int ours[] = {relay->in, relay->out, STDERR_FILENO};
    struct winsize size = usual;

    for (int i = 0; i < 3; i++)
        if (ioctl(ours[i], TIOCGWINSZ, &size) == 0)
            break;
    ioctl(relay->ptmx, TIOCSWINSZ, &size);
}

void
relay_begin(struct relay *relay, int control, const int stdio[3])
{
    *relay = (struct relay){.in = stdio[0], .out = stdio[1], .raw = -1, .last = '\n'};
    struct termios raw;

    if (stdio[2] >= 0) /* what the launcher itself has there is /dev/null */
        dup2(stdio[2], STDERR_FILENO);
    if ((relay->ptmx = receive_terminal(control)) < 0)
        return;
    relay_size(relay);
    if (tcgetattr(relay->in, &relay->settings) < 0)
        return;
    if (tcgetpgrp(relay->in) != getpgrp()) {
        relay->in = -1; /* a terminal that is another's to read from */
        return;
    }
    raw = relay->settings;
    cfmakeraw(&raw);
    if (tcsetattr(relay->in, TCSADRAIN, &raw) == 0)
        relay->raw = relay->in;
}

void
relay_prepare(const struct relay *relay, struct pollfd news[3])
{
    const short events = relay->silent ? 0
                                       : (short)((relay->shown.size == 0 ? POLLIN : 0) |
                                                 (relay->typed.size > 0 ? POLLOUT : 0));

    /* Asked for nothing, poll() would still say, at once, that it was hung up. */
    news[0] = (struct pollfd){.fd = events ? relay->ptmx : -1, .events = events};
    news[1] = (struct pollfd){
        .fd = events && relay->ptmx >= 0 && relay->typed.size == 0 ? relay->in : -1,
        .events = POLLIN};
    news[2] = (struct pollfd){.fd = relay->shown.size > 0 ? relay->out : -1,
                              .events = POLLOUT};
}

static void
hang_up(struct relay *relay)
{
    if (relay->ptmx >= 0)
        close(relay->ptmx);
    relay->ptmx = -1;
    relay->typed.size = 0;
}

/* Returns what read() does; -1 is "nothing at the moment". */
static ssize_t
fill(struct buffer *buffer, int fd)
{
    const ssize_t got = read(fd, buffer->data, sizeof(buffer->data));

    buffer->begin = 0;
    buffer->size = got > 0 ? (size_t)got : 0;
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        return 0;
    return got;
}

/* False when it can never be. */
static bool
empty(struct buffer *buffer, int fd)
{
    const ssize_t done = write(fd, buffer->data + buffer->begin, buffer->size);

    if (done < 0)
        return errno == EAGAIN || errno == EINTR;
    buffer->begin += (size_t)done;
    buffer->size -= (size_t)done;
    return true;
}

/* The end of a file is typed at the begin of a line, or twice. */
static void
type_the_end(struct relay *relay)
{
    relay->typed.begin = 0;
    relay->typed.size = relay->last == '\n' ? 1 : 2;
    memset(relay->typed.data, END_OF_FILE, relay->typed.size);
    relay->in = -1;
}

void
relay_go_on(struct relay *relay, const struct pollfd news[3])
{
    if (news[2].revents && !empty(&relay->shown, relay->out)) {
        relay->shown.size = 0;
        hang_up(relay); /* as when a terminal's window is closed */
        return;
    }
    if (news[1].revents) {
        const ssize_t got = fill(&relay->typed, relay->in);

        if (got > 0)
            relay->last = relay->typed.data[got - 1];
        else if (got == 0)
            type_the_end(relay);
    }
    if (news[0].revents & (POLLOUT | POLLERR) && relay->typed.size > 0 &&
        !empty(&relay->typed, relay->ptmx))
        relay->typed.size = 0;
    if (news[0].revents & (POLLIN | POLLHUP) && relay->shown.size == 0 &&
        fill(&relay->shown, relay->ptmx) == 0)
        relay->silent = true; /* not closed, which would be a SIGHUP */
    if (relay->out < 0)       /* nobody is shown it */
        relay->shown.size = 0;
}

void
relay_end(struct relay *relay)
{
    /* Where the command left a process with its terminal there is no end: what comes
     * after a pause is that one's. */
    const int pause = 100;

    relay->in = -1;
    relay->typed.size = 0;
    for (int i = 0; i < 1024; i++) {
        struct pollfd news[3];

        if ((relay->ptmx < 0 || relay->silent) && relay->shown.size == 0)
            break;
        relay_prepare(relay, news);
        if (poll(news, 3, relay->shown.size > 0 ? -1 : pause) == 0)
            break;
        relay_go_on(relay, news);
    }
    if (relay->raw >= 0)
        tcsetattr(relay->raw, TCSANOW, &relay->settings);
    hang_up(relay);
}

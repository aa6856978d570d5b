/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that are made in a forked C child.
 */
#ifndef PYTHON_LXC_APART_H
#define PYTHON_LXC_APART_H

#include "convert.h"
#include "work.h"

struct child {
    pid_t pid; /* 0 once reaped */
    int fd;    /* our end of the socket pair */
    int log; /* liblxc's log of its own; -1: there is none, or it is lxc_log_init()'s */
    struct mark mark; /* where it begins in that */
};

bool socket_pair(int fds[2]);

/* To bracket a fork: no other thread of Python's is inside setenv() or pthread_create()
 * then, whose locks would be taken for ever in the child, nor has the umask changed.
 * With a GIL it is enough to hold that.  With python, Python may run in a descendant of
 * the child.  False with an exception if a signal handler raised one. */
bool before_fork(bool python);
void after_fork(bool python);

/* Whether this process has more than one thread. */
bool is_threaded(void);

/* Fork a child that calls body(argument, fd) with every signal blocked; body does not
 * return. */
bool child_fork(struct child *child, void (*body)(void *, int), void *argument,
                bool python);
/* Whether the kernel reaps the children of this process by itself. */
bool ignores_children(void);
/* What a call that forks inside liblxc is given, see call_apart(). */
struct texts {
    struct lxc_container *c;
    const char *s, *t;
};

/* Make a call that forks inside liblxc: in a process with threads, in a forked child.
 * False with an exception; *result stays as it is if the child was killed. */
bool call_apart(int (*call)(const void *), const void *argument, int *result);
/* Wait for the child's next message, for at most that many seconds (negative: for
 * ever). 1 heard, 0 time is up or the child is gone, -1 with an exception. */
int child_hear(struct child *child, struct message *message, double seconds);

/* The same while an exception is pending: it stays, and newer ones are dropped. */
bool child_hear_quietly(struct child *child, struct message *message, double seconds);

/* Wait for the child's one message, or its end, whatever signals there are; an
 * exception from a signal handler is left pending.  Whether it said something. */
bool child_outlive(struct child *child, struct message *message);
void child_kill(const struct child *child, int number);
void child_reap(struct child *child);
bool child_gone(const struct child *child);

/* Wait until fd is readable, for at most that many seconds (negative: for ever),
 * without the GIL, and answer signals.  1 readable, 0 time is up, -1 with an exception.
 */
int await(int fd, double seconds);

struct terminal terminal_of(int fd);
void terminal_take_back(const struct terminal *terminal);

#endif

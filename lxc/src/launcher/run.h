/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The launcher's part that runs a command: see run.c.
 */
#ifndef PYTHON_LXC_RUN_H
#define PYTHON_LXC_RUN_H

#include "request.h"

#include <poll.h>
#include <termios.h>

/* How the launcher itself ends when the command never began. */
#define NOT_RUN 125

/* First of all.  Puts the command's standard streams where liblxc does not see them,
 * which would change the owner and the mode of the files: stdio[] is their numbers, -1
 * for a closed one. */
void run_prepare(int stdio[3]);

/* Attach, run, and end as the command did, which begins with these signals ignored. */
void run_and_end(struct lxc_container *c, struct request *request, const int stdio[3],
                 const sigset_t *ignored) __attribute__((noreturn));

/* --- Between the terminals (relay.c) ------------------------------------------ */

/* In the container: open a terminal, and give its other side to the launcher.  Returns
 * the command's side, or -1 with errno. */
int open_terminal(int control);

struct buffer {
    char data[4096]; /* what poll() says can be written at once, to a pipe as well */
    size_t begin, size;
};

struct relay {
    int in, out; /* ours; -1: no more */
    int ptmx;    /* the command's; -1: there is none */
    bool silent; /* nobody has the command's side open any more */
    int raw;     /* ours, where it was set to raw, with these before; or -1 */
    struct termios settings;
    struct buffer typed, shown;
    char last; /* of what was typed */
};

/* Receive the other side from the container's, whose word is not taken for it. */
void relay_begin(struct relay *relay, int control, const int stdio[3]);

/* Fill in three entries for poll(), and do what it says. */
void relay_prepare(const struct relay *relay, struct pollfd news[3]);
void relay_go_on(struct relay *relay, const struct pollfd news[3]);

void relay_size(const struct relay *relay); /* ours is the command's */
void relay_end(struct relay *relay);        /* show the rest; our terminal as it was */

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the extension asks of the launcher, packed into a memory file.
 */
#ifndef PYTHON_LXC_REQUEST_H
#define PYTHON_LXC_REQUEST_H

#include "work.h"

enum what { DO_COMMAND, DO_SHELL, DO_START, DO_RUN };

/* A user of the container that a command runs as, in numbers. */
struct user {
    bool given;
    uid_t uid;
    gid_t gid;
    int ngroups; /* -1: leave them */
    gid_t groups[MOST_GROUPS];
};

struct request {
    unsigned int size; /* of this struct: both sides must have been built together */
    enum what what;
    const char *name, *lxcpath;
    struct recipe recipe; /* of the caller's configuration */
    struct attach attach;
    struct start start;
    int log;            /* where liblxc's log goes; or -1 */
    bool log_is_others; /* it is lxc_log_init()'s, and not this call's alone */
    bool log_is_global; /* see log_is_global() */
    int level;          /* of that: see log_level() */
    /* Of DO_RUN only: */
    struct user user;
    const char *cwd;
    int umask;          /* less than 0: as it is */
    char **environment; /* the whole of it; NULL: what liblxc makes */
    char **variables;   /* to add to that, unless they are there */
    bool tty;           /* give the command a terminal of the container's */
};

/* A memory file with the request in it, or -1 with errno. */
int request_pack(const struct request *request);

/* Fill in a request from such a file.  Its texts stay valid.  False if it is none. */
bool request_unpack(int fd, struct request *request);

#endif

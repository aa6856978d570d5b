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
 * What is special about a command that is run (DO_RUN) is in run.c.
 */
#define _GNU_SOURCE
#include "request.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A handle like the caller's, or NULL where its file is another by now. */
static struct lxc_container *
open_like(const struct request *request)
{
    /* A handle that has nothing of its own runs with what the file is by now. */
    if (request->what == DO_RUN && request->recipe.journal == NULL)
        return container_open(request->name, request->lxcpath);
    return config_open(request->name, request->lxcpath, &request->recipe);
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
    sigset_t ignored;
    int stdio[3];

    if (argc < 3) {
        fputs("This program is started by Python's lxc package.\n", stderr);
        return EXIT_FAILURE;
    }
    /* What is typed at a terminal is for the command, which gets them back. */
    block_signals(NULL);
    ignored_signals(&ignored);
    default_dispositions();
    reset_internal_signals();
    prctl(PR_SET_NAME, "lxc-launcher");
    for (int i = 1; i < argc; i++)
        fcntl(atoi(argv[i]), F_SETFD, FD_CLOEXEC);
    const int report = atoi(argv[1]), packed = atoi(argv[argc - 1]);
    if (!request_unpack(packed, &request)) {
        say(report, SAID_STALE, 0, 0); /* built with another extension */
        return EXIT_FAILURE;
    }
    close(packed);
    if (request.log >= 0)
        fcntl(request.log, F_SETFD, FD_CLOEXEC);
    log_use(request.log, !request.log_is_others);
    log_set_global(request.log_is_global);
    log_level(request.level);
    if (request.what == DO_RUN)
        run_prepare(stdio);
    else
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
        run_and_end(c, &request, stdio, &ignored);
    case DO_COMMAND:
    case DO_SHELL:
        attach_and_tell(c, &request.attach,
                        request.what == DO_SHELL ? run_shell : run_command,
                        &request.attach, report);
    }
    return EXIT_FAILURE;
}

// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a C program pays liblxc for each operation: the floor of the benchmarks.
 *
 * "floor LXCPATH RUNNING STOPPED", the last two being names of containers, says which
 * liblxc it has, then answers every line "COUNT OPERATION" with the seconds that one
 * of COUNT such operations took. */

#include <errno.h>
#include <lxc/attach_options.h>
#include <lxc/lxccontainer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static const char *path;
static struct lxc_container *running, *stopped;

static bool
attach_command(void)
{
    lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    const char *const argv[] = {"/bin/true", NULL};

    return running->attach_run_wait(running, &options, argv[0], argv) == 0;
}

static int
zero(void *payload)
{
    (void)payload;
    return 0;
}

static bool
attach_function(void)
{
    lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    pid_t pid;
    int status;

    return running->attach(running, zero, NULL, &options, &pid) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

static bool
start(void)
{
    return stopped->start(stopped, 0, NULL);
}

static bool
stop(void)
{
    return stopped->stop(stopped) && stopped->wait(stopped, "STOPPED", 10);
}

static bool
container(void)
{
    struct lxc_container *c = lxc_container_new(stopped->name, path);

    return c != NULL && lxc_container_put(c) == 1;
}

static const struct {
    const char *name;
    bool (*run)(void);
} operations[] = {
// clang-format off
#define OPERATION(name) {#name, name}
    OPERATION(attach_command),
    OPERATION(attach_function),
    OPERATION(start),
    OPERATION(stop),
    OPERATION(container),
// clang-format on
#undef OPERATION
};

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool
measure(const char *name, int count)
{
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(operations[i].name, name) != 0)
            continue;
        const double begin = now();
        for (int done = 0; done < count; done++)
            if (!operations[i].run())
                return false;
        printf("%.9f\n", (now() - begin) / count);
        return true;
    }
    return false;
}

int
main(int argc, char **argv)
{
    char name[64];
    int count;

    if (argc != 4) {
        fprintf(stderr, "usage: floor LXCPATH RUNNING STOPPED\n");
        return EXIT_FAILURE;
    }
    path = argv[1];
    running = lxc_container_new(argv[2], path);
    stopped = lxc_container_new(argv[3], path);
    if (running == NULL || stopped == NULL) {
        fprintf(stderr, "floor: no containers in %s\n", path);
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s\n", lxc_get_version());
    while (scanf("%d %63s", &count, name) == 2)
        if (!measure(name, count)) {
            fprintf(stderr, "floor: %s failed\n", name);
            return EXIT_FAILURE;
        }
    return EXIT_SUCCESS;
}

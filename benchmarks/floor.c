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

static bool
state(void)
{
    return strcmp(running->state(running), "RUNNING") == 0;
}

static bool
is_running(void)
{
    return running->is_running(running);
}

static void
free_all(char **strings)
{
    for (char **s = strings; s != NULL && *s != NULL; s++)
        free(*s);
    free(strings);
}

static bool
get_ips(void)
{
    char **ips = running->get_ips(running, NULL, NULL, 0);
    const bool ok = ips != NULL;

    free_all(ips);
    return ok;
}

static bool
get_interfaces(void)
{
    char **interfaces = running->get_interfaces(running);
    const bool ok = interfaces != NULL;

    free_all(interfaces);
    return ok;
}

/* The length first, as liblxc has it. */
static bool
read_item(int (*read)(struct lxc_container *, const char *, char *, int),
          struct lxc_container *c, const char *key)
{
    const int length = read(c, key, NULL, 0);
    char *value = length >= 0 ? malloc((size_t)length + 1) : NULL;
    const bool ok = value != NULL && read(c, key, value, length + 1) == length;

    free(value);
    return ok;
}

static bool
get_config_item(void)
{
    return read_item(stopped->get_config_item, stopped, "lxc.uts.name");
}

static bool
set_config_item(void)
{
    return stopped->set_config_item(stopped, "lxc.uts.name", "name");
}

static bool
get_cgroup_item(void)
{
    return read_item(running->get_cgroup_item, running, "pids.max");
}

/* The lxcpaths with many containers are beside the other, their number appended. */
static bool
list(const char *number, bool objects)
{
    char other[4096];
    char **names = NULL;
    struct lxc_container **containers = NULL;
    int n;

    snprintf(other, sizeof(other), "%s-%s", path, number);
    n = list_all_containers(other, &names, objects ? &containers : NULL);
    for (int i = 0; i < n; i++) {
        free(names[i]);
        if (objects)
            lxc_container_put(containers[i]);
    }
    free(names);
    free(containers);
    return n == atoi(number);
}

#define LIST(number)                                                                   \
    static bool list_##number(void)                                                    \
    {                                                                                  \
        return list(#number, false);                                                   \
    }                                                                                  \
    static bool objects_##number(void)                                                 \
    {                                                                                  \
        return list(#number, true);                                                    \
    }

LIST(10)
LIST(300)
LIST(3000)

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
    OPERATION(state),
    OPERATION(is_running),
    OPERATION(get_ips),
    OPERATION(get_interfaces),
    OPERATION(get_config_item),
    OPERATION(set_config_item),
    OPERATION(get_cgroup_item),
    OPERATION(list_10),
    OPERATION(list_300),
    OPERATION(list_3000),
    OPERATION(objects_10),
    OPERATION(objects_300),
    OPERATION(objects_3000),
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

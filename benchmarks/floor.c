// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a C program pays liblxc for each operation: the floor of the benchmarks.
 *
 * "floor LXCPATH RUNNING STOPPED", the last two being names of containers, says which
 * liblxc it has, then answers every line "COUNT OPERATION [ARGUMENT...]" with the
 * seconds that one of COUNT such operations took. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <lxc/attach_options.h>
#include <lxc/lxccontainer.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MANY 16

extern char **environ;

static const char *path;
static struct lxc_container *running, *stopped;
static char other_name[256]; /* of the container that comes and goes */
static char **arguments;     /* of the operation, NULL at the end */
static char *memory;         /* that is in use */
static size_t size;
static posix_spawn_file_actions_t silence;

/* --- Of the machine ----------------------------------------------------------- */

/* A program, silently: what a lxc-* command costs. */
static bool
run(void)
{
    pid_t pid;
    int status;

    return posix_spawnp(&pid, arguments[0], &silence, NULL, arguments, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

/* Have that many MiB of memory in use. */
static bool
fill(void)
{
    size = (size_t)atol(arguments[0]) << 20;
    memory = malloc(size);
    if (memory != NULL)
        memset(memory, 'x', size);
    return memory != NULL;
}

static bool
rewrite(void)
{
    for (size_t i = 0; i < size; i += 4096)
        memory[i]++;
    return true;
}

/* --- Of liblxc ---------------------------------------------------------------- */

static bool
attach_true(struct lxc_container *c)
{
    lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    const char *const argv[] = {"/bin/true", NULL};

    return c->attach_run_wait(c, &options, argv[0], argv) == 0;
}

static bool
attach_command(void)
{
    return attach_true(running);
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
    return stopped->stop(stopped);
}

static bool
stop_and_wait(void)
{
    return stopped->stop(stopped) && stopped->wait(stopped, "STOPPED", 10);
}

/* Open the container that comes and goes, call that, and let go of it. */
static bool
with_other(bool (*call)(struct lxc_container *c))
{
    struct lxc_container *c = lxc_container_new(other_name, path);
    const bool ok = c != NULL && call(c);

    if (c != NULL)
        lxc_container_put(c);
    return ok;
}

static bool
create_busybox(struct lxc_container *c)
{
    return c->create(c, "busybox", NULL, NULL, LXC_CREATE_QUIET, NULL);
}

static bool
create(void)
{
    return with_other(create_busybox);
}

static bool
clone_as(int flags, const char *kind)
{
    struct lxc_container *c =
        stopped->clone(stopped, other_name, NULL, flags, kind, NULL, 0, NULL);

    return c != NULL && lxc_container_put(c) >= 0;
}

static bool
clone_overlay(void)
{
    return clone_as(LXC_CLONE_SNAPSHOT, "overlay");
}

static bool
clone_copy(void)
{
    return clone_as(0, NULL);
}

static bool
snapshot(void)
{
    return stopped->snapshot(stopped, NULL) >= 0;
}

static bool
snapshot_destroy(void)
{
    return stopped->snapshot_destroy(stopped, "snap0");
}

static bool
rename_it(struct lxc_container *c)
{
    char name[sizeof(other_name) + 4];

    snprintf(name, sizeof(name), "%s-new", other_name);
    return c->rename(c, name);
}

static bool
rename_other(void)
{
    return with_other(rename_it);
}

static bool
destroy_it(struct lxc_container *c)
{
    return c->destroy(c);
}

static bool
destroy(void)
{
    return with_other(destroy_it);
}

static bool
destroy_renamed(void)
{
    const size_t length = strlen(other_name);

    strcpy(other_name + length, "-new");
    const bool ok = destroy();
    other_name[length] = '\0';
    return ok;
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
has_ips(struct lxc_container *c)
{
    char **ips = c->get_ips(c, NULL, NULL, 0);
    const bool ok = ips != NULL;

    free_all(ips);
    return ok;
}

static bool
get_ips(void)
{
    return has_ips(running);
}

/* Until the container on the bridge has an address, which another process starts. */
static bool
await_address(void)
{
    char name[512];

    snprintf(name, sizeof(name), "%s-bridged", stopped->name);
    struct lxc_container *c = lxc_container_new(name, path);
    for (int i = 0; i < 20000 && !has_ips(c); i++)
        usleep(500);
    const bool ok = has_ips(c);
    lxc_container_put(c);
    return ok;
}

static bool
stop_bridged(void)
{
    char name[512];

    snprintf(name, sizeof(name), "%s-bridged", stopped->name);
    struct lxc_container *c = lxc_container_new(name, path);
    const bool ok = c != NULL && c->stop(c) && c->wait(c, "STOPPED", 10);
    lxc_container_put(c);
    return ok;
}

/* One of the many containers, from start to stop. */
static void *
life(void *number)
{
    char name[512], there[4096];
    bool ok;

    snprintf(name, sizeof(name), "%s-%d", stopped->name, (int)(intptr_t)number);
    snprintf(there, sizeof(there), "%s-many", path);
    struct lxc_container *c = lxc_container_new(name, there);
    ok = c != NULL && c->start(c, 0, NULL) && attach_true(c) && has_ips(c) &&
         c->stop(c) && c->wait(c, "STOPPED", 10);
    lxc_container_put(c);
    return ok ? number : (void *)(intptr_t)-1;
}

static bool
in_turn(void)
{
    for (intptr_t i = 0; i < MANY; i++)
        if (life((void *)i) != (void *)i)
            return false;
    return true;
}

static bool
at_once(void)
{
    pthread_t threads[MANY];
    void *result;
    bool ok = true;

    for (intptr_t i = 0; i < MANY; i++)
        if (pthread_create(&threads[i], NULL, life, (void *)i) != 0)
            return false;
    for (intptr_t i = 0; i < MANY; i++)
        ok = pthread_join(threads[i], &result) == 0 && result == (void *)i && ok;
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
    OPERATION(stop_and_wait),
    OPERATION(create),
    OPERATION(clone_overlay),
    OPERATION(clone_copy),
    OPERATION(snapshot),
    OPERATION(snapshot_destroy),
    OPERATION(rename_other),
    OPERATION(destroy),
    OPERATION(destroy_renamed),
    OPERATION(await_address),
    OPERATION(stop_bridged),
    OPERATION(in_turn),
    OPERATION(at_once),
    OPERATION(run),
    OPERATION(fill),
    OPERATION(rewrite),
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

/* Split a line at its spaces: count, operation, arguments. */
static char **
split(char *line)
{
    static char *words[66];
    size_t n = 0;

    for (char *word = strtok(line, " \n"); word && n < 65; word = strtok(NULL, " \n"))
        words[n++] = word;
    words[n] = NULL;
    return n >= 2 ? words : NULL;
}

int
main(int argc, char **argv)
{
    char line[4096], **words;

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
    snprintf(other_name, sizeof(other_name) - sizeof("-new"), "%s-other", argv[3]);
    posix_spawn_file_actions_init(&silence);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&silence, fd, "/dev/null", O_RDWR, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s\n", lxc_get_version());
    while (fgets(line, sizeof(line), stdin) != NULL) {
        words = split(line);
        if (words == NULL)
            return EXIT_FAILURE;
        arguments = words + 2;
        if (!measure(words[1], atoi(words[0]))) {
            fprintf(stderr, "floor: %s failed\n", words[1]);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

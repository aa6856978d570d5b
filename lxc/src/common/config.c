/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A configuration, as the extension and the launcher have it: see work.h.
 */
#define _GNU_SOURCE
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- Items -------------------------------------------------------------------- */

static const char *const freed_when_set[] = {"lxc.prlimit", "lxc.sysctl"};
#define N_FREED (sizeof(freed_when_set) / sizeof(freed_when_set[0]))

static bool
is_freed_when_set(const char *key)
{
    for (size_t i = 0; i < N_FREED; i++) {
        const size_t length = strlen(freed_when_set[i]);

        if (strncmp(key, freed_when_set[i], length) == 0 && key[length] == '.')
            return true;
    }
    return false;
}

char *
config_get(struct lxc_container *c, const char *key)
{
    const int length = c->get_config_item(c, key, NULL, 0);
    char *value = length > 0 ? calloc(1, (size_t)length + 1) : NULL;

    if (value != NULL)
        c->get_config_item(c, key, value, length + 1);
    return value;
}

bool
config_set(struct lxc_container *c, const char *key, const char *value)
{
    char *old = is_freed_when_set(key) ? config_get(c, key) : NULL;
    bool ok;

    if (old != NULL)
        c->clear_config_item(c, key);
    ok = c->set_config_item(c, key, value);
    if (!ok && old != NULL)
        c->set_config_item(c, key, old);
    free(old);
    return ok;
}

static void
drop_item(struct lxc_container *c, const char *key, const char *value, const char *text)
{
    (void)value;
    (void)text;
    c->clear_config_item(c, key);
}

/* Whether a text clears an item, by a line that has nothing after the "=". */
static bool
clears(const char *text, const char *key)
{
    const size_t length = strlen(key);

    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = line + strcspn(line, "\n");

        line += strspn(line, " \t");
        if (strncmp(line, key, length) == 0) {
            line += length;
            line += strspn(line, " \t");
            if (*line == '=' && line + 1 + strspn(line + 1, " \t") == end)
                return true;
        }
        line = end + (*end == '\n');
    }
    return false;
}

static void
keep_item(struct lxc_container *c, const char *key, const char *value, const char *text)
{
    char *now = config_get(c, key);

    if (now == NULL && !clears(text, key))
        c->set_config_item(c, key, value);
    free(now);
}

/* Of all items of a kind, "lxc.prlimit.nofile = 1024\n" and more of that. */
static void
each_item(struct lxc_container *c, const char *items, const char *text,
          void (*what)(struct lxc_container *, const char *, const char *,
                       const char *))
{
    while (items != NULL && *items != '\0') {
        const size_t length = strcspn(items, "\n");
        char *line = strndup(items, length), *value = line ? strstr(line, " = ") : NULL;

        if (value != NULL) {
            *value = '\0';
            what(c, line, value + strlen(" = "), text);
        }
        free(line);
        items += length + (items[length] == '\n');
    }
}

bool
config_load(struct lxc_container *c, const char *path)
{
    const char *file = path != NULL ? path : c->configfile;
    char *items[N_FREED], *text = NULL;
    size_t length;
    bool ok;

    for (size_t i = 0; i < N_FREED; i++)
        each_item(c, items[i] = config_get(c, freed_when_set[i]), NULL, drop_item);
    ok = c->load_config(c, path);
    for (size_t i = 0; i < N_FREED; i++) {
        if (items[i] != NULL && text == NULL)
            text = config_read(file, &length);
        each_item(c, items[i], text, keep_item);
        free(items[i]);
    }
    free(text);
    return ok;
}

/* --- Files -------------------------------------------------------------------- */

void
read_stamp(const char *file, struct stamp *stamp)
{
    struct stat status;

    memset(stamp, 0, sizeof(*stamp));
    if (file == NULL || stat(file, &status) < 0)
        return;
    stamp->device = status.st_dev;
    stamp->inode = status.st_ino;
    stamp->size = status.st_size;
    stamp->modified = status.st_mtim;
    stamp->changed = status.st_ctim;
}

/* Of what kind a configuration may be: a pipe would have to be waited for. */
bool
config_is_readable(const char *path)
{
    struct stat status;

    return stat(path, &status) < 0 || S_ISREG(status.st_mode) ||
           (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)) ||
           S_ISDIR(status.st_mode); /* which liblxc refuses by itself */
}

char *
config_read(const char *path, size_t *length)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;
    char *content = NULL;
    ssize_t got = 0;

    *length = 0;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        (content = malloc((size_t)status.st_size + 1)) != NULL) {
        while (*length < (size_t)status.st_size &&
               (got = read(fd, content + *length, (size_t)status.st_size - *length)) >
                   0)
            *length += (size_t)got;
        content[*length] = '\0';
    }
    close(fd);
    return content;
}

/* --- Opening a container ------------------------------------------------------ */

/* Where liblxc has a container's disk lock; NULL where that cannot be told. */
static const char *
disk_lock(const char *name, const char *lxcpath, char *file, size_t size)
{
    const char *run = "/run", *below = "";

    if (geteuid() != 0 && (run = getenv("XDG_RUNTIME_DIR")) == NULL) {
        run = getenv("HOME");
        below = "/.cache/lxc/run";
    }
    if (run == NULL)
        return NULL;
    const int length =
        snprintf(file, size, "%s%s/lxc/lock/%s/.%s", run, below, lxcpath, name);
    return length > 0 && (size_t)length < size ? file : NULL;
}

/* Wait until nobody has the disk lock. */
static void
wait_for_disk_lock(const char *name, const char *lxcpath)
{
    char path[PATH_MAX];
    const char *file = disk_lock(name, lxcpath, path, sizeof(path));
    const int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    if (fd < 0)
        return; /* nobody ever had it */
    fcntl(fd, F_OFD_SETLKW, &lock);
    /* A child that another thread forks meanwhile has the descriptor as well. */
    lock.l_type = F_UNLCK;
    fcntl(fd, F_OFD_SETLK, &lock);
    close(fd);
}

struct lxc_container *
container_open(const char *name, const char *lxcpath)
{
    struct lxc_container *c = NULL;
    struct stamp before, after;
    char file[PATH_MAX];

    snprintf(file, sizeof(file), "%s/%s/config", lxcpath, name);
    for (int looks = 0; c == NULL && looks < 3; looks++) {
        if (access(file, F_OK) == 0)
            wait_for_disk_lock(name, lxcpath);
        read_stamp(file, &before);
        c = lxc_container_new(name, lxcpath);
        if (c == NULL)
            read_stamp(file, &after);
        if (c == NULL && memcmp(&before, &after, sizeof(after)) == 0)
            break; /* what is there cannot be loaded */
    }
    return c;
}

/* --- A configuration that is not, or not only, in its file -------------------- */

bool
config_load_text(struct lxc_container *c, const char *text)
{
    char path[32];
    int fd = above_stdio(memfd_create("config", MFD_CLOEXEC));
    size_t left = strlen(text);
    ssize_t done = 0;
    bool ok;

    if (fd < 0)
        return false;
    for (; left > 0; text += done, left -= (size_t)done)
        if ((done = write(fd, text, left)) <= 0)
            break;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ok = left == 0 && config_load(c, path);
    close(fd);
    return ok;
}

/* From the file if it still says that: hooks are told its name. */
static bool
load_as(struct lxc_container *c, const char *path, const char *text)
{
    size_t length;
    char *now = config_read(path, &length);
    const bool same =
        now != NULL && length == strlen(text) && memcmp(now, text, length) == 0;

    free(now);
    return same ? config_load(c, path) : config_load_text(c, text);
}

static void
replay(struct lxc_container *c, char **journal)
{
    for (char **entry = journal; entry != NULL && *entry != NULL; entry++)
        switch (**entry) {
        case NOTE_SET:
            config_set(c, entry[1], entry[2]);
            entry += 2;
            break;
        case NOTE_CLEAR:
            c->clear_config_item(c, entry[1]);
            entry++;
            break;
        case NOTE_FORGET:
            c->clear_config(c);
            break;
        case NOTE_LOAD:
            load_as(c, entry[1], entry[2]);
            entry += 2;
            break;
        }
}

struct lxc_container *
config_open(const char *name, const char *lxcpath, const struct recipe *recipe)
{
    struct lxc_container *c = container_open(name, lxcpath);
    struct stamp now;

    if (c == NULL)
        return NULL;
    read_stamp(c->configfile, &now); /* after it was read: it may just have changed */
    if (memcmp(&now, &recipe->file, sizeof(now)) != 0) {
        if (recipe->base == NULL) {
            lxc_container_put(c);
            return NULL;
        }
        c->clear_config(c);
        if (*recipe->base != '\0')
            load_as(c, c->configfile, recipe->base);
    }
    replay(c, recipe->journal);
    return c;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The containers of an lxcpath.
 *
 * What liblxc lists as defined is every entry that is not hidden and has a `config`,
 * whatever that is; it sorts them by their bytes, anew after each one.  Here they are
 * sorted once.
 *
 * Those that run, defined or not, have a monitor that listens at @LXCPATH/NAME/command.
 * liblxc takes what follows the last space of a line of the kernel's for that name, and
 * so misses names and lxcpaths with a space.  Where the name of a socket would be too
 * long it is a hash, of which only liblxc can tell whose it is.
 */
#include "listing.h"

#include "convert.h"
#include "handle.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum outcome { LISTED, NO_LIST, NO_MEMORY };

static int
compare(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

void
strings_sort(struct strings *strings)
{
    if (strings->count > 1)
        qsort(strings->items, strings->count, sizeof(*strings->items), compare);
}

static enum outcome
list_defined(const char *path, struct strings *names)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    enum outcome outcome = LISTED;

    if (directory == NULL)
        return NO_LIST;
    while (outcome == LISTED && (entry = readdir(directory)) != NULL) {
        char file[sizeof(entry->d_name) + sizeof("/config")];
        struct stat status;

        if (entry->d_name[0] == '.')
            continue;
        stpcpy(stpcpy(file, entry->d_name), "/config");
        if (fstatat(dirfd(directory), file, &status, 0) == 0 &&
            !strings_add(names, entry->d_name))
            outcome = NO_MEMORY;
    }
    closedir(directory);
    strings_sort(names);
    return outcome;
}

/* The container whose monitor has a socket, where it is one of that lxcpath; or NULL.
 */
static char *
name_of_socket(char *socket, const char *path, size_t length)
{
    if (strncmp(socket, path, length) != 0 || socket[length] != '/')
        return NULL;
    char *name = socket + length + 1, *end = strchr(name, '/');
    if (end == NULL || end == name || strcmp(end, "/command\n") != 0)
        return NULL;
    *end = '\0';
    return name;
}

static enum outcome
list_sockets(const char *path, struct strings *names, bool *hashed)
{
    FILE *sockets = fopen("/proc/net/unix", "re");
    enum outcome outcome = LISTED;
    size_t length = strlen(path), room = 0;
    char *line = NULL;

    if (sockets == NULL)
        return NO_LIST;
    while (length > 0 && path[length - 1] == '/')
        length--;
    while (outcome == LISTED && getline(&line, &room, sockets) > 0) {
        char *socket = strstr(line, " @"), *name;

        if (socket == NULL)
            continue;
        socket += 2;
        if (strncmp(socket, "lxc/", 4) == 0)
            *hashed = true;
        else if ((name = name_of_socket(socket, path, length)) != NULL &&
                 !strings_add(names, name))
            outcome = NO_MEMORY;
    }
    free(line);
    fclose(sockets);
    return outcome;
}

/* Each connection to a monitor has its socket's name. */
static void
drop_repeats(struct strings *names)
{
    size_t kept = 0;

    strings_sort(names);
    for (size_t i = 0; i < names->count; i++)
        if (kept > 0 && strcmp(names->items[kept - 1], names->items[i]) == 0)
            free(names->items[i]);
        else
            names->items[kept++] = names->items[i];
    names->count = kept;
}

static enum outcome
list_active(const char *path, struct strings *names)
{
    struct strings more = {0};
    bool hashed = false;
    enum outcome outcome = list_sockets(path, names, &hashed);

    if (outcome == LISTED && hashed) {
        const int n = list_active_containers(path, &more.items, NULL);

        more.count = more.room = n > 0 ? (size_t)n : 0;
        for (size_t i = 0; outcome == LISTED && i < more.count; i++)
            if (!strings_add(names, more.items[i]))
                outcome = NO_MEMORY;
        outcome = n < 0 ? NO_LIST : outcome;
    }
    drop_repeats(names);
    strings_free(&more);
    return outcome;
}

/* Put names that are sorted to others that are, each once. */
static enum outcome
merge(struct strings *names, struct strings *more)
{
    const size_t count = names->count;
    size_t i = 0;

    for (size_t j = 0; j < more->count; j++) {
        while (i < count && strcmp(names->items[i], more->items[j]) < 0)
            i++;
        if ((i == count || strcmp(names->items[i], more->items[j]) != 0) &&
            !strings_add(names, more->items[j]))
            return NO_MEMORY;
    }
    if (names->count > count)
        strings_sort(names);
    return LISTED;
}

static enum outcome
list(const char *path, bool active, bool defined, struct strings *names)
{
    struct strings running = {0};
    enum outcome outcome = LISTED;

    if (path == NULL && (path = lxc_get_global_config_item("lxc.lxcpath")) == NULL)
        return NO_LIST;
    if (defined)
        outcome = list_defined(path, names);
    if (active && outcome == LISTED)
        outcome = list_active(path, defined ? &running : names);
    if (active && defined && outcome == LISTED)
        outcome = merge(names, &running);
    strings_free(&running);
    return outcome;
}

/* Parse, and list; false with an exception. */
static bool
parse_and_list(PyObject *args, PyObject *kwargs, PyObject **path, struct strings *names)
{
    static char *keywords[] = {"active", "defined", "config_path", NULL};
    int active = 1, defined = 1;
    enum outcome outcome;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&:list_containers", keywords,
                                     optional_bool, &active, optional_bool, &defined,
                                     optional_lxcpath, path))
        return false;
    const char *s = c_str(*path);
    WITHOUT_GIL(outcome = list(s, active, defined, names));
    if (outcome == LISTED)
        return true;
    strings_free(names);
    if (outcome == NO_MEMORY)
        PyErr_NoMemory();
    else
        PyErr_Format(PyExc_ValueError, "the containers in %s cannot be listed",
                     s != NULL ? s : "the default lxcpath");
    return false;
}

PyObject *
module_list_containers(PyObject *module, PyObject *args, PyObject *kwargs)
{
    OWNED PyObject *path = NULL;
    struct strings names = {0};

    (void)module;
    if (!parse_and_list(args, kwargs, &path, &names))
        return NULL;
    return take_strings(names.items, (Py_ssize_t)names.count);
}

PyObject *
Container__list(PyObject *type, PyObject *args, PyObject *kwargs)
{
    OWNED PyObject *path = NULL, *objects = NULL;
    struct strings names = {0};

    if (!parse_and_list(args, kwargs, &path, &names))
        return NULL;
    if (path == NULL)
        path = standard_path();
    if (path != NULL)
        objects = PyList_New(0);
    for (size_t i = 0; objects != NULL && i < names.count; i++) {
        if (why_no_name(names.items[i]) != NULL)
            continue; /* others' names need not be ours */
        OWNED PyObject *object = open_later((PyTypeObject *)type, names.items[i], path);
        if (object == NULL || PyList_Append(objects, object) < 0)
            Py_CLEAR(objects);
    }
    strings_free(&names);
    return objects != NULL ? PyList_AsTuple(objects) : NULL;
}

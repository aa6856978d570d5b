/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * mount and umount: liblxc forks a child, which joins the container's namespaces.
 *
 * What it mounts goes through a directory that host and container share, which
 * lxc.mount.auto = shmounts:/a/shared/mount makes when the container starts.  The errno
 * stays in the child.
 */
#include "mount.h"

#include "apart.h"
#include "commands.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct mount {
    struct lxc_container *c;
    const char *source, *target, *filesystemtype, *data;
    unsigned long flags;
};

/* Its only version says nothing more. */
#define NOTHING_MORE                                                                   \
    (&(PADDED(struct lxc_mount, mount)){.mount = {.version = LXC_MOUNT_API_V1}}.mount)

static int
mount_now(const void *argument)
{
    const struct mount *mount = argument;
    struct lxc_container *c = mount->c;

    return c->mount(c, mount->source, mount->target, mount->filesystemtype,
                    mount->flags, mount->data, NOTHING_MORE);
}

static int
umount_now(const void *argument)
{
    const struct mount *mount = argument;
    struct lxc_container *c = mount->c;

    return c->umount(c, mount->target, mount->flags, NOTHING_MORE);
}

/* liblxc makes the target anew, of the kind that the source has: what is there would be
 * emptied or removed, for good.  A directory under a directory stays. */
static bool
replaces(struct lxc_container *c, const struct mount *mount)
{
    struct stat source = {.st_mode = S_IFDIR}, target;
    const int fd = find_beneath(c->init_pid(c), mount->target, O_NOFOLLOW);
    bool found;

    if (fd < 0) /* what cannot be seen may be there */
        return errno != ENOENT && errno != ENOTDIR;
    found = fstat(fd, &target) == 0;
    close(fd);
    if (mount->source != NULL && *mount->source != '\0' &&
        stat(mount->source, &source) < 0)
        return false; /* liblxc will say so, before it touches the target */
    return found && !(S_ISDIR(source.st_mode) && S_ISDIR(target.st_mode));
}

/* A failed umount is 1, not -1. */
static PyObject *
call_mount(PyObject *self, struct mount *mount, int (*call)(const void *))
{
    int result = -1;
    bool running = true, refused = false;

    HELD held = hold(self, CONFIG | RELOAD | LISTEN);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = mount->c = held.c;
    if (call == mount_now)
        WITHOUT_GIL(refused = replaces(c, mount));
    if (refused) {
        because("there is something at %s, which liblxc would replace: only "
                "a directory can be mounted there, onto a directory",
                mount->target);
        Py_RETURN_FALSE;
    }
    if (!call_apart(call, mount, &result))
        return NULL;
    if (!answer(&held, result == 0))
        WITHOUT_GIL(running = c->is_running(c));
    if (result == -EINVAL && running && call == mount_now)
        because("it has no lxc.mount.auto = shmounts:/a/shared/mount, which it must "
                "start with");
    return PyBool_FromLong(result == 0);
}

static int
flags(PyObject *arg, void *result)
{
    unsigned long long value = 0;

    if (!optional_size(arg, &value))
        return 0;
    *(unsigned long *)result = (unsigned long)value;
    if ((unsigned long)value == value)
        return 1;
    PyErr_Format(PyExc_OverflowError, "mountflags: %R does not fit into a C long", arg);
    return 0;
}

PyObject *
Container_mount(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"source",     "target", "filesystemtype",
                            "mountflags", "data",   NULL};
    OWNED PyObject *source = NULL, *target = NULL, *type = NULL, *data = NULL;
    struct mount mount = {0};

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O&O&|O&O&O&:mount", names, optional_text, &source, text,
            &target, optional_text, &type, flags, &mount.flags, optional_text, &data))
        return NULL;
    mount.source = c_str(source);
    mount.target = c_str(target);
    mount.filesystemtype = c_str(type);
    mount.data = c_str(data);
    return call_mount(self, &mount, mount_now);
}

PyObject *
Container_umount(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"target", "mountflags", NULL};
    OWNED PyObject *target = NULL;
    struct mount mount = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:umount", names, text, &target,
                                     flags, &mount.flags))
        return NULL;
    mount.target = c_str(target);
    return call_mount(self, &mount, umount_now);
}

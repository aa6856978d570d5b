/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the liblxc at hand can do, which need not be the one of the headers.
 *
 * struct lxc_container has grown at its end with the releases, and says nowhere how
 * long it is: behind its last member there is memory of somebody else.  So the version
 * of the library decides what may be called, and one table says since when.
 */
#include "features.h"

#include "addresses.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "reasons.h"

#include <lxc/version.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Releases as numbers that compare as they do. */
#define RELEASE(major, minor, micro) ((major)*1000000 + (minor)*1000 + (micro))
#define HEADERS RELEASE(LXC_VERSION_MAJOR, LXC_VERSION_MINOR, LXC_VERSION_MICRO)

/* The struct has had no member put between others since. */
#define OLDEST RELEASE(4, 0, 5)

enum feature {
    DEVPTS_FD,
    GROUPS,
    INIT_PIDFD,
    LSM_LABEL,
    RBDUSER,
    SET_TIMEOUT,
    FEATURES
};

static const struct {
    const char *name;
    int since;
} features[FEATURES] = {
    [DEVPTS_FD] = {"devpts_fd", RELEASE(4, 0, 5)},
    [GROUPS] = {"groups", RELEASE(4, 0, 7)},
    [INIT_PIDFD] = {"init_pidfd", RELEASE(4, 0, 5)},
    [LSM_LABEL] = {"lsm_label", RELEASE(4, 0, 7)},
    [RBDUSER] = {"rbduser", RELEASE(6, 0, 6)},
    [SET_TIMEOUT] = {"set_timeout", RELEASE(6, 0, 0)},
};

/* What liblxc itself has names for, up to 7.0.0: see lxc_has_api_extension(). */
static const char *const extensions[] = {
    "cgroup2",
    "cgroup2_auto_mounting",
    "cgroup2_devices",
    "cgroup_advanced_isolation",
    "cgroup_relative",
    "console_log",
    "core_scheduling",
    "devpts_fd",
    "environment_runtime_hooks",
    "idmapped_mounts",
    "idmapped_mounts_v2",
    "lxc_config_item_is_supported",
    "lxc_log",
    "mount_injection",
    "mount_injection_file",
    "network_bridge_vlan",
    "network_gateway_device_route",
    "network_ipvlan",
    "network_l2proxy",
    "network_phys_macvlan_mtu",
    "network_veth_router",
    "network_veth_routes",
    "pidfd",
    "reboot2",
    "seccomp_allow_deny_syntax",
    "seccomp_allow_nesting",
    "seccomp_notify",
    "seccomp_notify_fd_active",
    "seccomp_proxy_send_notify_fd",
    "time_namespace",
};

/* The library's release; 0 if it is none that can be read.  There are suffixes such as
 * "6.0.0-devel" and "5.0.0~git2209-g5a7b9ce67". */
static int
library(void)
{
    int major = 0, minor = 0, micro = 0;

    sscanf(lxc_get_version(), "%d.%d.%d", &major, &minor, &micro);
    return RELEASE(major, minor, micro);
}

bool
is_new_enough(void)
{
    if (library() >= OLDEST)
        return true;
    PyErr_Format(PyExc_ImportError,
                 "the lxc package needs liblxc 4.0.5 or later, and the one on this "
                 "machine is %s: upgrade it, or use python3-lxc from the same release "
                 "of your distribution",
                 lxc_get_version());
    return false;
}

static bool
has(enum feature feature)
{
    return library() >= features[feature].since && HEADERS >= features[feature].since;
}

/* Raise NotImplementedError where a call is not in this liblxc. */
static bool
need(enum feature feature)
{
    const int since = features[feature].since;

    if (has(feature))
        return true;
    PyErr_Format(PyExc_NotImplementedError,
                 "%s needs liblxc %d.%d.%d or later: this one is %s, and the extension "
                 "was built for %s",
                 features[feature].name, since / 1000000, since / 1000 % 1000,
                 since % 1000, lxc_get_version(), LXC_VERSION);
    return false;
}

bool
has_groups(void)
{
    return need(GROUPS);
}

bool
has_lsm_label(void)
{
    return need(LSM_LABEL);
}

bool
has_rbduser(void)
{
    return need(RBDUSER);
}

void
set_rbduser(struct bdev_specs *specs, char *rbduser)
{
#if HEADERS >= RELEASE(6, 0, 6)
    specs->rbd.rbduser = rbduser;
#else
    (void)specs;
    (void)rbduser;
#endif
}

static bool
put(PyObject *dict, const char *name, bool there)
{
    return PyDict_SetItemString(dict, name, there ? Py_True : Py_False) == 0;
}

PyObject *
module_features(PyObject *module, PyObject *ignored)
{
    OWNED PyObject *all = PyDict_New();

    (void)module;
    (void)ignored;
    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof(extensions) / sizeof(*extensions); i++)
        if (!put(all, extensions[i], lxc_has_api_extension(extensions[i])))
            return NULL;
    for (size_t i = 0; i < FEATURES; i++)
        if (!put(all, features[i].name, has(i)))
            return NULL;
    return Py_NewRef(all);
}

/* --- Calls that give a descriptor --------------------------------------------- */

/* The caller owns it; a negative result is an errno. */
static PyObject *
take_descriptor(int fd)
{
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return PyLong_FromLong(fd);
    }
    errno = fd == -1 ? EINVAL : -fd;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Another descriptor of a pidfd's process, which is not of the same open file, so that
 * an attach can tell what the caller has from what liblxc leaves: see close_leaked()
 * there. The same where the process has ended. */
static int
pidfd_anew(int fd)
{
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    const pid_t pid = pid_of(fd);
    const int other = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    if (other < 0)
        return fd;
    if (poll(&ended, 1, 0) != 0) { /* the number may be another's by now */
        close(other);
        return fd;
    }
    close(fd);
    return other;
}

PyObject *
Container_init_pidfd(PyObject *self, PyObject *ignored)
{
    int fd;

    (void)ignored;
    /* Not while an attach looks for the ones that liblxc left open. */
    HELD held = hold(self, SHARED | PIDFD | LISTEN | TALKS);
    if (held.c == NULL || !need(INIT_PIDFD))
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(fd = c->init_pidfd(c); if (fd >= 0) fd = pidfd_anew(fd));
    answer(&held, fd >= 0);
    return take_descriptor(fd);
}

PyObject *
Container_devpts_fd(PyObject *self, PyObject *ignored)
{
    int fd;

    (void)ignored;
    HELD held = hold(self, SHARED | LISTEN | TALKS);
    if (held.c == NULL || !need(DEVPTS_FD))
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(fd = c->devpts_fd(c));
    answer(&held, fd >= 0);
    return take_descriptor(fd);
}

static PyObject *
take_notifier(int fd)
{
    if (fd == -EBADF)
        because("it has no seccomp notifier");
    return take_descriptor(fd);
}

/* The handle keeps its own: the caller gets another one. */
PyObject *
Container_seccomp_notify_fd(PyObject *self, PyObject *ignored)
{
    int fd;

    (void)ignored;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    fd = held.c->seccomp_notify_fd(held.c);
    if (fd < 0)
        return take_notifier(fd == -1 ? -EBADF : fd);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return take_descriptor(fd < 0 ? -errno : fd);
}

PyObject *
Container_seccomp_notify_fd_active(PyObject *self, PyObject *ignored)
{
    int fd;

    (void)ignored;
    HELD held = hold(self, SHARED | RELOAD | LISTEN | TALKS);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(fd = c->seccomp_notify_fd_active(c));
    answer(&held, fd >= 0);
    return take_notifier(fd);
}

bool
apply_timeout(struct lxc_container *c, int timeout)
{
#if HEADERS >= RELEASE(6, 0, 0)
    return c->set_timeout(c, timeout);
#else
    (void)c;
    (void)timeout;
    return false;
#endif
}

PyObject *
Container_set_timeout(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    int timeout;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i:set_timeout", names, &timeout))
        return NULL;
    HELD held = hold(self, ALONE);
    if (held.c == NULL || !need(SET_TIMEOUT))
        return NULL;
    if (!apply_timeout(held.c, timeout)) {
        PyErr_Format(PyExc_ValueError,
                     "%d is no timeout: give 1 second or more, or -1 for none",
                     timeout);
        return NULL;
    }
    held.self->timeout = timeout;
    Py_RETURN_NONE;
}

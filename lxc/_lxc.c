/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * lxc._lxc: liblxc's calls as Python has them.  The module is equivalent to
 *
 *     class Container:
 *         def __init__(self, name, config_path=None):
 *             self.c = lxc_container_new(name, config_path)
 *         def freeze(self):
 *             return self.c.freeze()      # and so on, a method per member
 *
 *     def list_containers(active=True, defined=True, config_path=None): ...
 *
 * with the GIL released and the handle locked as each call needs it.  A method unwraps,
 * parses, calls and converts; what is policy is in lxc/__init__.py.
 */
#include "addresses.h"
#include "attach.h"
#include "clone.h"
#include "commands.h"
#include "configfile.h"
#include "console.h"
#include "convert.h"
#include "create.h"
#include "environment.h"
#include "features.h"
#include "handle.h"
#include "items.h"
#include "listing.h"
#include "lock.h"
#include "migrate.h"
#include "mount.h"
#include "reasons.h"
#include "spawn.h"
#include "start.h"
#include "wait.h"
#include "work.h"

#include <lxc/lxccontainer.h>
#include <lxc/version.h>

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

/* --- Calls that say yes or no ------------------------------------------------- */

/* Defines Container_name(): parse up to two texts, s and t, and make the call. */
#define BOOL_METHOD(method, what, format, call, s_converter, t_converter, ...)         \
    static PyObject *Container_##method(PyObject *self, PyObject *args,                \
                                        PyObject *kwargs)                              \
    {                                                                                  \
        static char *names[] = {__VA_ARGS__, NULL};                                    \
        OWNED PyObject *a = NULL, *b = NULL;                                           \
        bool ok;                                                                       \
                                                                                       \
        if (!PyArg_ParseTupleAndKeywords(args, kwargs, format ":" #method, names,      \
                                         s_converter, &a, t_converter, &b))            \
            return NULL;                                                               \
        HELD held = hold(self, what | LISTEN);                                         \
        if (held.c == NULL)                                                            \
            return NULL;                                                               \
        struct lxc_container *c = held.c;                                              \
        const char *s = c_str(a), *t = c_str(b);                                       \
        (void)t;                                                                       \
        WITHOUT_GIL(ok = call);                                                        \
        return PyBool_FromLong(answer(&held, ok));                                     \
    }

// clang-format off
BOOL_METHOD(set_cgroup_item, SHARED | ADOPT | GATHERS, "O&O&", c->set_cgroup_item(c, s, t),
            text, text, "key", "value")
BOOL_METHOD(attach_interface, SHARED | ADOPT | TALKS, "O&|O&", c->attach_interface(c, s, t),
            text, optional_text, "src_ifname", "dst_ifname")
BOOL_METHOD(detach_interface, SHARED | ADOPT | TALKS, "O&|O&", c->detach_interface(c, s, t),
            text, optional_text, "ifname", "dst_ifname")
BOOL_METHOD(add_device_node, SHARED | ADOPT | GATHERS, "O&|O&", c->add_device_node(c, s, t),
            text, optional_text, "src_path", "dest_path")
BOOL_METHOD(remove_device_node, SHARED | ADOPT | GATHERS, "O&|O&", c->remove_device_node(c, s, t),
            text, optional_text, "src_path", "dest_path")
// clang-format on

/* The members without arguments, methods and properties alike, are one shape. */
struct plain {
    size_t member;
    int what;
};

static PyObject *
call_bool(PyObject *self, void *closure)
{
    const struct plain *plain = closure;
    bool ok;

    HELD held = hold(self, plain->what);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    bool (*call)(struct lxc_container *) =
        *(bool (**)(struct lxc_container *))((char *)c + plain->member);
    WITHOUT_GIL(ok = call(c));
    return PyBool_FromLong(answer(&held, ok));
}

#define PLAIN(member, what)                                                            \
    static struct plain plain_##member = {offsetof(struct lxc_container, member), what};
#define BOOL_NOARGS(member, what)                                                      \
    PLAIN(member, what)                                                                \
    static PyObject *Container_##member(PyObject *self, PyObject *ignored)             \
    {                                                                                  \
        (void)ignored;                                                                 \
        return call_bool(self, &plain_##member);                                       \
    }

// clang-format off
PLAIN(is_defined, CONFIG)
PLAIN(is_running, SHARED | TALKS)
PLAIN(may_control, SHARED | TALKS)
BOOL_NOARGS(freeze, SHARED | ADOPT | LISTEN | GATHERS)
BOOL_NOARGS(unfreeze, SHARED | ADOPT | LISTEN | GATHERS)
BOOL_NOARGS(stop, SHARED | LISTEN | TALKS)
BOOL_NOARGS(reboot, SHARED | ADOPT | LISTEN | TALKS)
// clang-format on

/* --- Calls that return text --------------------------------------------------- */

/* In memory: quick enough to keep the GIL. */
static PyObject *
Container_get_config_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                          PyObject *keywords)
{
    static char *names[] = {"key", NULL};
    PyObject *key;
    WORD word = {0};
    char small[256], *value = NULL;
    int length;
    bool ok;

    if (!parse_fast(args, n, keywords, "O:get_config_item", names, 1, &key) ||
        !word_from(key, &word))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    length = held.c->get_config_item(held.c, word.s, small, sizeof(small));
    if (length == 0) /* nothing is written then */
        return PyUnicode_FromString("");
    if (length > 0 && length < (int)sizeof(small))
        return PyUnicode_DecodeFSDefaultAndSize(small, length);
    ok = length < 0 || read_all(held.c, held.c->get_config_item, word.s, &value);
    return value_or_key_error(ok, value, word.s);
}

static PyObject *
Container_get_keys(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", NULL};
    OWNED PyObject *key = NULL;
    char *value = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:get_keys", names, optional_text,
                                     &key))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    bool ok = read_all(held.c, held.c->get_keys, c_str(key), &value);
    return value_or_key_error(ok, value, c_str(key));
}

static PyObject *
Container_get_cgroup_item(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", NULL};
    OWNED PyObject *key = NULL;
    char *value = NULL;
    bool ok;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:get_cgroup_item", names, text,
                                     &key))
        return NULL;
    HELD held = hold(self, SHARED | ADOPT | LISTEN | GATHERS);
    if (held.c == NULL)
        return NULL;
    const char *s = c_str(key);
    WITHOUT_GIL(ok = read_all(held.c, held.c->get_cgroup_item, s, &value));
    answer(&held, value != NULL);
    return value_or_key_error(ok, value, s);
}

static PyObject *
Container_get_running_config_item(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", NULL};
    OWNED PyObject *key = NULL;
    char *value;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:get_running_config_item", names,
                                     text, &key))
        return NULL;
    HELD held = hold(self, CONFIG);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const char *s = c_str(key);
    WITHOUT_GIL(value = c->get_running_config_item(c, s));
    if (value == NULL)
        Py_RETURN_NONE;
    return take_str(value);
}

static PyObject *
Container_get_config_path(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    HELD held = hold(self, SHARED);
    if (held.c == NULL)
        return NULL;
    OWNED PyObject *empty = PyUnicode_FromString("");
    return str_or(held.c->get_config_path(held.c), empty);
}

static PyObject *
get_config_file_name(PyObject *self, void *ignored)
{
    (void)ignored;
    HELD held = hold(self, CONFIG);
    if (held.c == NULL)
        return NULL;
    char *value = held.c->config_file_name(held.c);
    return value != NULL ? take_str(value) : PyUnicode_FromString("");
}

static PyObject *
get_name(PyObject *self, void *ignored)
{
    (void)ignored;
    if (!is_initialized((Container *)self)) {
        HELD held = hold(self, SHARED); /* says what is missing */
        return NULL;
    }
    return PyUnicode_DecodeFSDefault(c_str(((Container *)self)->name));
}

/* No call to the container, which could hang the traceback that shows it. */
static PyObject *
Container_repr(PyObject *object)
{
    Container *self = (Container *)object;
    OWNED PyObject *attribute = PyUnicode_InternFromString("__name__");
    OWNED PyObject *type =
        attribute ? PyObject_GetAttr((PyObject *)Py_TYPE(object), attribute) : NULL;

    if (type == NULL)
        return NULL;
    if (!is_initialized(self))
        return PyUnicode_FromFormat("<%U, not initialized>", type);
    OWNED PyObject *n = PyUnicode_DecodeFSDefault(c_str(self->name));
    OWNED PyObject *bytes = get_path(self);
    OWNED PyObject *path = PyUnicode_DecodeFSDefault(c_str(bytes));
    if (n == NULL || path == NULL)
        return NULL;
    return PyUnicode_FromFormat("%U(%R, %R)", type, n, path);
}

static PyObject *
get_state(PyObject *self, void *ignored)
{
    const char *state;

    (void)ignored;
    HELD held = hold(self, SHARED | TALKS);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(state = c->state(c));
    return PyUnicode_FromString(state != NULL ? state : "");
}

static PyObject *
get_init_pid(PyObject *self, void *ignored)
{
    pid_t pid;

    (void)ignored;
    HELD held = hold(self, SHARED | TALKS);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(pid = c->init_pid(c));
    return PyLong_FromLong(pid);
}

static PyObject *
get_error_num(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromLong(
        __atomic_load_n(&((Container *)self)->error_num, __ATOMIC_RELAXED));
}

/* --- Module functions --------------------------------------------------------- */

static PyObject *
module_get_version(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyUnicode_FromString(lxc_get_version());
}

static PyObject *
module_get_wait_states(PyObject *module, PyObject *ignored)
{
    const char *states[64] = {NULL};
    const int n = lxc_get_wait_states(NULL);
    PyObject *tuple;

    (void)module;
    (void)ignored;
    if (n < 0 || n > 64) {
        PyErr_Format(PyExc_RuntimeError, "liblxc says that there are %d states", n);
        return NULL;
    }
    lxc_get_wait_states(states);
    tuple = PyTuple_New(n);
    for (int i = 0; tuple != NULL && i < n; i++) {
        PyObject *state = PyUnicode_FromString(states[i]);

        if (state != NULL)
            PyTuple_SetItem(tuple, i, state);
        else
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *
ask_by_name(PyObject *arg, bool (*ask)(const char *))
{
    OWNED PyObject *bytes = NULL;

    return text(arg, &bytes) ? PyBool_FromLong(ask(c_str(bytes))) : NULL;
}

static PyObject *
module_config_item_is_supported(PyObject *module, PyObject *key)
{
    (void)module;
    return ask_by_name(key, lxc_config_item_is_supported);
}

static PyObject *
module_has_api_extension(PyObject *module, PyObject *extension)
{
    (void)module;
    return ask_by_name(extension, lxc_has_api_extension);
}

static PyObject *
module_get_global_config_item(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", NULL};
    OWNED PyObject *key = NULL;
    const char *value;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:get_global_config_item", names,
                                     text, &key))
        return NULL;
    const char *s = c_str(key);
    WITHOUT_GIL(value = lxc_get_global_config_item(s));
    if (value != NULL)
        return PyUnicode_DecodeFSDefault(value);
    return value_or_key_error(true, NULL, s);
}

/* Every architecture that liblxc knows by name. */
static const char *const architectures_32[] = {
    "arm",  "armel",   "armhf", "armv7l", "athlon", "i386",    "i486", "i586",
    "i686", "linux32", "mips",  "mipsel", "ppc",    "powerpc", "x86",
};
static const char *const architectures_64[] = {
    "amd64",       "arm64",     "armv8l",   "aarch64", "linux64",
    "loongarch64", "mips64",    "mips64el", "ppc64",   "ppc64el",
    "ppc64le",     "powerpc64", "riscv64",  "s390x",   "x86_64",
};

static PyObject *
module_arch_to_personality(PyObject *module, PyObject *arch)
{
    OWNED PyObject *bytes = NULL;

    (void)module;
    if (!text(arch, &bytes))
        return NULL;
    const char *s = c_str(bytes);
    for (size_t i = 0; i < sizeof(architectures_32) / sizeof(*architectures_32); i++)
        if (strcmp(s, architectures_32[i]) == 0)
            return PyLong_FromLong(PER_LINUX32);
    for (size_t i = 0; i < sizeof(architectures_64) / sizeof(*architectures_64); i++)
        if (strcmp(s, architectures_64[i]) == 0)
            return PyLong_FromLong(PER_LINUX);
    return value_or_key_error(true, NULL, s);
}

extern char **environ;

/* --- Tables ------------------------------------------------------------------- */

#define DOC(name, parameters, doc) #name "($self" parameters ")\n--\n\n" doc
#define KEYWORDS(name, parameters, doc)                                                \
    {                                                                                  \
#name, (PyCFunction)(void (*)(void))Container_##name,                          \
            METH_VARARGS | METH_KEYWORDS, DOC(name, ", /, " parameters, doc)           \
    }
#define FAST(name, parameters, doc)                                                    \
    {                                                                                  \
#name, (PyCFunction)(void (*)(void))Container_##name,                          \
            METH_FASTCALL | METH_KEYWORDS, DOC(name, ", /, " parameters, doc)          \
    }
#define NOARGS(name, doc)                                                              \
    {                                                                                  \
#name, Container_##name, METH_NOARGS, DOC(name, ", /", doc)                    \
    }

#define ATTACH_METHOD(name, doc)                                                       \
    {                                                                                  \
#name, (PyCFunction)(void (*)(void))Container_##name,                          \
            METH_VARARGS | METH_KEYWORDS,                                              \
            DOC(name,                                                                  \
                ", run, payload=..., /, *, attach_flags=65535, namespaces=-1, "        \
                "personality=-1, initial_cwd=None, uid=-1, gid=-1, env_policy=0, "     \
                "extra_env_vars=None, extra_keep_env=None, stdin=None, stdout=None, "  \
                "stderr=None, log_fd=None, lsm_label=None, groups=None",               \
                doc)                                                                   \
    }

// clang-format off
static PyMethodDef Container_methods[] = {
    KEYWORDS(add_device_node, "src_path, dest_path=None",
             "Give the container a device of the host.\n\nWraps lxc_container.add_device_node."),
    ATTACH_METHOD(attach, "Run something inside; return the pid of a child of this process, or "
                  "-1.\n\nWraps lxc_container.attach."),
    KEYWORDS(attach_interface, "src_ifname, dst_ifname=None",
             "Move a network interface into the container.\n\n"
             "Wraps lxc_container.attach_interface."),
    ATTACH_METHOD(attach_wait, "Run something inside; return its wait status, or -1.\n\n"
                  "Wraps lxc_container.attach."),
    NOARGS(clear_config, "Forget the configuration in memory.\n\n"
           "Wraps lxc_container.clear_config."),
    KEYWORDS(checkpoint, "directory, stop=False, verbose=False",
             "Write its processes to a directory.\n\nWraps lxc_container.checkpoint."),
    KEYWORDS(clear_config_item, "key",
             "Clear one item in memory.\n\nWraps lxc_container.clear_config_item."),
    KEYWORDS(clone, "newname, config_path=None, flags=0, bdevtype=None, bdevdata=None, "
             "newsize=0, hookargs=None",
             "Make a copy; return whether there is one.\n\nWraps lxc_container.clone."),
    KEYWORDS(console, "ttynum=-1, stdinfd=0, stdoutfd=1, stderrfd=2, escape=1",
             "Connect to a terminal until it is left.\n\nWraps lxc_container.console."),
    KEYWORDS(console_getfd, "ttynum=-1",
             "Return a descriptor of a terminal.\n\nWraps lxc_container.console_getfd."),
    KEYWORDS(console_log, "clear=False, read=True, read_max=0",
             "Take what is in the console's buffer, as bytes.\n\n"
             "Wraps lxc_container.console_log."),
    KEYWORDS(create, "template=None, flags=0, bdevtype=None, fssize=0, args=None, "
             "fstype=None, dir=None, zfsroot=None, vg=None, lv=None, thinpool=None, "
             "rbdname=None, rbdpool=None, rbduser=None",
             "Make a root filesystem.\n\nWraps lxc_container.create."),
    NOARGS(destroy, "Remove the container from disk.\n\nWraps lxc_container.destroy."),
    NOARGS(destroy_with_snapshots, "Remove it from disk, and its snapshots.\n\n"
           "Wraps lxc_container.destroy_with_snapshots."),
    KEYWORDS(detach_interface, "ifname, dst_ifname=None",
             "Move an interface back.\n\nWraps lxc_container.detach_interface."),
    NOARGS(devpts_fd, "Return a descriptor of the container's devpts.\n\n"
           "Wraps lxc_container.devpts_fd."),
    NOARGS(freeze, "Freeze all processes.\n\nWraps lxc_container.freeze."),
    KEYWORDS(get_cgroup_item, "key",
             "Read a cgroup's file.\n\nWraps lxc_container.get_cgroup_item."),
    FAST(get_config_item, "key",
             "Read one item in memory.\n\nWraps lxc_container.get_config_item."),
    NOARGS(get_config_path, "Return the lxcpath.\n\nWraps lxc_container.get_config_path."),
    NOARGS(get_interfaces, "List the interfaces inside.\n\n"
           "Wraps lxc_container.get_interfaces."),
    KEYWORDS(get_ips, "interface=None, family=None, scope=0",
             "List the addresses inside.\n\nWraps lxc_container.get_ips."),
    KEYWORDS(get_keys, "key=None", "List the keys below one, a line each.\n\n"
             "Wraps lxc_container.get_keys."),
    KEYWORDS(get_running_config_item, "key",
             "Read an item from the monitor.\n\n"
             "Wraps lxc_container.get_running_config_item."),
    NOARGS(init_pidfd, "Return a pidfd of init.\n\nWraps lxc_container.init_pidfd."),
    KEYWORDS(load_config, "path=None",
             "Add a file to the configuration in memory.\n\n"
             "Wraps lxc_container.load_config."),
    KEYWORDS(migrate, "cmd, directory=None, verbose=False, stop=False, predump_dir=None, "
             "pageserver_address=None, pageserver_port=None, preserves_inodes=False, "
             "action_script=None, disable_skip_in_flight=False, ghost_limit=0, "
             "features_to_check=0",
             "Have criu do one of MIGRATE_*; return whether it did, and the features.\n\n"
             "Wraps lxc_container.migrate."),
    KEYWORDS(mount, "source, target, filesystemtype=None, mountflags=0, data=None",
             "Mount a path of the host inside.\n\nWraps lxc_container.mount."),
    NOARGS(reboot, "Tell init to reboot.\n\nWraps lxc_container.reboot."),
    KEYWORDS(reboot2, "timeout=-1",
             "Tell init to reboot and wait for it.\n\nWraps lxc_container.reboot2."),
    KEYWORDS(remove_device_node, "src_path, dest_path=None",
             "Take a device away.\n\nWraps lxc_container.remove_device_node."),
    KEYWORDS(rename, "new_name", "Rename it on disk.\n\nWraps lxc_container.rename."),
    KEYWORDS(restore, "directory, verbose=False",
             "Start it from what checkpoint() wrote.\n\nWraps lxc_container.restore."),
    KEYWORDS(save_config, "path=None",
             "Write the configuration.\n\nWraps lxc_container.save_config."),
    NOARGS(seccomp_notify_fd, "Return a descriptor of the handle's seccomp notifier.\n\n"
           "Wraps lxc_container.seccomp_notify_fd."),
    NOARGS(seccomp_notify_fd_active,
           "Return a descriptor of the container's seccomp notifier.\n\n"
           "Wraps lxc_container.seccomp_notify_fd_active."),
    KEYWORDS(set_cgroup_item, "key, value",
             "Write a cgroup's file.\n\nWraps lxc_container.set_cgroup_item."),
    FAST(set_config_item, "key, value",
             "Set or add to one item in memory.\n\nWraps lxc_container.set_config_item."),
    KEYWORDS(set_config_path, "path",
             "Change the lxcpath of this object.\n\nWraps lxc_container.set_config_path."),
    KEYWORDS(set_timeout, "timeout",
             "Limit how long a monitor may take to tell the state.\n\n"
             "Wraps lxc_container.set_timeout."),
    KEYWORDS(shutdown, "timeout=-1",
             "Ask init to halt and wait for it.\n\nWraps lxc_container.shutdown."),
    KEYWORDS(snapshot, "comment_path=None",
             "Make a snapshot; return its name or False.\n\nWraps lxc_container.snapshot."),
    KEYWORDS(snapshot_destroy, "name",
             "Remove a snapshot.\n\nWraps lxc_container.snapshot_destroy."),
    NOARGS(snapshot_destroy_all, "Remove all snapshots.\n\n"
           "Wraps lxc_container.snapshot_destroy_all."),
    NOARGS(snapshot_list, "List (name, comment path, timestamp, lxcpath).\n\n"
           "Wraps lxc_container.snapshot_list."),
    KEYWORDS(snapshot_restore, "name, newname=None",
             "Restore a snapshot.\n\nWraps lxc_container.snapshot_restore."),
    KEYWORDS(start, "useinit=False, daemonize=True, close_fds=False, cmd=None",
             "Start the container.\n\nWraps lxc_container.start."),
    NOARGS(stop, "Kill the container.\n\nWraps lxc_container.stop."),
    KEYWORDS(umount, "target, mountflags=0",
             "Unmount a path inside.\n\nWraps lxc_container.umount."),
    NOARGS(unfreeze, "Thaw all processes.\n\nWraps lxc_container.unfreeze."),
    KEYWORDS(wait, "state, timeout=-1",
             "Wait for a state.\n\nWraps lxc_container.state, again and again."),
    {"_list", (PyCFunction)(void (*)(void))Container__list,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     "_list($type, /, active=True, defined=True, config_path=None)\n--\n\n"
     "Return the containers, as objects that are opened when they are first used."},
    {"_create", (PyCFunction)(void (*)(void))Container__create,
     METH_VARARGS | METH_KEYWORDS,
     "_create($self, /, template=None, flags=0, bdevtype=None, fssize=0, args=None, "
     "fstype=None, dir=None, zfsroot=None, vg=None, lv=None, thinpool=None, rbdname=None, "
     "rbdpool=None, rbduser=None)\n--\n\n"
     "Create it; return whether that was done, the end of what the template said, whether "
     "liblxc had the container to itself, whether another program removed it meanwhile, and "
     "whether the template failed."},
    {"_request", (PyCFunction)(void (*)(void))Container__request,
     METH_VARARGS | METH_KEYWORDS,
     "_request($self, /, program, argv, environment, variables, cwd, user, umask, tty, "
     "log)\n--\n\n"
     "Return a descriptor of a request that tells the launcher to run a command."},
    {"_replace_config_item",
     (PyCFunction)(void (*)(void))Container__replace_config_item, METH_FASTCALL,
     "_replace_config_item($self, key, values, /)\n--\n\n"
     "Replace an item's whole value in memory, or leave it and return False."},
    {0},
};

#define PROPERTY(name, getter, doc, closure) {#name, getter, NULL, doc, closure}
static PyGetSetDef Container_properties[] = {
    PROPERTY(config_file_name, get_config_file_name,
             "The path of the configuration file.\n\n"
             "Wraps lxc_container.config_file_name.", NULL),
    PROPERTY(controllable, call_bool,
             "Whether this user may control it.\n\nWraps lxc_container.may_control.",
             &plain_may_control),
    PROPERTY(defined, call_bool,
             "Whether its configuration exists on disk.\n\n"
             "Wraps lxc_container.is_defined.", &plain_is_defined),
    PROPERTY(error_num, get_error_num,
             "The exit status of init after start(daemonize=False).\n\n"
             "Wraps lxc_container.error_num.", NULL),
    PROPERTY(init_pid, get_init_pid,
             "The pid of init as the host sees it, -1 when stopped.\n\n"
             "Wraps lxc_container.init_pid.", NULL),
    PROPERTY(name, get_name, "The container's name.\n\nWraps lxc_container.name.", NULL),
    PROPERTY(running, call_bool,
             "Whether it is running.\n\nWraps lxc_container.is_running.",
             &plain_is_running),
    PROPERTY(state, get_state,
             "Its state, in capitals.\n\nWraps lxc_container.state.", NULL),
    {0},
};

static PyType_Slot Container_slots[] = {
    {Py_tp_doc, "Container(name, config_path=None)\n--\n\nWraps struct lxc_container."},
    {Py_tp_new, Container_new},
    {Py_tp_init, Container_init},
    {Py_tp_dealloc, Container_dealloc},
    {Py_tp_repr, Container_repr},
    {Py_tp_methods, Container_methods},
    {Py_tp_getset, Container_properties},
    {0, NULL},
};
// clang-format on

static PyType_Spec Container_spec = {
    .name = "_lxc.Container",
    .basicsize = sizeof(Container),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = Container_slots,
};

// clang-format off
static PyMethodDef module_functions[] = {
    {"arch_to_personality", module_arch_to_personality, METH_O,
     "arch_to_personality($module, arch, /)\n--\n\n"
     "Return the personality of an architecture; KeyError for an unknown one."},
    {"attach_run_command", module_attach_run_command, METH_O,
     "attach_run_command($module, command, /)\n--\n\n"
     "Become the command, (program, [argument 0, ...]); return only on failure."},
    {"attach_run_shell", module_attach_run_shell, METH_O,
     "attach_run_shell($module, ignored, /)\n--\n\n"
     "Become a shell; return only on failure.  Wraps lxc_attach_run_shell."},
    {"config_item_is_supported", module_config_item_is_supported, METH_O,
     "config_item_is_supported($module, key, /)\n--\n\n"
     "Return whether the key is in liblxc's table.  Wraps lxc_config_item_is_supported."},
    {"features", module_features, METH_NOARGS,
     "features($module, /)\n--\n\n"
     "Return a dict of what the liblxc at hand can do: name to bool.  Wraps "
     "lxc_get_version and lxc_has_api_extension."},
    {"get_global_config_item", (PyCFunction)(void (*)(void))module_get_global_config_item,
     METH_VARARGS | METH_KEYWORDS,
     "get_global_config_item($module, /, key)\n--\n\n"
     "Return an item of lxc.conf.  Wraps lxc_get_global_config_item."},
    {"get_version", module_get_version, METH_NOARGS,
     "get_version($module, /)\n--\n\n"
     "Return liblxc's version.  Wraps lxc_get_version."},
    {"get_wait_states", module_get_wait_states, METH_NOARGS,
     "get_wait_states($module, /)\n--\n\n"
     "Return the names of all states.  Wraps lxc_get_wait_states."},
    {"has_api_extension", module_has_api_extension, METH_O,
     "has_api_extension($module, extension, /)\n--\n\n"
     "Return whether liblxc has an extension.  Wraps lxc_has_api_extension."},
    {"list_containers", (PyCFunction)(void (*)(void))module_list_containers,
     METH_VARARGS | METH_KEYWORDS,
     "list_containers($module, /, active=True, defined=True, config_path=None)\n--\n\n"
     "Return the names of containers.  Wraps list_all_containers and its like."},
    {"_environment", module__environment, METH_VARARGS,
     "_environment($module, known, /)\n--\n\n"
     "Return what the process's environment has and is not known, and what is known and "
     "not there: two lists of NAME=VALUE.  Those known are bytes, a NUL after each."},
    {"_launcher", (PyCFunction)(void (*)(void))module__launcher,
     METH_VARARGS | METH_KEYWORDS,
     "_launcher($module, /, heap=...)\n--\n\n"
     "Return the launcher's path or None; set the heap in bytes from which it is used."},
    {"_launcher_fd", module__launcher_fd, METH_NOARGS,
     "_launcher_fd($module, /)\n--\n\n"
     "Return a descriptor of the launcher as a sealed memory file; OSError if that cannot "
     "be."},
    {"_hear", module__hear, METH_VARARGS,
     "_hear($module, fd, seconds, /)\n--\n\n"
     "Return what the launcher says: (what, value, pid of who said it), None at the "
     "end.  TimeoutError when it is silent for that many seconds; less than 0 wait for "
     "ever."},
    {"_open_beneath", module__open_beneath, METH_VARARGS,
     "_open_beneath($module, pid, path, /)\n--\n\n"
     "Return a descriptor of a plain file beneath the root of a process."},
    {"_socket_pair", module__socket_pair, METH_NOARGS,
     "_socket_pair($module, /)\n--\n\n"
     "Return two descriptors: one for _hear(), the other for the launcher."},
    {"_order", module__order, METH_VARARGS,
     "_order($module, fd, end, /)\n--\n\n"
     "Tell the launcher to end what it runs, or that what is left may go on."},
    {"_heard", module__heard, METH_NOARGS,
     "_heard($module, /)\n--\n\n"
     "Return what is known of this thread's last call, and forget it: (reason, why, lines "
     "of liblxc's log, whether others write there, whether they may have, when it "
     "began)."},
    {"_log_close", module__log_close, METH_NOARGS,
     "_log_close($module, /)\n--\n\nWraps lxc_log_close."},
    {"_log_file", module__log_file, METH_NOARGS,
     "_log_file($module, /)\n--\n\nReturn a descriptor for a log, or -1."},
    {"_log_init", module__log_init, METH_VARARGS,
     "_log_init($module, name, lxcpath, file, level, number, prefix, quiet, /)\n--\n\n"
     "Wraps lxc_log_init."},
    {"_log_level", module__log_level, METH_VARARGS,
     "_log_level($module, level, loud, /)\n--\n\n"
     "Set liblxc's level, by its number, and whether what is said on success counts."},
    {0},
};

static const struct {
    const char *name;
    long value;
} constants[] = {
#define CONSTANT(name) {#name, name}
    CONSTANT(CLONE_NEWIPC),
    CONSTANT(CLONE_NEWNET),
    CONSTANT(CLONE_NEWNS),
    CONSTANT(CLONE_NEWPID),
    CONSTANT(CLONE_NEWUSER),
    CONSTANT(CLONE_NEWUTS),
    CONSTANT(FEATURE_LAZY_PAGES),
    CONSTANT(FEATURE_MEM_TRACK),
    CONSTANT(LXC_ATTACH_CLEAR_ENV),
    CONSTANT(LXC_ATTACH_KEEP_ENV),
    CONSTANT(LXC_ATTACH_DEFAULT),
    CONSTANT(LXC_ATTACH_DETECT_PERSONALITY),
    CONSTANT(LXC_ATTACH_DROP_CAPABILITIES),
    CONSTANT(LXC_ATTACH_LSM),
    CONSTANT(LXC_ATTACH_LSM_EXEC),
    CONSTANT(LXC_ATTACH_LSM_LABEL),
    CONSTANT(LXC_ATTACH_LSM_NOW),
    CONSTANT(LXC_ATTACH_MOVE_TO_CGROUP),
    CONSTANT(LXC_ATTACH_NO_NEW_PRIVS),
    CONSTANT(LXC_ATTACH_REMOUNT_PROC_SYS),
    CONSTANT(LXC_ATTACH_SETGROUPS),
    CONSTANT(LXC_ATTACH_SET_PERSONALITY),
    CONSTANT(LXC_ATTACH_TERMINAL),
    CONSTANT(LXC_CLONE_ALLOW_RUNNING),
    CONSTANT(LXC_CLONE_KEEPBDEVTYPE),
    CONSTANT(LXC_CLONE_KEEPMACADDR),
    CONSTANT(LXC_CLONE_KEEPNAME),
    CONSTANT(LXC_CLONE_MAYBE_SNAPSHOT),
    CONSTANT(LXC_CLONE_SNAPSHOT),
    CONSTANT(LXC_CREATE_QUIET),
    CONSTANT(MIGRATE_DUMP),
    CONSTANT(MIGRATE_FEATURE_CHECK),
    CONSTANT(MIGRATE_PRE_DUMP),
    CONSTANT(MIGRATE_RESTORE),
#undef CONSTANT
};
// clang-format on

static int
module_exec(PyObject *module)
{
    if (!is_new_enough())
        return -1;
    if (!prepare_locks()) {
        PyErr_NoMemory();
        return -1;
    }
    OWNED PyObject *type = PyType_FromSpec(&Container_spec);
    if (type == NULL)
        return -1;
    Py_INCREF(type);
    if (PyModule_AddObject(module, "Container", type) < 0) {
        Py_DECREF(type);
        return -1;
    }
    if (!find_launcher(module))
        return -1;
    if (PyModule_AddStringConstant(module, "LIBLXC_BUILT_FOR", LXC_VERSION) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    return 0;
}

/* Each object has its lock, and what is the process's own has one too.  Interpreters
 * that know these slots want them; older ones refuse what they do not know. */
#define SLOT_INTERPRETERS 3 /* Py_mod_multiple_interpreters, since 3.12 */
#define OWN_GIL ((void *)2) /* Py_MOD_PER_INTERPRETER_GIL_SUPPORTED */
#define SLOT_GIL 4          /* Py_mod_gil, since 3.13 */
#define NO_GIL ((void *)1)  /* Py_MOD_GIL_NOT_USED */

static PyModuleDef_Slot module_slots_until_3_11[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static PyModuleDef_Slot module_slots_of_3_12[] = {
    {Py_mod_exec, module_exec},
    {SLOT_INTERPRETERS, OWN_GIL},
    {0, NULL},
};
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {SLOT_INTERPRETERS, OWN_GIL},
    {SLOT_GIL, NO_GIL},
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_lxc",
    .m_doc = "liblxc's calls, one by one; the package lxc is what to use.",
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__lxc(void)
{
    int minor = 0;

    /* The version of the interpreter that runs: an abi3 extension meets many. */
    sscanf(Py_GetVersion(), "3.%d", &minor);
    if (minor < 13)
        module_definition.m_slots =
            minor < 12 ? module_slots_until_3_11 : module_slots_of_3_12;
    return PyModuleDef_Init(&module_definition);
}

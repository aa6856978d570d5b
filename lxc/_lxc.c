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
#include "_lxc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

/* --- Python's own ------------------------------------------------------------- */

PyObject *
call_in(const char *module_name, const char *function, PyObject *argument)
{
    OWNED PyObject *module = PyImport_ImportModule(module_name);
    /* CPython keeps names that it has looked up: let it always be the same. */
    OWNED PyObject *attribute = PyUnicode_InternFromString(function);

    if (module == NULL || attribute == NULL)
        return NULL;
    return PyObject_CallMethodObjArgs(module, attribute, argument, NULL);
}

bool
flush_streams(void)
{
    OWNED PyObject *done = call_in("lxc._streams", "flush", NULL);

    return done != NULL;
}

/* --- Arguments ---------------------------------------------------------------- */

int
text(PyObject *arg, void *result)
{
    return PyUnicode_FSConverter(arg, result);
}

int
optional_text(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return PyUnicode_FSConverter(arg, result);
}

int
optional_int(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    long value = PyLong_AsLong(arg);
    if (value == -1 && PyErr_Occurred())
        return 0;
    if (value < INT32_MIN || value > INT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%ld does not fit into a C int", value);
        return 0;
    }
    *(int *)result = (int)value;
    return 1;
}

int
optional_bool(PyObject *arg, void *result)
{
    int truth = arg == Py_None ? *(int *)result : PyObject_IsTrue(arg);

    *(int *)result = truth;
    return truth >= 0;
}

/* Seconds, as an int or a float; None leaves the default. */
static int
optional_seconds(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    double value = PyFloat_AsDouble(arg);
    if (value == -1 && PyErr_Occurred())
        return 0;
    if (value != value) {
        PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, not NaN");
        return 0;
    }
    *(double *)result = value;
    return 1;
}

int
optional_size(PyObject *arg, void *result)
{
    if (arg == Py_None)
        return 1;
    *(unsigned long long *)result = PyLong_AsUnsignedLongLong(arg);
    return !PyErr_Occurred();
}

/* liblxc checks no name: ".." would be the directory above, and its lists of names are
 * line by line. */
const char *
why_no_name(const char *s)
{
    return *s == '\0'                                 ? "is empty"
           : !strcmp(s, ".") || !strcmp(s, "..")      ? "is a directory's"
           : strchr(s, '/')                           ? "has a slash"
           : strchr(s, '\n')                          ? "has a line break"
           : strlen(s) > 200 /* with room for more */ ? "is over 200 bytes"
                                                      : NULL;
}

void
drop_word(struct word *word)
{
    Py_XDECREF(word->bytes);
}

bool
word_from(PyObject *arg, struct word *word)
{
    Py_ssize_t size = 0;

    if (PyUnicode_Check(arg)) {
        word->s = PyUnicode_AsUTF8AndSize(arg, &size);
        if (word->s == NULL)
            PyErr_Clear(); /* it has surrogates */
        else if (size == PyUnicode_GetLength(arg) && strlen(word->s) == (size_t)size)
            return true;
    }
    if (!text(arg, &word->bytes))
        return false;
    word->s = c_str(word->bytes);
    return true;
}

bool
parse_fast(PyObject *const *args, Py_ssize_t given, PyObject *keywords,
           const char *format, char **names, Py_ssize_t n, PyObject **parsed)
{
    const Py_ssize_t more = keywords != NULL ? PyTuple_Size(keywords) : 0;
    OWNED PyObject *tuple = NULL, *dict = NULL;

    if (more == 0 && given == n) {
        memcpy(parsed, args, (size_t)n * sizeof(*parsed));
        return true;
    }
    if ((tuple = PyTuple_New(given)) == NULL || (dict = PyDict_New()) == NULL)
        return false;
    for (Py_ssize_t i = 0; i < given; i++)
        PyTuple_SetItem(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; i < more; i++)
        if (PyDict_SetItem(dict, PyTuple_GetItem(keywords, i), args[given + i]) < 0)
            return false;
    return PyArg_ParseTupleAndKeywords(tuple, dict, format, names, &parsed[0],
                                       &parsed[n - 1]);
}

/* The name of a container or snapshot. */
static int
name(PyObject *arg, void *result)
{
    if (!PyUnicode_FSConverter(arg, result) || arg == NULL)
        return arg == NULL;
    const char *wrong = why_no_name(PyBytes_AsString(*(PyObject **)result));
    if (wrong == NULL)
        return Py_CLEANUP_SUPPORTED;
    PyErr_Format(
        PyExc_ValueError,
        "%R is no name for a container or snapshot: it %s; use up to 200 bytes "
        "without '/' and line breaks",
        arg, wrong);
    Py_CLEAR(*(PyObject **)result);
    return 0;
}

static int
optional_name(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return name(arg, result);
}

/* An lxcpath, absolute and normal: it is part of the name of the monitor's socket,
 * where
 * "/p/" is not "/p".  Not resolved: it must equal what other programs use. */
static int
lxcpath(PyObject *arg, void *result)
{
    if (arg == NULL)
        return PyUnicode_FSConverter(arg, result);
    OWNED PyObject *given = NULL;
    if (!PyUnicode_FSConverter(arg, &given))
        return 0;
    if (PyBytes_Size(given) == 0) {
        PyErr_SetString(PyExc_ValueError, "an lxcpath must not be empty");
        return 0;
    }
    OWNED PyObject *path = call_in("os.path", "abspath", given);
    if (path == NULL)
        return 0;
    const char *s = PyBytes_AsString(path);
    if (s == NULL)
        return 0;
    *(PyObject **)result = PyBytes_FromString(s[0] == '/' && s[1] == '/' ? s + 1 : s);
    return *(PyObject **)result != NULL ? Py_CLEANUP_SUPPORTED : 0;
}

int
optional_lxcpath(PyObject *arg, void *result)
{
    if (arg == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return lxcpath(arg, result);
}

void
free_strings(char ***strings)
{
    if (*strings == NULL)
        return;
    for (char **s = *strings; *s != NULL; s++)
        free(*s);
    free(*strings);
    *strings = NULL;
}

bool
strings_add(struct strings *strings, const char *s)
{
    if (strings->count == strings->room) {
        const size_t room = strings->room ? 2 * strings->room : 16;
        char **items = realloc(strings->items, room * sizeof(*items));

        if (items == NULL)
            return false;
        strings->items = items;
        strings->room = room;
    }
    if ((strings->items[strings->count] = strdup(s)) == NULL)
        return false;
    strings->count++;
    return true;
}

void
strings_free(struct strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct strings){0};
}

char **
strings_from(PyObject *sequence, const char *what)
{
    if (!PyList_Check(sequence) && !PyTuple_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list or tuple of strings, not %R",
                     what, Py_TYPE(sequence));
        return NULL;
    }
    OWNED PyObject *items = PySequence_List(sequence); /* nobody else can change it */
    if (items == NULL)
        return NULL;
    const Py_ssize_t n = PyList_Size(items);
    char **strings = calloc((size_t)n + 1, sizeof(*strings));

    for (Py_ssize_t i = 0; strings != NULL && i < n; i++) {
        OWNED PyObject *bytes = NULL;

        if (!text(PyList_GetItem(items, i), &bytes)) {
            free_strings(&strings);
            return NULL;
        }
        strings[i] = strdup(PyBytes_AsString(bytes));
        if (strings[i] == NULL)
            free_strings(&strings);
    }
    if (strings == NULL)
        PyErr_NoMemory();
    return strings;
}

/* --- Results ------------------------------------------------------------------ */

static PyObject *
str_or(const char *s, PyObject *otherwise)
{
    return s != NULL ? PyUnicode_DecodeFSDefault(s) : Py_XNewRef(otherwise);
}

/* A str of a string that is freed. */
static PyObject *
take_str(char *s)
{
    PyObject *result = PyUnicode_DecodeFSDefault(s);

    free(s);
    return result;
}

PyObject *
take_strings(char **strings, Py_ssize_t n)
{
    PyObject *tuple = PyTuple_New(n);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *s = tuple != NULL ? PyUnicode_DecodeFSDefault(strings[i]) : NULL;

        free(strings[i]);
        if (s != NULL)
            PyTuple_SetItem(tuple, i, s);
        else
            Py_CLEAR(tuple);
    }
    free(strings);
    return tuple;
}

/* --- The handle --------------------------------------------------------------- */

struct lxc_container *
open_handle(Container *self)
{
    const char *n = c_str(self->name), *p = c_str(self->path);
    struct listening listening;
    struct lxc_container *c = NULL;
    char line[512], file[PATH_MAX];

    snprintf(file, sizeof(file), "%s/%s/config", p, n);
    if (!config_is_readable(file)) {
        PyErr_Format(PyExc_RuntimeError,
                     "liblxc cannot open the container '%s' in '%s': its configuration "
                     "is no regular file",
                     n, p);
        return NULL;
    }
    listen_count(&listening);
    listen_begin(&listening);
    WITHOUT_GIL(c = lxc_container_new(n, p));
    if (c == NULL) {
        listen_keep(&listening);
        listen_first(line, sizeof(line));
        PyErr_Format(PyExc_RuntimeError,
                     "liblxc cannot open the container '%s' in '%s': see that its "
                     "configuration is valid and readable%s",
                     n, p, line);
    }
    listen_end(&listening);
    return c;
}

/* A terminal that console_getfd() gave out: liblxc keeps it busy while `busy` is open.
 */
struct slot {
    struct slot *next;
    int busy, ptx;
    dev_t device;
    ino_t inode;
};

/* Give back the terminals whose descriptor the caller has closed, or all. */
static void
release_slots(Container *self, bool all)
{
    struct slot **link = &self->slots;

    while (*link != NULL) {
        struct slot *slot = *link;
        struct stat status;

        if (!all && fstat(slot->ptx, &status) == 0 && status.st_rdev == slot->device &&
            status.st_ino == slot->inode) {
            link = &slot->next;
            continue;
        }
        *link = slot->next;
        close(slot->busy);
        free(slot);
    }
}

static PyObject *
Container_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self != NULL)
        lock_init(&((Container *)self)->lock, OF_OBJECT);
    return self;
}

static void
Container_dealloc(PyObject *object)
{
    Container *self = (Container *)object;
    PyTypeObject *type = Py_TYPE(object);

    lock_renew(&self->lock);
    release_slots(self, true);
    journal_reset(self);
    /* Where its lock is torn, liblxc would wait for its own. */
    if (self->c != NULL && !self->lock.torn)
        lxc_container_put(self->c);
    place_put(self->place);
    Py_CLEAR(self->name);
    Py_CLEAR(self->path);
    lock_destroy(&self->lock);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

PyObject *
standard_path(void)
{
    const char *standard = lxc_get_global_config_item("lxc.lxcpath");

    return PyBytes_FromString(standard != NULL ? standard : "/var/lib/lxc");
}

/* Parse and remember which container this is.  Nobody else touches the object until
 * its stage says that it is initialized, or not again. */
static bool
set_identity(Container *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "config_path", NULL};
    OWNED PyObject *n = NULL, *path = NULL;
    enum stage stage = UNINITIALIZED;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:Container", names, name, &n,
                                     optional_lxcpath, &path))
        return false;
    if (path == NULL && (path = standard_path()) == NULL)
        return false;
    if (!__atomic_compare_exchange_n(&self->stage, &stage, BEING_INITIALIZED, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        PyErr_SetString(PyExc_RuntimeError, "this Container is initialized already");
        return false;
    }
    self->name = Py_NewRef(n);
    self->path = Py_NewRef(path);
    return true;
}

static int
Container_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Container *self = (Container *)object;

    if (!set_identity(self, args, kwargs))
        return -1;
    if (open_first(self)) {
        __atomic_store_n(&self->stage, INITIALIZED, __ATOMIC_RELEASE);
        return 0;
    }
    Py_CLEAR(self->name);
    Py_CLEAR(self->path);
    __atomic_store_n(&self->stage, UNINITIALIZED, __ATOMIC_RELEASE);
    return -1;
}

PyObject *
open_later(PyTypeObject *type, const char *n, PyObject *path)
{
    OWNED PyObject *bytes = PyBytes_FromString(n);
    PyObject *object = bytes != NULL ? Container_new(type, NULL, NULL) : NULL;

    if (object != NULL) {
        ((Container *)object)->name = Py_NewRef(bytes);
        ((Container *)object)->path = Py_NewRef(path);
        ((Container *)object)->stage = INITIALIZED;
    }
    return object;
}

/* --- Calls that say yes or no ------------------------------------------------- */

/* How many snapshots there are, of that name if one is given; negative where liblxc
 * cannot tell. */
static int
count_snapshots(struct lxc_container *c, const char *snapshot)
{
    struct lxc_snapshot *snapshots = NULL;
    const int n = c->snapshot_list(c, &snapshots);
    int found = n < 0 ? n : 0;

    for (int i = 0; i < n; i++) {
        found += snapshot == NULL || strcmp(snapshots[i].name, snapshot) == 0;
        snapshots[i].free(&snapshots[i]);
    }
    free(snapshots);
    return found;
}

/* Whether lxc.rootfs.path is set. */
static bool
has_root(struct lxc_container *c)
{
    return c->lxc_conf != NULL && c->get_config_item(c, "lxc.rootfs.path", NULL, 0) > 0;
}

/* liblxc 7 crashes where it renames a container that has no root filesystem. */
static bool
can_rename(struct lxc_container *c, const char *ignored)
{
    (void)ignored;
    return has_root(c);
}

/* liblxc crashes where there is no root filesystem to restore to, and destroys the
 * container before it looks for the snapshot. */
static bool
can_restore(struct lxc_container *c, const char *snapshot)
{
    if (!c->is_defined(c) || !has_root(c))
        return false;
    if (count_snapshots(c, snapshot) > 0)
        return true;
    because("there is no snapshot '%s'", snapshot);
    return false;
}

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
BOOL_METHOD(set_cgroup_item, SHARED | ADOPT, "O&O&", c->set_cgroup_item(c, s, t),
            text, text, "key", "value")
BOOL_METHOD(attach_interface, SHARED | ADOPT, "O&|O&", c->attach_interface(c, s, t),
            text, optional_text, "src_ifname", "dst_ifname")
BOOL_METHOD(detach_interface, SHARED | ADOPT, "O&|O&", c->detach_interface(c, s, t),
            text, optional_text, "ifname", "dst_ifname")
BOOL_METHOD(add_device_node, SHARED | ADOPT, "O&|O&", c->add_device_node(c, s, t),
            text, optional_text, "src_path", "dest_path")
BOOL_METHOD(remove_device_node, SHARED | ADOPT, "O&|O&", c->remove_device_node(c, s, t),
            text, optional_text, "src_path", "dest_path")
// clang-format on

/* What a call that forks inside liblxc is given, see call_apart(). */
struct texts {
    struct lxc_container *c;
    const char *s, *t;
};

static int
destroy_now(const void *argument)
{
    const struct texts *texts = argument;

    return texts->c->destroy(texts->c);
}

/* liblxc fails, with nothing done, where there is no directory of snapshots; and where
 * the container runs it removes the snapshots before it refuses to destroy that. */
static int
destroy_with_snapshots_now(const void *argument)
{
    const struct texts *texts = argument;
    struct lxc_container *c = texts->c;

    if (c->is_running(c))
        return false;
    const int n = count_snapshots(c, NULL);

    return n == 0 ? c->destroy(c) : n > 0 && c->destroy_with_snapshots(c);
}

static int
snapshot_destroy_all_now(const void *argument)
{
    const struct texts *texts = argument;
    struct lxc_container *c = texts->c;
    const int n = count_snapshots(c, NULL);

    return n == 0 || (n > 0 && c->snapshot_destroy_all(c));
}

static PyObject *
call_destroying(PyObject *self, int (*call)(const void *))
{
    int ok = false;

    HELD held = hold(self, CONFIG | ADOPT | LISTEN);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const struct texts texts = {c, NULL, NULL};
    /* Else nothing is forked, and no environment changed.  Snapshots may have hooks of
     * their own. */
    const bool forks = geteuid() != 0 || call != destroy_now ||
                       c->get_config_item(c, "lxc.hook.destroy", NULL, 0) > 0;

    if (!forks)
        WITHOUT_GIL(ok = call(&texts));
    else if (!call_apart(call, &texts, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

#define DESTROYING_METHOD(method)                                                      \
    static PyObject *Container_##method(PyObject *self, PyObject *ignored)             \
    {                                                                                  \
        (void)ignored;                                                                 \
        return call_destroying(self, method##_now);                                    \
    }

// clang-format off
DESTROYING_METHOD(destroy)
DESTROYING_METHOD(destroy_with_snapshots)
DESTROYING_METHOD(snapshot_destroy_all)
// clang-format on

typedef int (*converter)(PyObject *, void *);

static PyObject *
call_forking(PyObject *self, PyObject *args, PyObject *kwargs, int what,
             const char *format, char **names, converter s, converter t,
             bool (*is_possible)(struct lxc_container *, const char *),
             int (*call)(const void *))
{
    OWNED PyObject *a = NULL, *b = NULL;
    bool possible = true;
    int ok = false;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, s, &a, t, &b))
        return NULL;
    HELD held = hold(self, what | LISTEN);
    if (held.c == NULL)
        return NULL;
    const struct texts texts = {held.c, c_str(a), c_str(b)};
    if (is_possible != NULL)
        WITHOUT_GIL(possible = is_possible(texts.c, texts.s));
    if (possible && !call_apart(call, &texts, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

#define FORKING_METHOD(method, what, format, is_possible, expression, s_converter,     \
                       t_converter, ...)                                               \
    static int method##_now(const void *argument)                                      \
    {                                                                                  \
        const struct texts *texts = argument;                                          \
        struct lxc_container *c = texts->c;                                            \
        const char *s = texts->s, *t = texts->t;                                       \
        (void)t;                                                                       \
        return expression;                                                             \
    }                                                                                  \
    static PyObject *Container_##method(PyObject *self, PyObject *args,                \
                                        PyObject *kwargs)                              \
    {                                                                                  \
        static char *names[] = {__VA_ARGS__, NULL};                                    \
        return call_forking(self, args, kwargs, what, format ":" #method, names,       \
                            s_converter, t_converter, is_possible, method##_now);      \
    }

// clang-format off
FORKING_METHOD(rename, CONFIG | RELOAD, "O&", can_rename, c->rename(c, s),
               name, text, "new_name")
FORKING_METHOD(snapshot_destroy, CONFIG | ADOPT, "O&", NULL,
               c->snapshot_destroy(c, s), name, text, "name")
FORKING_METHOD(snapshot_restore, CONFIG | RELOAD, "O&|O&", can_restore,
               c->snapshot_restore(c, s, t), name, optional_name, "name", "newname")
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
PLAIN(is_running, SHARED)
PLAIN(may_control, SHARED)
BOOL_NOARGS(freeze, SHARED | ADOPT | LISTEN)
BOOL_NOARGS(unfreeze, SHARED | ADOPT | LISTEN)
BOOL_NOARGS(stop, SHARED | LISTEN)
BOOL_NOARGS(reboot, SHARED | ADOPT | LISTEN)
// clang-format on

/* --- Calls that return text --------------------------------------------------- */

typedef int (*read_fn)(struct lxc_container *, const char *, char *, int);

/* Read a whole value into *value, or NULL into it if there is none.  The value may grow
 * between two reads, so read until it fits.  False: out of memory. */
static bool
read_all(struct lxc_container *c, read_fn read, const char *key, char **value)
{
    for (int size = 1024;; size *= 2) {
        int got;

        if ((*value = calloc(1, (size_t)size + 1)) == NULL)
            return false;
        got = read(c, key, *value, size);
        if (got >= 0 && got < size) {
            (*value)[got] = '\0';
            return true;
        }
        free(*value);
        *value = NULL;
        if (got < 0 || size > INT32_MAX / 4)
            return true;
    }
}

static PyObject *
value_or_key_error(bool ok, char *value, const char *key)
{
    if (!ok)
        return PyErr_NoMemory();
    if (value != NULL)
        return take_str(value);
    OWNED PyObject *shown = str_or(key, Py_None);
    if (shown != NULL)
        PyErr_SetObject(PyExc_KeyError, shown);
    return NULL;
}

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
    HELD held = hold(self, SHARED | ADOPT | LISTEN);
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
    HELD held = hold(self, SHARED);
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
    HELD held = hold(self, SHARED);
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

/* --- Configuration files ------------------------------------------------------ */

static void
put_back(const char *path, const char *content, size_t length)
{
    int fd;

    if (content == NULL) {
        unlink(path);
        return;
    }
    /* There is room: the file had it before. */
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    while (fd >= 0 && length > 0) {
        ssize_t done = write(fd, content, length);

        if (done <= 0)
            break;
        content += done;
        length -= (size_t)done;
    }
    if (fd >= 0)
        close(fd);
}

enum saved { REFUSED, SAVED, CUT_SHORT, UNREAD };

/* To a pipe or a device, as /dev/stdout can be: liblxc would wait for its reader. */
static enum saved
save_to_stream(struct lxc_container *c, const char *path)
{
    int memory = memfd_create("config", MFD_CLOEXEC), fd;
    enum saved saved = REFUSED;
    size_t left = 0;
    ssize_t done = 0;
    char file[32], *text = NULL, *rest;

    if (memory < 0)
        return REFUSED;
    snprintf(file, sizeof(file), "/proc/self/fd/%d", memory);
    if (c->save_config(c, file) && (text = config_read(file, &left)) != NULL) {
        saved = UNREAD;
        fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        for (rest = text; fd >= 0 && left > 0; rest += done, left -= (size_t)done)
            if ((done = write(fd, rest, left)) <= 0)
                break;
        if (fd >= 0 && left == 0)
            saved = SAVED;
        if (fd >= 0)
            close(fd);
    }
    free(text);
    close(memory);
    return saved;
}

/* liblxc does not notice a full disk: compare what the file holds with what it should,
 * and put the old one back. */
static enum saved
save_whole(struct lxc_container *c, const char *path)
{
    const char *file = path != NULL ? path : c->configfile;
    size_t old_length, is_length, should_length;
    char *old, *is, *should, memory[32];
    struct stat status;
    const bool existed = stat(file, &status) == 0;
    enum saved saved;
    int fd;

    if (existed && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return save_to_stream(c, file);
    old = config_read(file, &old_length);
    saved = c->save_config(c, path) ? SAVED : REFUSED;

    if (saved == SAVED && (fd = memfd_create("config", MFD_CLOEXEC)) >= 0) {
        snprintf(memory, sizeof(memory), "/proc/self/fd/%d", fd);
        if (c->save_config(c, memory)) {
            is = config_read(file, &is_length);
            should = config_read(memory, &should_length);
            if (is != NULL && should != NULL &&
                (is_length != should_length || memcmp(is, should, is_length) != 0)) {
                saved = CUT_SHORT;
                if (old != NULL || !existed)
                    put_back(file, old, old_length);
            }
            free(is);
            free(should);
        }
        close(fd);
    }
    free(old);
    return saved;
}

static int
save_now(const void *argument)
{
    const struct texts *texts = argument;

    return save_whole(texts->c, texts->s);
}

static PyObject *
Container_save_config(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    OWNED PyObject *path = NULL;
    int saved = REFUSED;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:save_config", names,
                                     optional_text, &path))
        return NULL;
    /* liblxc forks for that only where the caller is no root. */
    const bool forks = geteuid() != 0;
    HELD held = hold(self, ALONE | ADOPT | LISTEN | (forks ? 0 : UMASK));
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const struct texts texts = {c, c_str(path), NULL};

    if (!forks)
        WITHOUT_GIL(saved = save_now(&texts));
    else if (!call_apart(save_now, &texts, &saved))
        return NULL;
    if (saved == CUT_SHORT)
        because("%s could not be written whole: is the disk full?",
                texts.s != NULL ? texts.s : c->configfile);
    if (saved == UNREAD)
        because("%s is no regular file, and is not being read",
                texts.s != NULL ? texts.s : c->configfile);
    if (saved == SAVED && texts.s == NULL) {
        read_stamp(c->configfile, &held.self->file);
        journal_reset(held.self);
        held.self->cleared = false;
    }
    return PyBool_FromLong(answer(&held, saved == SAVED));
}

static PyObject *
Container_set_config_path(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    OWNED PyObject *path = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:set_config_path", names, lxcpath,
                                     &path))
        return NULL;
    HELD held = hold(self, ALONE);
    if (held.c == NULL)
        return NULL;
    if (held.c->lxc_conf != NULL)
        journal_moved(held.self);
    if (!held.c->set_config_path(held.c, c_str(path)))
        Py_RETURN_FALSE;
    read_stamp(held.c->configfile, &held.self->file);
    place_put(held.self->place);
    held.self->place = NULL;
    set_path(held.self, path);
    Py_RETURN_TRUE;
}

/* --- Life and death ----------------------------------------------------------- */

struct clone {
    struct lxc_container *c;
    const char *newname, *lxcpath, *bdevtype, *bdevdata;
    int flags;
    uint64_t newsize;
    char **hookargs;
};

static int
clone_now(const void *argument)
{
    const struct clone *clone = argument;
    struct lxc_container *c = clone->c;
    struct lxc_container *made =
        c->clone(c, clone->newname, clone->lxcpath, clone->flags, clone->bdevtype,
                 clone->bdevdata, clone->newsize, clone->hookargs);

    if (made != NULL)
        lxc_container_put(made);
    return made != NULL;
}

static PyObject *
Container_clone(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"newname",  "config_path", "flags",    "bdevtype",
                            "bdevdata", "newsize",     "hookargs", NULL};
    OWNED PyObject *newname = NULL, *path = NULL, *bdevtype = NULL, *bdevdata = NULL;
    PyObject *hookargs = NULL;
    STRINGS argv = NULL;
    unsigned long long newsize = 0;
    int flags = 0, ok = false;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&O&O&O&O&O:clone", names, name,
                                     &newname, optional_lxcpath, &path, optional_int,
                                     &flags, optional_text, &bdevtype, optional_text,
                                     &bdevdata, optional_size, &newsize, &hookargs))
        return NULL;
    if (hookargs != NULL && hookargs != Py_None) {
        if (!PyList_Check(hookargs) && !PyTuple_Check(hookargs)) {
            PyErr_SetString(PyExc_ValueError, "hookargs must be a tuple or list");
            return NULL;
        }
        if ((argv = strings_from(hookargs, "hookargs")) == NULL)
            return NULL;
    }
    HELD held = hold(self, CONFIG | RELOAD | LISTEN);
    if (held.c == NULL)
        return NULL;
    if (held.c->lxc_conf == NULL) {
        because_it(NOT_DEFINED);
        Py_RETURN_FALSE;
    }
    const struct clone clone = {.c = held.c,
                                .newname = c_str(newname),
                                .lxcpath = c_str(path),
                                .bdevtype = c_str(bdevtype),
                                .bdevdata = c_str(bdevdata),
                                .flags = flags,
                                .newsize = newsize,
                                .hookargs = argv};
    if (!call_apart(clone_now, &clone, &ok))
        return NULL;
    return PyBool_FromLong(answer(&held, ok));
}

static int
snapshot_now(const void *argument)
{
    const struct texts *texts = argument;

    return texts->c->snapshot(texts->c, texts->s);
}

static PyObject *
Container_snapshot(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"comment_path", NULL};
    OWNED PyObject *comment = NULL;
    int number = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:snapshot", names, optional_text,
                                     &comment))
        return NULL;
    HELD held = hold(self, CONFIG | RELOAD | LISTEN);
    if (held.c == NULL)
        return NULL;
    const struct texts texts = {held.c, c_str(comment), NULL};
    /* liblxc would make the snapshot first and then fail to copy the comment. */
    if (texts.s != NULL && access(texts.s, R_OK) < 0) {
        because("the comment file %s cannot be read: %s", texts.s, strerror(errno));
        Py_RETURN_FALSE;
    }
    if (held.c->lxc_conf != NULL && !call_apart(snapshot_now, &texts, &number))
        return NULL;
    if (!answer(&held, number >= 0))
        Py_RETURN_FALSE;
    return PyUnicode_FromFormat("snap%d", number);
}

static PyObject *
Container_snapshot_list(PyObject *self, PyObject *ignored)
{
    struct lxc_snapshot *snapshots = NULL;
    int n;

    (void)ignored;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(n = c->snapshot_list(c, &snapshots));
    if (n < 0) {
        PyErr_Format(PyExc_KeyError,
                     "the snapshots of '%s' cannot be listed: is it defined?", c->name);
        return NULL;
    }
    PyObject *list = PyTuple_New(n);
    for (int i = 0; i < n; i++) {
        struct lxc_snapshot *s = &snapshots[i];
        PyObject *entry = list == NULL
                              ? NULL
                              : Py_BuildValue("NNNN", str_or(s->name, Py_None),
                                              str_or(s->comment_pathname, Py_None),
                                              str_or(s->timestamp, Py_None),
                                              str_or(s->lxcpath, Py_None));

        s->free(s);
        if (entry != NULL)
            PyTuple_SetItem(list, i, entry);
        else
            Py_CLEAR(list);
    }
    free(snapshots);
    return list;
}

/* --- Waiting for a state ------------------------------------------------------ */

static const char *const known_states[] = {"STOPPED",  "STARTING", "RUNNING",
                                           "STOPPING", "ABORTING", "FREEZING",
                                           "FROZEN",   "THAWED"};

/* Whether `states`, names separated by "|", has that one. */
static bool
has_state(const char *states, const char *state)
{
    const size_t length = strlen(state);

    for (const char *s = states; s != NULL; s = strchr(s, '|')) {
        s += *s == '|';
        if (strncmp(s, state, length) == 0 && (s[length] == '\0' || s[length] == '|'))
            return true;
    }
    return false;
}

/* Between two looks at a state.  1 to look again, 0 time is up, -1 exception. */
static int
pause_until(double deadline, bool for_ever)
{
    const double left = for_ever ? STEP : deadline - monotonic();

    if (left <= 0)
        return 0;
    WITHOUT_GIL(nap(left < STEP ? left : STEP));
    return PyErr_CheckSignals() < 0 ? -1 : 1;
}

/* Wait until the container is in one of the states.  1 it is, 0 time is up, -1
 * exception.
 *
 * liblxc's own wait restarts with the whole timeout after each signal, takes 0 for "for
 * ever" when the container is up, and cannot be interrupted: look at the state instead.
 */
static int
wait_for(PyObject *self, const char *states, double timeout)
{
    const double deadline = monotonic() + timeout;

    for (;;) {
        const char *state;
        int going;

        {
            HELD held = hold(self, SHARED); /* for a step only */
            if (held.c == NULL)
                return -1;
            struct lxc_container *c = held.c;
            WITHOUT_GIL(state = c->state(c));
        }
        if (state != NULL && has_state(states, state))
            return 1;
        going = pause_until(deadline, timeout < 0);
        if (going <= 0)
            return going;
    }
}

static PyObject *
Container_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"state", "timeout", NULL};
    OWNED PyObject *states = NULL;
    double timeout = -1;
    bool possible = false;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:wait", names, text, &states,
                                     optional_seconds, &timeout))
        return NULL;
    for (size_t i = 0; i < sizeof(known_states) / sizeof(*known_states); i++)
        possible = possible || has_state(c_str(states), known_states[i]);
    if (!possible) {
        HELD held = hold(self, SHARED);
        if (held.c == NULL)
            return NULL;
        because("'%s' is no state of a container", c_str(states));
        Py_RETURN_FALSE;
    }
    reached = wait_for(self, c_str(states), timeout);
    if (reached < 0)
        return NULL;
    if (reached == 0)
        because_of(TIMED_OUT, "it did not get to %s in %g seconds", c_str(states),
                   timeout);
    return PyBool_FromLong(reached);
}

static PyObject *
Container_shutdown(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    double timeout = -1;
    bool ok;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:shutdown", names,
                                     optional_seconds, &timeout))
        return NULL;
    {
        HELD held = hold(self, SHARED | ADOPT | PIDFD | LISTEN);
        if (held.c == NULL)
            return NULL;
        struct lxc_container *c = held.c;
        WITHOUT_GIL(ok = c->shutdown(c, 0));
        answer(&held, ok || timeout != 0);
    }
    if (timeout == 0)
        return PyBool_FromLong(ok);
    reached = wait_for(self, "STOPPED", timeout);
    if (reached < 0)
        return NULL;
    if (reached == 0)
        because_of(TIMED_OUT, "it did not shut down in %g seconds", timeout);
    return PyBool_FromLong(reached);
}

/* Whether init is another process by now, and runs.  1 it is, 0 time is up, -1
 * exception; 0 with a reason where the monitor is gone: it will not come back. */
static int
wait_for_reboot(PyObject *self, pid_t old, pid_t monitor, double timeout)
{
    const double deadline = monotonic() + timeout;

    for (;;) {
        const char *state;
        pid_t pid;
        int going;

        {
            HELD held = hold(self, SHARED); /* for a step only */
            if (held.c == NULL)
                return -1;
            struct lxc_container *c = held.c;
            WITHOUT_GIL(pid = c->init_pid(c); state = c->state(c));
        }
        if (pid > 0 && pid != old && state != NULL && strcmp(state, "RUNNING") == 0)
            return 1;
        if (monitor > 0 && has_ended(monitor)) {
            because("it stopped instead");
            return 0;
        }
        going = pause_until(deadline, timeout < 0);
        if (going == 0)
            because_of(TIMED_OUT, "it did not reboot in %g seconds", timeout);
        if (going <= 0)
            return going;
    }
}

/* liblxc's own wait begins anew, with the whole timeout, after each signal, and it says
 * yes where nothing runs that could reboot. */
static PyObject *
Container_reboot2(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    double timeout = -1;
    pid_t pid, monitor = 0;
    bool ok = false;
    int reached;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:reboot2", names,
                                     optional_seconds, &timeout))
        return NULL;
    {
        HELD held = hold(self, SHARED | RELOAD | LISTEN);
        if (held.c == NULL)
            return NULL;
        struct lxc_container *c = held.c;
        /* The monitor first: init may be gone before the call returns. */
        WITHOUT_GIL(pid = c->init_pid(c); monitor = parent_of(pid);
                    if (pid > 0) ok = c->reboot2(c, 0));
        answer(&held, ok);
    }
    if (!ok || timeout == 0)
        return PyBool_FromLong(ok);
    reached = wait_for_reboot(self, pid, monitor, timeout);
    return reached < 0 ? NULL : PyBool_FromLong(reached);
}

/* --- Terminals ---------------------------------------------------------------- */

static PyObject *
Container_console_getfd(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ttynum", NULL};
    int ttynum = -1, ptx = -1, busy;
    struct slot *slot;
    struct stat status;
    bool running;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:console_getfd", names,
                                     optional_int, &ttynum))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    release_slots(held.self, false);
    WITHOUT_GIL(running = c->is_running(c));
    if (!running) {
        because_it(NOT_RUNNING);
        Py_RETURN_FALSE;
    }
    if ((slot = malloc(sizeof(*slot))) == NULL)
        return PyErr_NoMemory();
    WITHOUT_GIL(busy = c->console_getfd(c, &ttynum, &ptx));
    if (busy < 0) {
        free(slot);
        PyErr_Format(PyExc_ValueError,
                     "no free terminal (ttynum=%d) in the container: see lxc.tty.max",
                     ttynum);
        return NULL;
    }
    fcntl(busy, F_SETFD, FD_CLOEXEC);
    fcntl(ptx, F_SETFD, FD_CLOEXEC);
    fstat(ptx, &status);
    *slot = (struct slot){held.self->slots, busy, ptx, status.st_rdev, status.st_ino};
    held.self->slots = slot;
    return PyLong_FromLong(ptx);
}

/* liblxc crashes without a read_max, and takes what it wrote there for the length.
 * Clearing without reading has 4.0.6 wait for ever: so what is not wanted is dropped
 * here. */
static PyObject *
Container_console_log(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"clear", "read", "read_max", NULL};
    PADDED(struct lxc_console_log, log) padded;
    struct lxc_console_log *log = &padded.log;
    unsigned long long most = 0;
    uint64_t read_max;
    int clear = 0, read = 1, result;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&:console_log", names,
                                     optional_bool, &clear, optional_bool, &read,
                                     optional_size, &most))
        return NULL;
    if (!read && !clear) {
        PyErr_SetString(PyExc_ValueError,
                        "console_log has nothing to do: read, clear, or both");
        return NULL;
    }
    HELD held = hold(self, SHARED | ADOPT | LISTEN);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    read_max = most;
    memset(&padded, 0, sizeof(padded));
    log->clear = clear;
    log->read = true;
    log->read_max = &read_max;
    WITHOUT_GIL(result = c->console_log(c, log));
    if (result == -ENODATA) /* it is empty */
        return PyBytes_FromString("");
    if (!answer(&held, result >= 0)) {
        if (result == -EFAULT)
            because("it was started without lxc.console.buffer.size");
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (log->data == NULL)
        return PyBytes_FromString("");
    PyObject *bytes =
        PyBytes_FromStringAndSize(log->data, read ? (Py_ssize_t)read_max : 0);
    free(log->data);
    return bytes;
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

static bool
append_text(PyObject *list, const char *value)
{
    OWNED PyObject *item = PyUnicode_DecodeFSDefault(value);

    return item != NULL && PyList_Append(list, item) == 0;
}

/* Of entries with a NUL after each. */
static bool
is_among(const char *entries, Py_ssize_t size, const char *wanted)
{
    for (const char *entry = entries; entry < entries + size;
         entry += strlen(entry) + 1)
        if (strcmp(entry, wanted) == 0)
            return true;
    return false;
}

static bool
is_in_environment(const char *wanted)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (strcmp(*variable, wanted) == 0)
            return true;
    return false;
}

/* What the process's environment has and is not known, and the other way round.  In C,
 * as it is asked in a forked child: what it only reads is not copied for it. */
static PyObject *
module__environment(PyObject *module, PyObject *args)
{
    OWNED PyObject *fresh = PyList_New(0), *gone = PyList_New(0);
    const char *known;
    Py_ssize_t size;

    (void)module;
    if (fresh == NULL || gone == NULL ||
        !PyArg_ParseTuple(args, "y#:_environment", &known, &size))
        return NULL;
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (!is_among(known, size, *variable) && !append_text(fresh, *variable))
            return NULL;
    for (const char *entry = known; entry < known + size; entry += strlen(entry) + 1)
        if (!is_in_environment(entry) && !append_text(gone, entry))
            return NULL;
    return PyTuple_Pack(2, fresh, gone);
}

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
     "_request($self, /, program, argv, environment, variables, cwd, user, umask, leash, "
     "tty, log)\n--\n\n"
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
     "Return what the launcher says: (what, value), None at the end.  TimeoutError "
     "when it is silent for that many seconds; less than 0 wait for ever."},
    {"_open_beneath", module__open_beneath, METH_VARARGS,
     "_open_beneath($module, pid, path, /)\n--\n\n"
     "Return a descriptor of a plain file beneath the root of a process."},
    {"_socket_pair", module__socket_pair, METH_NOARGS,
     "_socket_pair($module, /)\n--\n\n"
     "Return two descriptors: one for _hear(), the other for the launcher."},
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

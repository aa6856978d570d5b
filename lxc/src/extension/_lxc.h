/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the C files of the extension share.
 *
 *   lock.c      the locks of an object, of a container and of the umask, and forks
 *   addresses.c the interfaces and addresses inside a running container
 *   apart.c     calls that are made in a forked C child: start, console
 *   spawn.c     calls that are made by the launcher, and what it must know for that
 *   commands.c  what run() and popen() need of C, for process.py
 *   attach.c    attach and attach_wait
 *   create.c    create
 *   migrate.c   checkpoint, restore and migrate, which criu does
 *   mount.c     mount and umount
 *   items.c     the items of a configuration, and the lines that are saved of them
 *   journal.c   what was done to a configuration since its file was read
 *   features.c  what the liblxc at hand can do, and the calls that not every one has
 *   listing.c   the containers of an lxcpath
 *   reasons.c   why a call said no
 *   _lxc.c      everything else: helpers, calls by shape, Container, the module
 */
#ifndef PYTHON_LXC_H
#define PYTHON_LXC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "request.h"
#include "work.h"

#include <lxc/lxccontainer.h>
#include <lxc/version.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* --- Memory and the GIL ------------------------------------------------------- */

/* Run statements without the GIL.  C values only: no Python API inside. */
#define WITHOUT_GIL(...)                                                               \
    do {                                                                               \
        Py_BEGIN_ALLOW_THREADS __VA_ARGS__;                                            \
        Py_END_ALLOW_THREADS                                                           \
    } while (0)

static inline void
drop(PyObject **object)
{
    Py_XDECREF(*object);
}

/* A local reference that is dropped on every way out of the function. */
#define OWNED __attribute__((cleanup(drop)))

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_XNewRef(PyObject *object)
{
    Py_XINCREF(object);
    return object;
}
#define Py_NewRef Py_XNewRef
#endif

void free_strings(char ***strings);

/* A NULL-terminated array of strings of our own, freed on every way out. */
#define STRINGS __attribute__((cleanup(free_strings))) char **

/* Strings of our own that are gathered one by one. */
struct strings {
    char **items;
    size_t count, room;
};

bool strings_add(struct strings *strings, const char *s); /* false: out of memory */
void strings_sort(struct strings *strings);               /* by their bytes */
void strings_free(struct strings *strings);

/* A tuple of str of n strings, which are freed with their array. */
PyObject *take_strings(char **strings, Py_ssize_t n);

/* --- Locks (lock.c) ----------------------------------------------------------- */

/* How much of a handle a call needs for itself.
 *
 * liblxc's handles are not safe for concurrent use.  SHARED calls only read the name
 * and the path and talk to the container's monitor; CONFIG calls use the in-memory
 * configuration or liblxc's own lock of the handle, one at a time; ALONE calls free or
 * replace what the others read. */
enum hold_mode { SHARED = 0, CONFIG = 1, ALONE = 2 };

/* To be combined with a mode. */
enum hold_extra {
    UMASK = 4,   /* the call changes the process's umask for a while */
    PIDFD = 8,   /* the call has a pidfd of the container's init open, see attach.c */
    ADOPT = 16,  /* a configuration that appeared on disk since is to be loaded first */
    RELOAD = 32, /* and also where clear_config() took it away */
    LISTEN = 64, /* where the call fails, what liblxc says of it is wanted */
};

struct actor;
struct holding;
struct waiter;

/* The order in which a call takes locks: an object's, its container's, the umask's. */
enum lock_rank { OF_OBJECT, OF_CONTAINER, OF_PROCESS };

struct lock {
    pthread_mutex_t mutex; /* held for a few instructions, never across a call */
    pthread_cond_t changed;
    enum lock_rank rank;
    unsigned long generation; /* of the process: a forked child finds an older one */
    struct holding *holders;
    const struct actor *owner; /* the one that holds it as CONFIG or ALONE */
    bool torn;                 /* see lock_renew() */
    struct waiter *waiters;    /* who came first is first */
    unsigned long tickets;     /* given out so far */
    unsigned long search[3];   /* the last one that came by, for each mode */
};

bool prepare_locks(void);
void lock_init(struct lock *lock, enum lock_rank rank);
void lock_destroy(struct lock *lock);

/* In a forked child take an inherited lock for new.  It is torn from then on if another
 * thread than the one that forked held it: what it guards may be in pieces. */
void lock_renew(struct lock *lock);

typedef struct Container Container;

/* Take a lock, of that object or, with NULL, the umask's; the GIL is held before and
 * after, and given up while waiting.  False with an exception if a signal handler
 * raised one, or if the thread would wait for itself: it is in a signal handler or a
 * finalizer that interrupted a call of its own. */
bool lock_take(struct lock *lock, enum hold_mode mode, const Container *self);
void lock_drop(struct lock *lock, enum hold_mode mode);

/* In a forked child that runs a function instead of going on with the call. */
void locks_forget(void);

/* A number that is another one after each fork. */
unsigned long process_generation(void);

/* The lock of the process's umask, likewise. */
bool umask_take(void);
void umask_drop(void);

/* What all objects of one container share in this process. */
struct place;
void place_put(struct place *place);

/* --- Container ---------------------------------------------------------------- */

struct notes {
    char **entries; /* see enum note; NULL at the end */
    size_t n, room;
};

/* What was done to a handle since its file was read: see journal.c. */
struct journal {
    struct notes notes;
    char *base;  /* what the file said; NULL: not known, or nothing was changed */
    char *fixed; /* the lines that clearing an item leaves; NULL: as above */
    struct lxc_container *outline; /* see journal_outline() */
    bool spoilt;                   /* there was something that cannot be repeated */
};

struct slot;

/* How far __init__() is. */
enum stage { UNINITIALIZED, BEING_INITIALIZED, INITIALIZED };

/* What changes after __init__() changes under the lock: error_num and place can be set
 * by several at once, and get_path() needs no lock. */
struct Container {
    PyObject_HEAD
    enum stage stage;
    PyObject *name;          /* bytes, the same from __init__() on */
    PyObject *path;          /* bytes: the lxcpath */
    struct lxc_container *c; /* NULL until first used, where that is put off */
    struct lock lock;
    struct place *place; /* NULL until first needed */
    struct stamp file;   /* the configuration file as this handle read or wrote it */
    bool unsaved;        /* the handle's configuration was changed since */
    struct journal journal;
    bool cleared; /* clear_config() took it away on purpose */
    int error_num;
    int timeout;        /* of set_timeout(); 0 if that was not called */
    struct slot *slots; /* terminals that console_getfd() holds */
};

/* A call that is listened to: see reasons.c. */
struct listening {
    struct mark mark;
    unsigned long number; /* of the call */
    bool alone;           /* no other was being made when it began */
};

/* A handle that is held for a call; let go on every way out of the function. */
struct held {
    Container *self;
    struct lxc_container *c; /* NULL with an exception if there is none to be had */
    int what;
    struct listening listening;
};

static inline bool
is_initialized(const Container *self)
{
    return __atomic_load_n(&self->stage, __ATOMIC_ACQUIRE) == INITIALIZED;
}

/* The lxcpath, a new reference; no call has to be waited for. */
PyObject *get_path(Container *self);
void set_path(Container *self, PyObject *path);

bool open_first(Container *self);
struct held hold(PyObject *self, int what);
void let_go(struct held *held);
#define HELD __attribute__((cleanup(let_go))) struct held

/* A handle of our own for the same container, read from the same file; GIL held. */
struct lxc_container *open_handle(Container *self);

/* An object that is opened when it is first used; type is Container or below it. */
PyObject *open_later(PyTypeObject *type, const char *name, PyObject *path);

/* --- The journal (journal.c) -------------------------------------------------- */

/* Whether the handle's configuration may differ from its file. */
bool has_unsaved(const struct held *held);

/* Whether another handle can be given the same configuration. */
bool journal_is_exact(const struct held *held);

/* A handle of our own like the one that is held, with what is not saved of it; GIL
 * held. NULL where there is none, which may be with an exception. */
struct lxc_container *open_like(const struct held *held);

/* Note what was done to the configuration; CONFIG or ALONE is held. */
void journal_note(Container *self, enum note what, const char *first,
                  const char *second);
void journal_moved(Container *self); /* the file is about to be another */
void journal_spoil(Container *self);
void journal_reset(Container *self); /* handle and file are the same again */

/* Whether there are lines that stay when their item is cleared, and a handle that has
 * nothing but them; NULL where there are none. */
bool journal_has_fixed(Container *self);
struct lxc_container *journal_outline(Container *self);
void journal_new_outline(Container *self); /* it was used for something else */

/* Whether lxc.mount.auto has a "shmounts:" without a path, which hangs the start. */
bool journal_has_bare_shmounts(Container *self);

bool notes_add(struct notes *notes, const char *entry); /* false: out of memory */
void notes_free(struct notes *notes);

/* --- Items (items.c) ---------------------------------------------------------- */

PyObject *Container__replace_config_item(PyObject *self, PyObject *const *args,
                                         Py_ssize_t n);
PyObject *Container_clear_config(PyObject *self, PyObject *ignored);
PyObject *Container_clear_config_item(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_load_config(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_set_config_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *keywords);

/* --- Versions (features.c) ---------------------------------------------------- */

bool is_new_enough(void); /* or an ImportError */

/* Whether the liblxc at hand has them, or a NotImplementedError. */
bool has_groups(void);
bool has_lsm_label(void);
bool has_rbduser(void);
void set_rbduser(struct bdev_specs *specs, char *rbduser);
bool apply_timeout(struct lxc_container *c, int timeout);
PyObject *Container_devpts_fd(PyObject *self, PyObject *ignored);
PyObject *Container_init_pidfd(PyObject *self, PyObject *ignored);
PyObject *Container_seccomp_notify_fd(PyObject *self, PyObject *ignored);
PyObject *Container_seccomp_notify_fd_active(PyObject *self, PyObject *ignored);
PyObject *Container_set_timeout(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module_features(PyObject *module, PyObject *ignored);

/* --- Reasons (reasons.c) ------------------------------------------------------- */

/* Cases that callers must be able to tell apart. */
enum why { UNKNOWN, NOT_DEFINED, NOT_RUNNING, FROZEN, TIMED_OUT, DISK_FULL, ENDED };

/* Why the last call of this thread said no, where the binding itself knows. */
void because_it(enum why state); /* is not defined, not running, frozen */
void because_of(enum why kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#define because(...) because_of(UNKNOWN, __VA_ARGS__)
void no_reason(void);

/* What a call with LISTEN returned; where that is no, what liblxc said is kept. */
bool answer(const struct held *held, bool ok);

/* The parts of that: hold() counts and begins, let_go() ends. */
bool prepare_listening(void);
void listen_count(struct listening *listening);
void listen_begin(struct listening *listening);
void listen_keep(const struct listening *listening);
void listen_end(struct listening *listening);
void listen_first(char *line, size_t size); /* " (MESSAGE)", or nothing */
void listen_forked(void);

PyObject *module__heard(PyObject *module, PyObject *ignored);
PyObject *module__log_close(PyObject *module, PyObject *ignored);
PyObject *module__log_file(PyObject *module, PyObject *ignored);
PyObject *module__log_init(PyObject *module, PyObject *args);
PyObject *module__log_level(PyObject *module, PyObject *args);

/* Call a function of a Python module, without an argument if that is NULL. */
PyObject *call_in(const char *module_name, const char *function, PyObject *argument);

/* What was printed before comes before the output of what is about to run.  False with
 * an exception, of a signal handler for instance. */
bool flush_streams(void);

/* --- Arguments (_lxc.c) ------------------------------------------------------- */

/* O& converters.  Text crosses the border in the filesystem encoding, both ways, so
 * that what liblxc returned can be passed back. */
int text(PyObject *arg, void *result);
int optional_text(PyObject *arg, void *result); /* None is the default: NULL */
int optional_int(PyObject *arg, void *result);  /* None leaves the default */
int optional_bool(PyObject *arg, void *result);
int optional_size(PyObject *arg, void *result);    /* an unsigned long long */
int optional_lxcpath(PyObject *arg, void *result); /* absolute and normal */

/* What is wrong with a name of a container or snapshot, NULL if nothing is. */
const char *why_no_name(const char *s);

PyObject *standard_path(void); /* liblxc's own lxcpath, as bytes */

static inline const char *
c_str(PyObject *bytes)
{
    return bytes ? PyBytes_AsString(bytes) : NULL;
}

/* Text that need not be copied where it is ASCII, as nearly all keys and values are. */
struct word {
    const char *s; /* valid as long as the argument is there */
    PyObject *bytes;
};

bool word_from(PyObject *arg, struct word *word);
void drop_word(struct word *word);
#define WORD __attribute__((cleanup(drop_word))) struct word

/* Parse n arguments, all of them needed.  By position they are simply there; what is
 * given in another way, or is missing, PyArg_ParseTupleAndKeywords() takes care of. */
bool parse_fast(PyObject *const *args, Py_ssize_t given, PyObject *keywords,
                const char *format, char **names, Py_ssize_t n, PyObject **parsed);

/* Convert a sequence of text; `what` names it in errors.  NULL with an exception. */
char **strings_from(PyObject *sequence, const char *what);

/* --- Creation (create.c) ------------------------------------------------------ */

PyObject *Container_create(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container__create(PyObject *self, PyObject *args, PyObject *kwargs);

/* --- Lists and addresses (listing.c, addresses.c) ----------------------------- */

PyObject *Container__list(PyObject *type, PyObject *args, PyObject *kwargs);
PyObject *Container_get_interfaces(PyObject *self, PyObject *ignored);
PyObject *Container_get_ips(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module_list_containers(PyObject *module, PyObject *args, PyObject *kwargs);

/* --- Forked children (apart.c) ------------------------------------------------ */

struct child {
    pid_t pid; /* 0 once reaped */
    int fd;    /* our end of the socket pair */
    int log; /* liblxc's log of its own; -1: there is none, or it is lxc_log_init()'s */
    struct mark mark; /* where it begins in that */
};

/* Before it is there, and when it is gone: what was said is kept. */
void child_log_begin(struct child *child);
void child_log_end(struct child *child);

bool socket_pair(int fds[2]);

/* To bracket a fork: no other thread of Python's is inside setenv() or pthread_create()
 * then, whose locks would be taken for ever in the child, nor has the umask changed.
 * With a GIL it is enough to hold that.  With python, Python may run in a descendant of
 * the child.  False with an exception if a signal handler raised one. */
bool before_fork(bool python);
void after_fork(bool python);

/* Whether this process has more than one thread. */
bool is_threaded(void);

/* Fork a child that calls body(argument, fd) with every signal blocked; body does not
 * return. */
bool child_fork(struct child *child, void (*body)(void *, int), void *argument,
                bool python);
/* Whether the kernel reaps the children of this process by itself. */
bool ignores_children(void);
/* Make a call that forks inside liblxc: in a process with threads, in a forked child.
 * False with an exception; *result stays as it is if the child was killed. */
bool call_apart(int (*call)(const void *), const void *argument, int *result);
/* Wait for the child's one message, or its end, whatever signals there are; an
 * exception from a signal handler is left pending.  Whether it said something. */
bool child_outlive(struct child *child, struct message *message);
void child_kill(const struct child *child, int number);
void child_reap(struct child *child);
bool child_gone(const struct child *child);

/* Wait until fd is readable, for at most that many seconds (negative: for ever),
 * without the GIL, and answer signals.  1 readable, 0 time is up, -1 with an exception.
 */
int await(int fd, double seconds);

struct terminal terminal_of(int fd);
void terminal_take_back(const struct terminal *terminal);

PyObject *Container_start(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_console(PyObject *self, PyObject *args, PyObject *kwargs);

/* --- The launcher (spawn.c) --------------------------------------------------- */

/* Where the launcher is, which is beside the extension. */
bool find_launcher(PyObject *module);

/* Whether a call is better made by the launcher: see there. */
bool is_for_the_launcher(const struct held *held);

/* Have the launcher do it: it speaks through child->fd, as a forked child does.  False
 * with an exception, or without one where it cannot be started. */
bool launch(const struct held *held, struct request *request, struct child *child);

/* A descriptor of a request to run something, which lacks only what is said of the
 * container; -1 with an exception. */
int pack_run(const struct held *held, struct request *request);

PyObject *module__launcher(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *module__launcher_fd(PyObject *module, PyObject *ignored);

/* --- For run() and popen() (commands.c) ---------------------------------------- */

/* Find what is at a path beneath the root of a process, by flags such as O_NOFOLLOW: a
 * descriptor with O_PATH, or -1 with errno. */
int find_beneath(int pid, const char *path, int flags);

PyObject *Container__request(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module__hear(PyObject *module, PyObject *args);
PyObject *module__open_beneath(PyObject *module, PyObject *args);
PyObject *module__socket_pair(PyObject *module, PyObject *ignored);

/* --- Migration and mounts (migrate.c, mount.c) -------------------------------- */

PyObject *Container_checkpoint(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_migrate(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_mount(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_restore(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_umount(PyObject *self, PyObject *args, PyObject *kwargs);

/* --- Attach (attach.c) -------------------------------------------------------- */

PyObject *Container_attach(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_attach_wait(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module_attach_run_command(PyObject *module, PyObject *command);
PyObject *module_attach_run_shell(PyObject *module, PyObject *ignored);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The locks, and what a fork does to them.
 *
 * The rule: an object's lock first, then the container's, then the umask's, then the
 * GIL.  Nobody waits for a lock with the GIL held, so a thread that holds a lock can
 * always get the GIL and finish.
 *
 * Python code may run in the middle of a call, while its thread holds locks: signal
 * handlers, finalizers, hooks of a fork.  What that calls is out of the rule's order.
 * It does not queue, and before it waits it looks whether it would wait for itself.
 *
 * A forked child inherits locks whose holders it does not have.  It takes them for new
 * the first time that it meets them: their generation is older than the process's.
 */
#include "lock.h"

#include "convert.h"
#include "features.h"
#include "handle.h"
#include "journal.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Counts the forks between this process and the one that loaded the module, from 1. */
static unsigned long generation = 1;

/* What a thread holds, and what it waits for.  It is on the heap: a thread that CPython
 * ends with the process, in the middle of a call, leaves it in the locks' lists. */
#define MOST_HELD 32
struct actor {
    struct holding {
        struct lock *lock; /* NULL: this one is free */
        enum hold_mode mode;
        struct actor *actor;
        struct holding *next; /* of the same lock */
    } holdings[MOST_HELD];
    struct lock *wanted; /* guarded by the registry, as are all actors' */
    enum hold_mode mode;
};

static __thread struct actor *me;
static pthread_key_t actors;

/* The thread that made the last of these forks. */
static struct actor *survivor;

/* Guards the renewal of locks, the list of places, what threads wait for and the
 * objects' paths; held for a few instructions. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;

/* save_config changes the umask, which is the whole process's, and puts it back: two at
 * once could leave a wrong one behind, and a child that is forked meanwhile would keep
 * it.  (So does what copies a container, but that is done in a forked child where there
 * are other threads.) */
static struct lock umask_lock;

static void
after_fork_in_child(void)
{
    generation++;
    survivor = me;
    pthread_mutex_init(&registry, NULL);
    listen_forked();
}

unsigned long
process_generation(void)
{
    return generation;
}

/* --- Threads ------------------------------------------------------------------ */

static bool
holds_nothing(const struct actor *actor)
{
    for (int i = 0; i < MOST_HELD; i++)
        if (actor->holdings[i].lock != NULL)
            return false;
    return true;
}

static void
actor_free(void *actor)
{
    if (holds_nothing(actor))
        free(actor);
}

/* False: out of memory. */
static bool
find_me(void)
{
    if (me != NULL)
        return true;
    if ((me = calloc(1, sizeof(*me))) == NULL)
        return false;
    pthread_setspecific(actors, me);
    return true;
}

/* A place to note a lock in; NULL if there is none left, of calls in handlers that
 * interrupted calls in handlers, and so on. */
static struct holding *
free_holding(void)
{
    for (int i = 0; i < MOST_HELD; i++)
        if (me->holdings[i].lock == NULL)
            return &me->holdings[i];
    return NULL;
}

/* Whether this thread holds a lock that comes after this one, or is one of its kind. */
static bool
is_out_of_order(const struct lock *lock)
{
    for (int i = 0; i < MOST_HELD; i++)
        if (me->holdings[i].lock != NULL && me->holdings[i].lock->rank >= lock->rank)
            return true;
    return false;
}

void
locks_forget(void)
{
    if (me != NULL)
        memset(me, 0, sizeof(*me));
}

bool
prepare_locks(void)
{
    static bool prepared;

    /* Two interpreters may import the module at once. */
    pthread_mutex_lock(&registry);
    if (!prepared && prepare_listening() &&
        pthread_key_create(&actors, actor_free) == 0 &&
        pthread_atfork(NULL, NULL, after_fork_in_child) == 0) {
        lock_init(&umask_lock, OF_PROCESS);
        prepared = true;
    }
    pthread_mutex_unlock(&registry);
    return prepared;
}

/* --- Locks -------------------------------------------------------------------- */

/* Other threads may look at the generation meanwhile, which comes last. */
static void
make_new(struct lock *lock, enum lock_rank rank, bool torn)
{
    pthread_condattr_t attributes;

    memset(lock, 0, sizeof(*lock));
    lock->rank = rank;
    lock->torn = torn;
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lock->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    __atomic_store_n(&lock->generation, generation, __ATOMIC_RELEASE);
}

void
lock_init(struct lock *lock, enum lock_rank rank)
{
    make_new(lock, rank, false);
}

void
lock_destroy(struct lock *lock)
{
    lock_renew(lock);
    pthread_cond_destroy(&lock->changed);
    pthread_mutex_destroy(&lock->mutex);
}

/* Its mutex is held, or nobody else has it. */
static void
add_holding(struct lock *lock, struct holding *holding)
{
    holding->next = lock->holders;
    lock->holders = holding;
    if (holding->mode != SHARED)
        lock->owner = holding->actor;
}

/* A fork in the middle of a call, by a signal handler for instance, has the call go on
 * in the child as well. */
static void
keep_holdings(struct lock *lock)
{
    if (survivor == NULL)
        return;
    for (int i = 0; i < MOST_HELD; i++)
        if (survivor->holdings[i].lock == lock)
            add_holding(lock, &survivor->holdings[i]);
}

void
lock_renew(struct lock *lock)
{
    if (__atomic_load_n(&lock->generation, __ATOMIC_ACQUIRE) == generation)
        return;
    pthread_mutex_lock(&registry);
    /* A thread that forks while it holds the lock knows what it does. */
    if (lock->generation != generation) {
        make_new(lock, lock->rank,
                 lock->torn || (lock->owner != NULL && lock->owner != survivor));
        keep_holdings(lock);
    }
    pthread_mutex_unlock(&registry);
}

/* A thread that waits for a slice of time.  Threads that come again and again, at once,
 * would otherwise keep those out that wait. */
struct waiter {
    struct waiter *next;
    unsigned long ticket;
    enum hold_mode mode;
};

/* Whether two threads cannot hold a lock at once. */
static bool
exclude(enum hold_mode one, enum hold_mode other)
{
    return one == ALONE || other == ALONE || (one == CONFIG && other == CONFIG);
}

/* Take the lock if that can be done now and nobody with an earlier ticket waits for
 * what would then be gone; 0 is later than all, FIRST before all.  Its mutex is held.
 */
#define FIRST 1
static bool
grab(struct lock *lock, struct holding *holding, enum hold_mode mode,
     unsigned long ticket)
{
    for (const struct holding *other = lock->holders; other; other = other->next)
        if (exclude(mode, other->mode))
            return false;
    for (const struct waiter *other = lock->waiters; other; other = other->next) {
        if (ticket != 0 && other->ticket >= ticket)
            break;
        if (exclude(mode, other->mode))
            return false;
    }
    *holding = (struct holding){lock, mode, me, NULL};
    add_holding(lock, holding);
    return true;
}

static void
enqueue(struct lock *lock, struct waiter *waiter)
{
    struct waiter **link = &lock->waiters;

    while (*link != NULL && (*link)->ticket < waiter->ticket)
        link = &(*link)->next;
    waiter->next = *link;
    *link = waiter;
}

static void
dequeue(struct lock *lock, const struct waiter *waiter)
{
    struct waiter **link = &lock->waiters;

    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

static void
want(struct lock *lock, enum hold_mode mode)
{
    pthread_mutex_lock(&registry);
    me->wanted = lock;
    me->mode = mode;
    pthread_mutex_unlock(&registry);
}

struct wish {
    struct lock *lock;
    enum hold_mode mode;
};

/* Note what another thread waits for, once; threads of one object wait for the same. */
static void
add_wish(struct wish *wishes, int *n, int most, const struct actor *actor)
{
    if (actor->wanted == NULL)
        return;
    for (int i = 0; i < *n; i++)
        if (wishes[i].lock == actor->wanted && wishes[i].mode == actor->mode)
            return;
    if (*n < most)
        wishes[(*n)++] = (struct wish){actor->wanted, actor->mode};
}

/* Whether who waits for the lock in that mode waits for this thread, which holds it, or
 * for another that holds it and waits for this one, and so on.  The registry is held,
 * so that what somebody waits for is there. */
static bool
leads_to_me(struct lock *lock, enum hold_mode mode, unsigned long search)
{
    const struct holding *holding;
    struct wish wishes[16];
    int n = 0;

    if (lock->search[mode] == search)
        return false;
    lock->search[mode] = search;
    pthread_mutex_lock(&lock->mutex);
    for (holding = lock->holders; holding != NULL; holding = holding->next) {
        if (!exclude(mode, holding->mode))
            continue;
        if (holding->actor == me)
            break;
        add_wish(wishes, &n, 16, holding->actor);
    }
    pthread_mutex_unlock(&lock->mutex);
    for (int i = 0; holding == NULL && i < n; i++)
        if (leads_to_me(wishes[i].lock, wishes[i].mode, search))
            return true;
    return holding != NULL;
}

static bool
would_wait_for_itself(struct lock *lock, enum hold_mode mode)
{
    static unsigned long searches;
    bool found;

    pthread_mutex_lock(&registry);
    found = leads_to_me(lock, mode, ++searches);
    pthread_mutex_unlock(&registry);
    return found;
}

/* Wait for the lock until the slice of time is over; without the GIL.
 *
 * Between two slices the thread is in no queue, as a signal handler may want the same
 * lock; its ticket keeps its place.  Only who waits for ALONE goes to the end: one that
 * he waits for may hold the lock for as long as a container's monitor does not answer,
 * and the others could go on meanwhile. */
static bool
wait_slice(struct lock *lock, struct holding *holding, enum hold_mode mode,
           unsigned long *ticket)
{
    struct waiter waiter = {.mode = mode};
    struct timespec until;
    bool taken;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 50 * 1000 * 1000;
    if (until.tv_nsec >= 1000 * 1000 * 1000) {
        until.tv_nsec -= 1000 * 1000 * 1000;
        until.tv_sec++;
    }
    want(lock, mode);
    pthread_mutex_lock(&lock->mutex);
    if (*ticket == 0 || (mode == ALONE && *ticket != FIRST))
        *ticket = ++lock->tickets + FIRST;
    waiter.ticket = *ticket;
    enqueue(lock, &waiter);
    while (!(taken = grab(lock, holding, mode, waiter.ticket)) && error == 0)
        error = pthread_cond_timedwait(&lock->changed, &lock->mutex, &until);
    dequeue(lock, &waiter);
    pthread_cond_broadcast(&lock->changed);
    pthread_mutex_unlock(&lock->mutex);
    want(NULL, SHARED);
    return taken;
}

static void
set_busy(const Container *self)
{
    PyErr_Format(PyExc_RuntimeError,
                 "%s%s%s is busy: this would have to wait for a call of its own "
                 "thread, which is in a signal handler or a finalizer",
                 self != NULL ? "'" : "",
                 self != NULL ? c_str(self->name) : "the umask",
                 self != NULL ? "'" : "");
}

bool
lock_take(struct lock *lock, enum hold_mode mode, const Container *self)
{
    struct holding *holding;
    unsigned long ticket;
    bool nested, taken;

    if (!find_me()) {
        PyErr_NoMemory();
        return false;
    }
    if ((holding = free_holding()) == NULL) {
        set_busy(self);
        return false;
    }
    nested = is_out_of_order(lock);
    ticket = nested ? FIRST : 0;
    pthread_mutex_lock(&lock->mutex);
    taken = grab(lock, holding, mode, ticket);
    pthread_mutex_unlock(&lock->mutex);
    /* Only the main thread answers signals: the others need no GIL in between, for
     * which they would have to wait with no place in the queue. */
    const bool in_slices = nested || syscall(SYS_gettid) == getpid();
    while (!taken) {
        if (nested && would_wait_for_itself(lock, mode)) {
            set_busy(self);
            return false;
        }
        WITHOUT_GIL(do taken = wait_slice(lock, holding, mode, &ticket);
                    while (!taken && !in_slices));
        if (!taken && PyErr_CheckSignals() < 0)
            return false;
        if (!taken)
            lock_renew(lock); /* the handler may have forked */
    }
    return true;
}

void
lock_drop(struct lock *lock, enum hold_mode mode)
{
    struct holding **link = &lock->holders, *holding;

    lock_renew(lock); /* in a forked child that goes on with the call */
    pthread_mutex_lock(&lock->mutex);
    while ((holding = *link) != NULL && (holding->actor != me || holding->mode != mode))
        link = &holding->next;
    if (holding != NULL) {
        *link = holding->next;
        holding->lock = NULL;
        if (mode != SHARED)
            lock->owner = NULL;
    }
    if (lock->waiters != NULL)
        pthread_cond_broadcast(&lock->changed);
    pthread_mutex_unlock(&lock->mutex);
}

/* --- Places: what the objects of one container share -------------------------- */

struct place {
    struct place *next;
    int objects;
    struct lock lock;
    char key[]; /* lxcpath/name */
};

static struct place *places;

static struct place *
place_get(const char *path, const char *name)
{
    size_t length = strlen(path) + strlen(name) + 2;
    struct place *place, *fresh = malloc(sizeof(*fresh) + length);

    if (fresh == NULL)
        return NULL;
    stpcpy(stpcpy(stpcpy(fresh->key, path), "/"), name);
    pthread_mutex_lock(&registry);
    for (place = places; place != NULL; place = place->next)
        if (strcmp(place->key, fresh->key) == 0)
            break;
    if (place == NULL) {
        place = fresh;
        fresh = NULL;
        lock_init(&place->lock, OF_CONTAINER);
        place->objects = 0;
        place->next = places;
        places = place;
    }
    place->objects++;
    pthread_mutex_unlock(&registry);
    free(fresh);
    return place;
}

void
place_put(struct place *place)
{
    struct place **link = &places;

    if (place == NULL)
        return;
    pthread_mutex_lock(&registry);
    if (--place->objects > 0)
        place = NULL;
    for (; place != NULL && *link != NULL; link = &(*link)->next)
        if (*link == place) {
            *link = place->next;
            break;
        }
    pthread_mutex_unlock(&registry);
    if (place != NULL) {
        lock_destroy(&place->lock);
        free(place);
    }
}

/* --- Holding a handle --------------------------------------------------------- */

/* The path is replaced while others show the object, who must not wait for its lock. */
PyObject *
get_path(Container *self)
{
    pthread_mutex_lock(&registry);
    PyObject *path = Py_XNewRef(self->path);
    pthread_mutex_unlock(&registry);
    return path;
}

void
set_path(Container *self, PyObject *path)
{
    Py_INCREF(path);
    pthread_mutex_lock(&registry);
    PyObject *old = self->path;
    self->path = path;
    pthread_mutex_unlock(&registry);
    Py_XDECREF(old);
}

/* The handle has no configuration: one may have appeared on disk since it was opened,
 * where liblxc would crash, say no, or write over it. */
static bool
lacks_config(const Container *self, int what)
{
    return self->c->lxc_conf == NULL &&
           ((what & RELOAD) || ((what & ADOPT) && !self->cleared));
}

/* Whether the handle is there, and usable; the lock is held in some way.  In a forked
 * child liblxc's own lock may be held for ever, by a thread that is not here. */
static bool
is_ready(const Container *self, int what)
{
    return self->c != NULL && !self->lock.torn && !lacks_config(self, what);
}

/* Open the handle and load its configuration, where that is to be done; the lock is
 * held for ALONE. */
static bool
make_ready(Container *self, int what)
{
    char file[PATH_MAX];

    if (self->lock.torn)
        self->c = NULL; /* not even given back: that takes liblxc's lock */
    if (self->c == NULL) {
        /* Before the file is read: one that is written meanwhile counts as another. */
        snprintf(file, sizeof(file), "%s/%s/config", c_str(self->path),
                 c_str(self->name));
        read_stamp(file, &self->file);
        journal_reset(self);
        self->cleared = false;
        self->c = open_handle(self);
        if (self->c == NULL)
            return false;
        if (self->timeout != 0)
            apply_timeout(self->c, self->timeout);
        self->lock.torn = false;
    }
    struct lxc_container *c = self->c;
    if (lacks_config(self, what)) {
        read_stamp(c->configfile, &self->file);
        WITHOUT_GIL(if (c->is_defined(c) && config_is_readable(c->configfile))
                        c->load_config(c, NULL));
        journal_reset(self);
        self->cleared = self->cleared && c->lxc_conf == NULL;
    }
    return true;
}

bool
open_first(Container *self)
{
    bool ok;

    if (!lock_take(&self->lock, ALONE, self))
        return false;
    ok = make_ready(self, 0);
    lock_drop(&self->lock, ALONE);
    return ok;
}

/* Take the object's lock, with its handle ready for the call. */
static bool
take_own(Container *self, int what)
{
    const enum hold_mode mode = what & (CONFIG | ALONE);
    bool ok;

    lock_renew(&self->lock);
    for (;;) {
        if (!lock_take(&self->lock, mode, self))
            return false;
        if (is_ready(self, what))
            return true;
        lock_drop(&self->lock, mode);
        if (!lock_take(&self->lock, ALONE, self))
            return false;
        ok = make_ready(self, what);
        lock_drop(&self->lock, ALONE);
        if (!ok)
            return false;
        /* Once: another thread may take the configuration away again and again. */
        what &= ~(ADOPT | RELOAD);
    }
}

static bool
take_other(struct lock *lock, const Container *self)
{
    lock_renew(lock);
    return lock_take(lock, ALONE, self);
}

bool
umask_take(void)
{
    return take_other(&umask_lock, NULL);
}

void
umask_drop(void)
{
    lock_drop(&umask_lock, ALONE);
}

static bool
find_place(Container *self)
{
    struct place *place, *none = NULL;

    if (__atomic_load_n(&self->place, __ATOMIC_ACQUIRE) != NULL)
        return true;
    if ((place = place_get(c_str(self->path), c_str(self->name))) == NULL) {
        PyErr_NoMemory();
        return false;
    }
    if (!__atomic_compare_exchange_n(&self->place, &none, place, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        place_put(place); /* another thread was quicker */
    return true;
}

/* Most that a call needs at one time: some 15 for an attach. */
#define MANY 32
#define SOME 8

/* Whether so many descriptors can still be had.  The highest numbers are the last to be
 * taken: mostly one system call tells. */
static bool
are_free(int wanted)
{
    struct pollfd numbers[MANY];
    struct rlimit limit;
    int found = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
        return true;
    for (int end = (int)limit.rlim_cur; end > 0 && found < wanted; end -= wanted) {
        const int n = end < wanted ? end : wanted;

        for (int i = 0; i < n; i++)
            numbers[i] = (struct pollfd){.fd = end - 1 - i};
        if (poll(numbers, (nfds_t)n, 0) < 0)
            return true;
        for (int i = 0; i < n; i++)
            found += (numbers[i].revents & POLLNVAL) != 0;
    }
    return found >= wanted;
}

/* Where liblxc has no descriptor left for a question, it takes the container for
 * running or for stopped; and where an answer of the monitor has more of them than can
 * still be had, liblxc closes numbers of the caller's. */
static bool
has_descriptors(int what)
{
    const int wanted = what & GATHERS ? MANY : what & TALKS ? SOME : 0;

    if (wanted == 0 || are_free(wanted))
        return true;
    errno = EMFILE;
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
}

struct held
hold(PyObject *object, int what)
{
    Container *self = (Container *)object;
    const struct held nothing = {0};
    struct held held = {self, NULL, what, {.mark = {.fd = -1}}};
    const enum hold_mode mode = what & (CONFIG | ALONE);

    no_reason();
    if (!is_initialized(self)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this Container was never initialized: call its __init__()");
        return nothing;
    }
    if (!has_descriptors(what) || !take_own(self, what))
        return nothing;
    if ((what & PIDFD) && !(find_place(self) && take_other(&self->place->lock, self))) {
        lock_drop(&self->lock, mode);
        return nothing;
    }
    if ((what & UMASK) && !umask_take()) {
        if (what & PIDFD)
            lock_drop(&self->place->lock, ALONE);
        lock_drop(&self->lock, mode);
        return nothing;
    }
    held.c = self->c;
    listen_count(&held.listening);
    if (what & LISTEN)
        listen_begin(&held.listening);
    return held;
}

void
let_go(struct held *held)
{
    if (held->c == NULL)
        return;
    listen_end(&held->listening);
    if (held->what & UMASK)
        umask_drop();
    if (held->what & PIDFD)
        lock_drop(&held->self->place->lock, ALONE);
    lock_drop(&held->self->lock, held->what & (CONFIG | ALONE));
    held->c = NULL;
}

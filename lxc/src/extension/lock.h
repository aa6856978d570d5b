/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The locks of an object, of a container and of the umask, and forks.
 */
#ifndef PYTHON_LXC_LOCK_H
#define PYTHON_LXC_LOCK_H

#include <pthread.h>
#include <stdbool.h>

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
    TALKS = 128, /* the call needs some descriptors */
    GATHERS = 256, /* and this one many: see has_room() */
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

#endif

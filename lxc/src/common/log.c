/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What liblxc has to say: it goes to a log, which is a descriptor of the whole process.
 * See work.h.
 */
#define _GNU_SOURCE
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* Exported by every release, though in no header: where liblxc writes to, and from
 * which level on.  A liblxc that hides them has no reasons to give. */
extern int lxc_log_fd __attribute__((weak, visibility("default")));

struct category {
    const char *name;
    int priority;
};
extern struct category lxc_log_category_lxc
    __attribute__((weak, visibility("default")));

/* Whether the log takes the place of each container's lxc.log.file: lxc_log_init() with
 * a file sets it, for ever. */
extern bool lxc_log_use_global_fd __attribute__((weak, visibility("default")));

/* --- Memory files ------------------------------------------------------------- */

/* Numbers from here on are hardly in use where a program closes all that are open. */
#define HIGH_NUMBER 500

/* A memory file that can be written at its end only, or -1. */
static int
open_memory(void)
{
    const int fd =
        above_stdio(memfd_create("lxc-log", MFD_CLOEXEC | MFD_ALLOW_SEALING));

    if (fd >= 0)
        fcntl(fd, F_SETFL, O_APPEND);
    return fd;
}

int
log_open(void)
{
    return &lxc_log_fd != NULL ? open_memory() : -1;
}

/* --- A process that makes one call -------------------------------------------- */

/* The log of this process is one that nobody else reads or writes. */
static bool is_private;

static void forget_own(void);

void
log_use(int log, bool private)
{
    if (&lxc_log_fd == NULL)
        return;
    forget_own();
    if (log < 0)
        return;
    lxc_log_fd = log;
    is_private = private;
}

bool
log_is_global(void)
{
    return &lxc_log_use_global_fd != NULL && lxc_log_use_global_fd;
}

void
log_set_global(bool global)
{
    if (&lxc_log_use_global_fd != NULL)
        lxc_log_use_global_fd = global;
}

int
log_descriptor(void)
{
    return &lxc_log_fd != NULL ? lxc_log_fd : -1;
}

void
log_seal(void)
{
    if (is_private)
        fcntl(lxc_log_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE);
}

bool
log_level(int level)
{
    if (&lxc_log_category_lxc == NULL)
        return false;
    if (level >= 0)
        lxc_log_category_lxc.priority = level;
    return true;
}

int
log_get_level(void)
{
    return &lxc_log_category_lxc != NULL ? lxc_log_category_lxc.priority : -1;
}

/* --- A process that makes many ------------------------------------------------ */

/* The file of the process's own.  It is liblxc's log only while somebody listens, so
 * that others can set theirs. */
static struct {
    int fd;
    dev_t device;
    ino_t inode;
    unsigned long process; /* a forked child has inherited its parent's */
    int listeners;
    pthread_mutex_t mutex; /* held for a few instructions */
} own = {.fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER};

/* What is not read by then never is; and by then is not wanted any more, even if some
 * call has been listening all the time. */
#define FULL (1 << 20)
#define OVERFULL (16 * FULL)

/* liblxc's own children, too, which go on writing to it: see log_arrive(). */
void
log_forked(void)
{
    pthread_mutex_init(&own.mutex, NULL);
    own.listeners = 0;
}

void
log_arrive(unsigned long process)
{
    if (&lxc_log_fd == NULL ||
        __atomic_load_n(&own.process, __ATOMIC_RELAXED) == process)
        return;
    pthread_mutex_lock(&own.mutex);
    if (own.process != process && own.fd >= 0 && lxc_log_fd == own.fd)
        lxc_log_fd = -1;
    pthread_mutex_unlock(&own.mutex);
}

/* The program may have closed the descriptor, and have another file under its number.
 */
static bool
is_own(int fd, struct stat *status)
{
    return fd >= 0 && fd == own.fd && fstat(fd, status) == 0 &&
           status->st_dev == own.device && status->st_ino == own.inode;
}

/* In a forked child, which may outlive the process: with its parent's. */
static void
forget_own(void)
{
    struct stat status;

    if (lxc_log_fd == own.fd)
        lxc_log_fd = -1;
    if (is_own(own.fd, &status))
        close(own.fd);
    own.fd = -1;
}

static bool
renew(unsigned long process, struct stat *status)
{
    const int old = is_own(own.fd, status) ? own.fd : -1;
    int fd = open_memory(), high;

    if (fd < 0)
        return false;
    high =
        old >= 0 ? dup3(fd, old, O_CLOEXEC) : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_NUMBER);
    if (high >= 0) {
        close(fd);
        fd = high;
    }
    if (fstat(fd, status) < 0) {
        close(fd);
        return false;
    }
    own.fd = fd;
    own.device = status->st_dev;
    own.inode = status->st_ino;
    __atomic_store_n(&own.process, process, __ATOMIC_RELAXED);
    return true;
}

/* With the mutex. */
static void
begin(struct mark *mark, unsigned long process)
{
    const int fd = lxc_log_fd;
    struct stat status;

    *mark = (struct mark){.fd = -1};
    if (fd >= 0 && fd != own.fd) {
        /* Somebody else's: lxc_log_init() was called. */
        if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
            *mark = (struct mark){.fd = fd, .from = status.st_size, .foreign = true};
        return;
    }
    if ((own.process != process || !is_own(own.fd, &status)) &&
        !renew(process, &status))
        return;
    if (status.st_size > (own.listeners == 0 ? FULL : OVERFULL) &&
        ftruncate(own.fd, 0) == 0)
        status.st_size = 0;
    lxc_log_fd = own.fd;
    own.listeners++;
    *mark = (struct mark){.fd = own.fd, .from = status.st_size, .listens = true};
}

void
log_begin(struct mark *mark, unsigned long process)
{
    if (&lxc_log_fd == NULL) {
        *mark = (struct mark){.fd = -1};
        return;
    }
    pthread_mutex_lock(&own.mutex);
    begin(mark, process);
    pthread_mutex_unlock(&own.mutex);
}

void
log_end(struct mark *mark)
{
    if (!mark->listens)
        return;
    mark->listens = false;
    pthread_mutex_lock(&own.mutex);
    if (own.listeners > 0 && --own.listeners == 0 && lxc_log_fd == own.fd)
        lxc_log_fd = -1;
    pthread_mutex_unlock(&own.mutex);
}

int
log_of_others(void)
{
    int fd;

    if (&lxc_log_fd == NULL)
        return -1;
    pthread_mutex_lock(&own.mutex);
    fd = lxc_log_fd >= 0 && lxc_log_fd != own.fd ? lxc_log_fd : -1;
    pthread_mutex_unlock(&own.mutex);
    return fd;
}

void
log_leave(void)
{
    struct stat status;

    if (&lxc_log_fd == NULL || lxc_log_fd < 0)
        return;
    if (!is_private && !is_own(lxc_log_fd, &status))
        return;
    close(lxc_log_fd);
    lxc_log_fd = -1;
    is_private = false;
}

/* --- liblxc's own ------------------------------------------------------------- */

/* liblxc does nothing while there is a log: its own is closed first, ours put aside. */
int
log_init(struct lxc_log *log, int level)
{
    int result;

    pthread_mutex_lock(&own.mutex);
    if (&lxc_log_fd != NULL && lxc_log_fd >= 0 && lxc_log_fd == own.fd)
        lxc_log_fd = -1; /* who listens meanwhile has heard enough */
    else
        lxc_log_close();
    errno = 0;
    result = lxc_log_init(log) < 0 ? -(errno != 0 ? errno : EINVAL) : 0;
    pthread_mutex_unlock(&own.mutex);
    if (result == 0)
        log_level(level); /* liblxc takes the level of the first time only */
    return result;
}

void
log_close(void)
{
    pthread_mutex_lock(&own.mutex);
    if (&lxc_log_fd == NULL || lxc_log_fd < 0 || lxc_log_fd != own.fd)
        lxc_log_close();
    pthread_mutex_unlock(&own.mutex);
}

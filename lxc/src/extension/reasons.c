/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Why a call said no: what the extension knows itself, and what liblxc said meanwhile.
 *
 * A call in a forked child or the launcher has a log of its own.  One that is made in
 * this process shares a log with all others here: what is there is looked at only where
 * the call failed, and may be of another one (see overlaps()).  Whose line is whose is
 * for errors.py to say.
 */
#include "reasons.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- Per thread --------------------------------------------------------------- */

/* Two threads that fail at once must not read each other's. */
static __thread char reason[256];
static __thread enum why why;
static __thread struct timespec since; /* when the call began */
static __thread struct heard {
    char *lines;
    size_t size;
    bool shared;   /* from a log that other calls write to */
    bool overlaps; /* and did so meanwhile, perhaps */
} heard;

/* Frees the lines of a thread that ends. */
static pthread_key_t lines_of_thread;

bool
prepare_listening(void)
{
    return pthread_key_create(&lines_of_thread, free) == 0;
}

void
because_of(enum why kind, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(reason, sizeof(reason), format, values);
    va_end(values);
    why = kind;
}

void
because_it(enum why state)
{
    static const char *const sentences[] = {
        [NOT_DEFINED] = "it is not defined",
        [NOT_RUNNING] = "it is not running",
        [FROZEN] = "it is frozen: unfreeze() it first",
    };

    because_of(state, "%s", sentences[state]);
}

static void
forget_lines(void)
{
    free(heard.lines);
    heard = (struct heard){0};
    pthread_setspecific(lines_of_thread, NULL);
}

void
no_reason(void)
{
    reason[0] = '\0';
    why = UNKNOWN;
    since = (struct timespec){0};
    if (heard.lines != NULL)
        forget_lines();
}

/* --- Listening ---------------------------------------------------------------- */

/* Of a longer log the beginning, where the cause is. */
#define MOST_LINES (1 << 20)

/* Calls that are being made, and that ever began: to know of others. */
static unsigned long busy, begun;

/* Whether more is wanted than the reasons of failures: see _log_level(). */
static bool is_loud;

void
listen_count(struct listening *listening)
{
    log_arrive(process_generation());
    listening->alone = __atomic_fetch_add(&busy, 1, __ATOMIC_RELAXED) == 0;
    listening->number = __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED);
}

void
listen_begin(struct listening *listening)
{
    clock_gettime(CLOCK_REALTIME, &since);
    log_begin(&listening->mark, process_generation());
}

void
listen_end(struct listening *listening)
{
    __atomic_fetch_sub(&busy, 1, __ATOMIC_RELAXED);
    log_end(&listening->mark);
}

void
listen_forked(void)
{
    busy = 0;
    log_forked();
}

/* Add what is in a log from there on. */
static void
take_lines(int fd, off_t from, bool shared, bool overlaps)
{
    struct stat status;
    off_t size = fstat(fd, &status) == 0 ? status.st_size - from : 0;
    ssize_t got;
    char *lines;

    if (size <= 0)
        return;
    size = size < MOST_LINES ? size : MOST_LINES;
    lines = realloc(heard.lines, heard.size + (size_t)size);
    if (lines == NULL)
        return;
    heard.lines = lines;
    pthread_setspecific(lines_of_thread, lines);
    got = pread(fd, lines + heard.size, (size_t)size, from);
    heard.size += got > 0 ? (size_t)got : 0;
    heard.shared = heard.shared || shared;
    heard.overlaps = heard.overlaps || overlaps;
}

/* The log of lxc_log_init() is open for writing only. */
static void
take_foreign(const struct mark *mark, bool overlaps)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", mark->fd);
    if ((fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
        return;
    take_lines(fd, mark->from, true, overlaps);
    close(fd);
}

void
listen_keep(const struct listening *listening)
{
    const struct mark *mark = &listening->mark;
    const bool overlaps =
        !listening->alone ||
        __atomic_load_n(&begun, __ATOMIC_RELAXED) != listening->number;

    if (mark->fd >= 0 && mark->foreign)
        take_foreign(mark, overlaps);
    else if (mark->fd >= 0)
        take_lines(mark->fd, mark->from, true, overlaps);
}

/* "lxc NAME TIME ERROR    conf - file.c:function:1 - MESSAGE\n" */
void
listen_first(char *line, size_t size)
{
    const char *s = heard.lines, *end = s + heard.size;

    line[0] = '\0';
    for (int i = 0; s != NULL && i < 2; i++)
        if ((s = memmem(s, (size_t)(end - s), " - ", 3)) != NULL)
            s += 3;
    if (s != NULL) {
        const char *last = memchr(s, '\n', (size_t)(end - s));

        snprintf(line, size, " (%.*s)", (int)((last != NULL ? last : end) - s), s);
    }
}

bool
answer(const struct held *held, bool ok)
{
    if (!ok || __atomic_load_n(&is_loud, __ATOMIC_RELAXED))
        listen_keep(&held->listening);
    return ok;
}

/* --- Forked children and the launcher ----------------------------------------- */

void
child_log_begin(struct child *child)
{
    struct stat status;

    clock_gettime(CLOCK_REALTIME, &since);
    child->log = -1;
    child->mark = (struct mark){.fd = log_of_others()};
    if (child->mark.fd < 0)
        child->log = log_open();
    else if (fstat(child->mark.fd, &status) == 0 && S_ISREG(status.st_mode))
        child->mark.from = status.st_size;
    else
        child->mark.fd = -1;
}

void
child_log_end(struct child *child)
{
    if (child->mark.fd >= 0)
        take_foreign(&child->mark, true);
    if (child->log < 0)
        return;
    take_lines(child->log, 0, false, false);
    /* A monitor that goes on may have it open for as long as its container runs. */
    fcntl(child->log, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE);
    while (ftruncate(child->log, 0) < 0 && errno == EINTR)
        ;
    close(child->log);
    child->log = -1;
}

/* --- For Python --------------------------------------------------------------- */

PyObject *
module__heard(PyObject *module, PyObject *ignored)
{
    static const char *const names[] = {
        [NOT_DEFINED] = "not defined",
        [NOT_RUNNING] = "not running",
        [FROZEN] = "frozen",
        [TIMED_OUT] = "timed out",
        [DISK_FULL] = "disk full",
        [ENDED] = "ended", /* what was attached, which is no failure */
    };
    OWNED PyObject *sentence =
        reason[0] == '\0' ? Py_NewRef(Py_None) : PyUnicode_DecodeFSDefault(reason);
    OWNED PyObject *lines =
        PyUnicode_DecodeFSDefaultAndSize(heard.lines, (Py_ssize_t)heard.size);
    PyObject *result;

    (void)module;
    (void)ignored;
    if (sentence == NULL || lines == NULL)
        return NULL;
    result = Py_BuildValue("OzOOOd", sentence, names[why], lines,
                           heard.shared ? Py_True : Py_False,
                           heard.overlaps ? Py_True : Py_False,
                           (double)since.tv_sec + (double)since.tv_nsec / 1e9);
    no_reason();
    return result;
}

PyObject *
module__log_file(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromLong(log_open());
}

PyObject *
module__log_level(PyObject *module, PyObject *args)
{
    int level, loud;

    (void)module;
    if (!PyArg_ParseTuple(args, "ip:_log_level", &level, &loud))
        return NULL;
    if (!log_level(level)) {
        PyErr_SetString(
            PyExc_NotImplementedError,
            "this liblxc does not let its level be changed: use log_init()");
        return NULL;
    }
    __atomic_store_n(&is_loud, loud, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

PyObject *
module__log_init(PyObject *module, PyObject *args)
{
    PADDED(struct lxc_log, log) padded;
    OWNED PyObject *name = NULL, *lxcpath = NULL, *file = NULL, *prefix = NULL;
    const char *level;
    int number, quiet, result;

    (void)module;
    if (!PyArg_ParseTuple(args, "O&O&O&siO&p:_log_init", optional_text, &name,
                          optional_text, &lxcpath, optional_text, &file, &level,
                          &number, optional_text, &prefix, &quiet))
        return NULL;
    memset(&padded, 0, sizeof(padded));
    padded.log.name = c_str(name);
    padded.log.lxcpath = c_str(lxcpath);
    padded.log.file = c_str(file);
    padded.log.level = level;
    padded.log.prefix = c_str(prefix);
    padded.log.quiet = quiet;
    WITHOUT_GIL(result = log_init(&padded.log, number));
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError,
                                              file != NULL ? c_str(file) : NULL);
    }
    Py_RETURN_NONE;
}

PyObject *
module__log_close(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    log_close();
    Py_RETURN_NONE;
}

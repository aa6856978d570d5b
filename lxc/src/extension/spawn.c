/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that the launcher makes: see main.c.
 *
 * A fork copies the page tables of the whole process: some 46 us for each MiB, twice
 * for an attach.  A program that is spawned costs the same from any process.  It opens
 * the container anew, so it must be told what the handle's configuration is: the file
 * that was read, and the calls that were made since.  (What that file includes is taken
 * for unchanged: to look at each of those would cost more than most calls.)
 */
#include "_lxc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Nobody sets so many items by hand: who does has a file to write. */
#define MOST_BYTES (64 * 1024)

/* --- The journal -------------------------------------------------------------- */

void
journal_spoil(Container *self)
{
    self->unsaved = true;
    self->journal.spoilt = true;
}

static void
forget(struct journal *journal)
{
    for (size_t i = 0; i < journal->n; i++)
        free(journal->entries[i]);
    free(journal->entries);
    *journal = (struct journal){0};
}

void
journal_reset(Container *self)
{
    forget(&self->journal);
    self->unsaved = false;
}

/* How many entries a note is. */
static size_t
length_of(const char *what)
{
    return *what == 's' ? 3 : *what == 'c' ? 2 : 1;
}

/* Whether an item reads the same in two handles. */
static bool
is_same(struct lxc_container *one, struct lxc_container *other, const char *key)
{
    const int length = one->get_config_item(one, key, NULL, 0);
    char *values[2] = {NULL, NULL};
    bool same = length == other->get_config_item(other, key, NULL, 0);

    if (same && length > 0) {
        values[0] = calloc(2, (size_t)length + 1);
        values[1] = values[0] != NULL ? values[0] + length + 1 : NULL;
        same = values[0] != NULL &&
               one->get_config_item(one, key, values[0], length + 1) == length &&
               other->get_config_item(other, key, values[1], length + 1) == length &&
               strcmp(values[0], values[1]) == 0;
    }
    free(values[0]);
    return same;
}

/* What the file includes and the handle has cleared is there again when it is read. */
void
journal_saved(Container *self)
{
    struct journal *journal = &self->journal;
    struct lxc_container *fresh = NULL;
    bool same = !journal->spoilt;

    for (size_t i = 0; same && i < journal->n; i += length_of(journal->entries[i])) {
        if (*journal->entries[i] != 'c')
            continue;
        if (fresh == NULL)
            fresh = lxc_container_new(self->c->name, self->c->config_path);
        same = fresh != NULL && is_same(self->c, fresh, journal->entries[i + 1]);
    }
    if (fresh != NULL)
        lxc_container_put(fresh);
    journal_reset(self);
    self->journal.spoilt = !same;
}

static void
add(struct journal *journal, const char *entry)
{
    if (journal->n + 1 >= journal->room) {
        const size_t room = journal->room == 0 ? 8 : 2 * journal->room;
        char **more = realloc(journal->entries, room * sizeof(*more));

        if (more == NULL) {
            journal->spoilt = true;
            return;
        }
        journal->entries = more;
        journal->room = room;
    }
    if ((journal->entries[journal->n] = strdup(entry)) == NULL) {
        journal->spoilt = true;
        return;
    }
    journal->entries[++journal->n] = NULL;
    journal->bytes += strlen(entry) + sizeof(entry);
    journal->spoilt = journal->spoilt || journal->bytes > MOST_BYTES;
}

/* What was set is cleared now: of a program that sets an item again and again only the
 * last time is left.  Not of networks, where one key depends on another. */
static void
forget_key(struct journal *journal, const char *key)
{
    size_t kept = 0;

    /* Nor of files, whose items stay. */
    if (strncmp(key, "lxc.net.", 8) == 0 || strcmp(key, "lxc.include") == 0)
        return;
    for (size_t i = 0; i < journal->n;) {
        char **note = &journal->entries[i];
        const size_t length = length_of(note[0]);
        const bool gone = length > 1 && strcmp(note[1], key) == 0;

        i += length;
        for (size_t j = 0; j < length; j++) {
            if (gone) {
                journal->bytes -= strlen(note[j]) + sizeof(note[j]);
                free(note[j]);
            } else {
                journal->entries[kept++] = note[j];
            }
        }
    }
    journal->n = kept;
    if (journal->entries != NULL)
        journal->entries[kept] = NULL;
}

void
journal_note(Container *self, char what, const char *key, const char *value)
{
    self->unsaved = true;
    if (what == 'f') /* nothing of what was before is left */
        forget(&self->journal);
    if (what == 'c' && !self->journal.spoilt)
        forget_key(&self->journal, key);
    if (self->journal.spoilt)
        return;
    add(&self->journal, (char[]){what, '\0'});
    if (key != NULL)
        add(&self->journal, key);
    if (value != NULL)
        add(&self->journal, value);
}

/* --- Where it is, and when it is worth while ---------------------------------- */

/* Beside the extension, the same for each interpreter in this process.  A source tree
 * or a package without it does everything in the process. */
static char program[PATH_MAX];

/* From this many bytes of its own memory on, a process does better with the launcher.
 * benchmarks/ has both take the same at 10 MiB where the other way is a forked child
 * (start(), and attach_wait() with threads), and at 24 MiB where it is the process: in
 * between, at 21 MiB, such a call takes 3.3 ms for 3.1, and another 3.6 ms for 4.3. */
static long worth_while = 16L << 20;

bool
find_launcher(PyObject *module)
{
    OWNED PyObject *name = PyModule_GetFilenameObject(module);
    OWNED PyObject *bytes = NULL;
    const char *s, *slash;

    if (name == NULL || !text(name, &bytes) || (s = c_str(bytes)) == NULL)
        return false;
    slash = strrchr(s, '/');
    if (slash != NULL && slash - s + sizeof("/launcher") <= sizeof(program)) {
        snprintf(program, sizeof(program), "%.*s/launcher", (int)(slash - s), s);
        if (access(program, X_OK) < 0)
            program[0] = '\0';
    }
    return true;
}

/* What the process has of memory that is shared with no file, in bytes. */
static long
own_memory(void)
{
    char numbers[128];
    long resident = 0, shared = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, numbers, sizeof(numbers) - 1) : -1;

    if (fd >= 0)
        close(fd);
    numbers[got > 0 ? got : 0] = '\0';
    sscanf(numbers, "%*d %ld %ld", &resident, &shared);
    return (resident - shared) * sysconf(_SC_PAGESIZE);
}

static bool
is_exact(const struct held *held)
{
    struct stamp now;

    if (program[0] == '\0' || held->self->journal.spoilt)
        return false;
    read_stamp(held->c->configfile, &now);
    return memcmp(&now, &held->self->file, sizeof(now)) == 0;
}

/* In the process is quicker as long as that is small, and the only way where the
 * launcher cannot know the configuration: where the file is another by now, or where
 * more was done to the handle than can be repeated. */
bool
is_for_the_launcher(const struct held *held)
{
    return own_memory() >= worth_while && is_exact(held);
}

/* --- The request -------------------------------------------------------------- */

/* liblxc fills the x in a MAC address of the file in at random: as the handle has it is
 * how it is to be. */
static bool
note_addresses(struct lxc_container *c, struct journal *journal)
{
    char key[64], value[64];
    int left = c->get_config_item(c, "lxc.net", NULL, 0) > 0 ? 64 : 0;

    for (int i = 0; i < left; i++) {
        snprintf(key, sizeof(key), "lxc.net.%d.hwaddr", i);
        if (c->get_config_item(c, key, value, sizeof(value)) <= 0)
            continue;
        add(journal, "s");
        add(journal, key);
        add(journal, value);
    }
    return !journal->spoilt;
}

/* Pack what the launcher is to do and the configuration to do it with; -1 with an
 * exception. */
static int
pack_request(const struct held *held, struct request *request)
{
    struct journal all = {0};
    int fd = -1;

    for (size_t i = 0; i < held->self->journal.n; i++)
        add(&all, held->self->journal.entries[i]);
    all.bytes = 0; /* what is added now is none of the caller's */
    request->size = sizeof(*request);
    request->name = held->c->name;
    request->lxcpath = held->c->config_path;
    request->file = held->self->file;
    if (note_addresses(held->c, &all)) {
        request->journal = all.entries;
        fd = request_pack(request);
    } else {
        errno = ENOMEM;
    }
    if (fd < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    forget(&all);
    request->journal = NULL;
    return fd;
}

/* --- Spawning ----------------------------------------------------------------- */

/* The launcher as a sealed memory file: through /proc/PID/exe of an attached process a
 * container's root could otherwise write to the file itself (CVE-2019-5736).  -1 where
 * that is forbidden. */
static int
sealed_program(void)
{
    struct stat status;
    int file = open(program, O_RDONLY | O_CLOEXEC), memory = -1;
    off_t done = 0;

    if (file >= 0 && fstat(file, &status) == 0) {
        memory =
            memfd_create("lxc-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
        if (memory < 0 && errno == EINVAL) /* before Linux 6.3 */
            memory = memfd_create("lxc-launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        memory = above_stdio(memory);
        while (memory >= 0 && done < status.st_size)
            if (sendfile(memory, file, &done, (size_t)(status.st_size - done)) <= 0)
                break;
    }
    if (file >= 0)
        close(file);
    if (memory >= 0 &&
        (done < status.st_size ||
         fcntl(memory, F_ADD_SEALS,
               F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)) {
        close(memory);
        memory = -1;
    }
    return memory;
}

/* Descriptors for the launcher, each under a number of its own there. */
struct passed {
    posix_spawn_file_actions_t actions;
    int fds[8];
    char numbers[8][16];
    char *argv[1 + 8 + 1];
    int n, error;
};

/* Pass a descriptor on; returns its number in the launcher.  A number that is free here
 * is taken, so that none of those is hidden that the command is to inherit. */
static int
pass(struct passed *passed, int fd)
{
    const int number = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (fd < 0)
        return -1;
    if (number < 0) {
        passed->error = errno;
        return -1;
    }
    passed->fds[passed->n] = number;
    snprintf(passed->numbers[passed->n], sizeof(passed->numbers[0]), "%d", number);
    passed->argv[1 + passed->n] = passed->numbers[passed->n];
    passed->n++;
    if (passed->error == 0)
        passed->error = posix_spawn_file_actions_adddup2(&passed->actions, fd, number);
    return number;
}

static int
spawn(pid_t *pid, struct passed *passed)
{
    extern char **environ;
    posix_spawnattr_t how;
    sigset_t all, none;
    char path[32];
    int error, memory = sealed_program();

    if (!before_fork(false)) { /* nobody changes the environment meanwhile */
        if (memory >= 0)
            close(memory);
        return EINTR; /* with an exception */
    }
    posix_spawnattr_init(&how);
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    error = memory < 0
                ? EACCES
                : posix_spawn(pid, path, &passed->actions, &how, passed->argv, environ);
    if (error == EACCES || error == ENOENT) /* no executable memory, or no /proc */
        error =
            posix_spawn(pid, program, &passed->actions, &how, passed->argv, environ);
    after_fork(false);
    posix_spawnattr_destroy(&how);
    if (memory >= 0)
        close(memory);
    return error;
}

bool
launch(const struct held *held, struct request *request, struct child *child)
{
    lxc_attach_options_t *options = &request->attach.options;
    struct passed passed = {.argv = {program}};
    int pair[2], packed;

    *child = (struct child){.fd = -1, .log = -1};
    if (!socket_pair(pair)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    child_log_begin(child);
    posix_spawn_file_actions_init(&passed.actions);
    pass(&passed, pair[1]);
    options->stdin_fd = pass(&passed, options->stdin_fd);
    options->stdout_fd = pass(&passed, options->stdout_fd);
    options->stderr_fd = pass(&passed, options->stderr_fd);
    options->log_fd = pass(&passed, options->log_fd);
    request->attach.late_stdin = pass(&passed, request->attach.late_stdin);
    request->log_is_others = child->log < 0;
    request->log = pass(&passed, child->log < 0 ? child->mark.fd : child->log);
    request->log_is_global = request->log_is_others && log_is_global();
    request->level = log_get_level();
    packed = pack_request(held, request); /* it speaks of the others */
    if (packed >= 0) {
        pass(&passed, packed);
        if (passed.error == 0)
            passed.error = spawn(&child->pid, &passed);
        close(packed);
    }
    for (int i = 0; i < passed.n; i++)
        close(passed.fds[i]);
    posix_spawn_file_actions_destroy(&passed.actions);
    close(pair[1]);
    if (packed >= 0 && passed.error == 0) {
        child->fd = pair[0];
        return true;
    }
    close(pair[0]);
    child->pid = 0;
    child_log_end(child);
    return false;
}

/* --- For run() and popen() ---------------------------------------------------- */

int
pack_run(const struct held *held, struct request *request)
{
    int fd;

    if (!held->self->unsaved && !held->self->cleared) {
        /* What the file says by now, as with the private handle of an attach. */
        request->size = sizeof(*request);
        request->name = held->c->name;
        request->lxcpath = held->c->config_path;
        if ((fd = request_pack(request)) < 0)
            PyErr_SetFromErrno(PyExc_OSError);
        return fd;
    }
    if (!is_exact(held)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "what is not saved of its configuration cannot be handed on: "
                        "save_config() it, or use a new Container");
        return -1;
    }
    return pack_request(held, request);
}

PyObject *
module__launcher_fd(PyObject *module, PyObject *ignored)
{
    int fd;

    (void)module;
    (void)ignored;
    errno = program[0] == '\0' ? ENOENT : 0;
    fd = errno == 0 ? sealed_program() : -1;
    return fd < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(fd);
}

PyObject *
module__launcher(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"heap", NULL};
    long heap = worth_while;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|l:_launcher", names, &heap))
        return NULL;
    worth_while = heap;
    if (program[0] == '\0')
        Py_RETURN_NONE;
    return PyUnicode_DecodeFSDefault(program);
}

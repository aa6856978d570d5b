/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that the launcher makes: see main.c.
 *
 * A fork copies the page tables of the whole process: some 46 us for each MiB, twice
 * for an attach.  A program that is spawned costs the same from any process.  It opens
 * the container anew, so it must be told what the handle's configuration is: see
 * journal.c.
 */
#include "spawn.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "journal.h"
#include "reasons.h"
#include "request.h"
#include "work.h"

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

/* In the process is quicker as long as that is small, and the only way where the
 * launcher cannot know the configuration: where the file is another by now, or where
 * more was done to the handle than can be repeated. */
bool
is_for_the_launcher(const struct held *held)
{
    return program[0] != '\0' && own_memory() >= worth_while && journal_is_exact(held);
}

/* --- The request -------------------------------------------------------------- */

/* liblxc fills the x in a MAC address of the file in at random: as the handle has it is
 * how it is to be. */
static bool
note_addresses(struct lxc_container *c, struct notes *notes)
{
    char key[64], value[64];
    int left = c->get_config_item(c, "lxc.net", NULL, 0) > 0 ? 64 : 0;

    for (int i = 0; i < left; i++) {
        snprintf(key, sizeof(key), "lxc.net.%d.hwaddr", i);
        if (c->get_config_item(c, key, value, sizeof(value)) > 0 &&
            !(notes_add(notes, (char[]){NOTE_SET, '\0'}) && notes_add(notes, key) &&
              notes_add(notes, value)))
            return false;
    }
    return true;
}

/* Pack what the launcher is to do and the configuration to do it with; -1 with an
 * exception. */
static int
pack_request(const struct held *held, struct request *request)
{
    const struct journal *journal = &held->self->journal;
    struct notes all = {0};
    bool ok = true;
    int fd = -1;

    for (size_t i = 0; ok && i < journal->notes.n; i++)
        ok = notes_add(&all, journal->notes.entries[i]);
    request->size = sizeof(*request);
    request->name = held->c->name;
    request->lxcpath = held->c->config_path;
    request->recipe.file = held->self->file;
    request->recipe.base = journal->base;
    errno = ENOMEM;
    if (ok && note_addresses(held->c, &all)) {
        request->recipe.journal = all.entries;
        fd = request_pack(request);
    }
    if (fd < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    notes_free(&all);
    request->recipe.journal = NULL;
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
#define MOST_PASSED 10

struct passed {
    posix_spawn_file_actions_t actions;
    int fds[MOST_PASSED];
    char numbers[MOST_PASSED][16];
    char *argv[1 + MOST_PASSED + 1];
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
    for (int i = 0; i < 3; i++)
        if (request->attach.late[i] >= 0)
            request->attach.late[i] = pass(&passed, request->attach.late[i]);
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
    if (!journal_is_exact(held)) {
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

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * create: liblxc's call in a forked child, what its template says, and what it must not
 * destroy.
 *
 * liblxc destroys a container that it could not create, with all that its directory
 * held: files that were there before, or a container that another creator, quicker by
 * a moment, is making.  But it destroys no storage that it does not manage
 * (lxc.rootfs.managed).  So the child's handle says that it does not, wherever the call
 * can fail and what is there may be somebody else's.  It says so in memory only: forks
 * tell where liblxc is, and the child of liblxc's that saves the configuration takes it
 * back first.
 */
#include "create.h"

#include "apart.h"
#include "convert.h"
#include "features.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
#include "reasons.h"
#include "work.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define FULL_DISK (1 << 16) /* bytes: see is_full() in errors.py */
#define TAIL 8192           /* bytes of what a template said that are kept */

struct create {
    struct lxc_container *c;
    const char *template, *bdevtype;
    struct bdev_specs *specs;
    int flags;
    char **argv;
    int output[2]; /* for its stdout and stderr; -1: it keeps the caller's */
};

/* What a failed call has come to, in bits. */
enum {
    FULL = 1,     /* the disk was full when a child of liblxc's failed */
    HELD_IT = 2,  /* liblxc had the container to itself: what is new there is ours */
    ROBBED = 4,   /* somebody else removed it meanwhile */
    TEMPLATE = 8, /* it was the template that failed */
    INVALID = 16, /* what the template made of the configuration cannot be read */
};

/* --- In the child ------------------------------------------------------------- */

/* Of the one call that the child makes. */
static struct {
    struct lxc_container *c;
    char *partial; /* the file that marks a container that is being created */
    bool keep;     /* there is something in the directory, or in another for its root */
    bool theirs;   /* it was said before that liblxc does not manage the storage */
    int forks;     /* liblxc's: the first makes the storage, the second the template */
    int report;
    volatile int facts;
} creating;

static void
set_managed(bool managed)
{
    struct lxc_container *c = creating.c;

    if (creating.theirs)
        return;
    if (managed)
        c->clear_config_item(c, "lxc.rootfs.managed"); /* which is the default */
    else
        c->set_config_item(c, "lxc.rootfs.managed", "0");
}

/* Whether the file that marks the container is ours: liblxc has it open then. */
static bool
holds_it(void)
{
    struct stat marker, status;
    const int most = (int)sysconf(_SC_OPEN_MAX);

    if (stat(creating.partial, &marker) < 0)
        return false;
    for (int fd = 3; fd < most && fd < 4096; fd++)
        if (fstat(fd, &status) == 0 && status.st_dev == marker.st_dev &&
            status.st_ino == marker.st_ino)
            return true;
    return false;
}

/* Before each fork of liblxc's.  What it makes from now on is ours, if it is so at
 * all, and it may take that away again where nothing else is there. */
static void
before_its_fork(void)
{
    if (!(creating.facts & HELD_IT) && holds_it()) {
        creating.facts |= HELD_IT;
        say(creating.report, SAID_STARTED, 0, 0); /* also if it should crash */
    }
    if (!(creating.facts & HELD_IT))
        return;
    creating.forks++;
    set_managed(!creating.keep);
}

static void
in_its_child(void)
{
    set_managed(true);
}

/* The last thing that can fail is to read what the template wrote: try that first. */
static bool
can_be_read(void)
{
    struct lxc_container *c = creating.c;
    struct lxc_container *other = lxc_container_new(".reader", c->config_path);
    const bool ok = other == NULL || other->load_config(other, c->configfile);

    if (other != NULL)
        lxc_container_put(other);
    return ok;
}

/* liblxc waits for its children with nothing locked, and makes room on the disk again
 * before it returns. */
static void
look_at_child(int number, siginfo_t *ended, void *context)
{
    const int error = errno;
    struct statfs disk;

    (void)number;
    (void)context;
    if ((creating.facts & HELD_IT) && access(creating.partial, F_OK) < 0)
        creating.facts |= ROBBED;
    if (ended->si_code != CLD_EXITED || ended->si_status != 0) {
        if (statfs(creating.c->config_path, &disk) == 0 &&
            disk.f_bavail * (uint64_t)disk.f_bsize < FULL_DISK)
            creating.facts |= FULL;
        if (creating.forks > 1)
            creating.facts |= TEMPLATE;
    } else if (creating.keep && creating.forks > 1 && !can_be_read()) {
        unlink(creating.partial);
        say(creating.report, SAID_RETURNED, false, creating.facts | INVALID);
        _exit(EXIT_SUCCESS);
    }
    errno = error;
}

static bool
has_entries(const char *path)
{
    DIR *directory = path != NULL ? opendir(path) : NULL;
    struct dirent *entry;
    bool found = false;

    while (directory != NULL && !found && (entry = readdir(directory)) != NULL)
        found = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (directory != NULL)
        closedir(directory);
    return found;
}

static void
redirect(const int output[2])
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (output[0] < 0)
        return;
    dup2(null, STDIN_FILENO);
    if (null > STDERR_FILENO)
        close(null);
    dup2(output[0], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
}

/* Where the default configuration cannot be loaded, liblxc is to say so. */
static bool
has_configuration(struct lxc_container *c)
{
    if (c->lxc_conf != NULL ||
        c->load_config(c, lxc_get_global_config_item("lxc.default_config")))
        return true;
    c->clear_config(c);
    return false;
}

/* Until liblxc has the container to itself. */
static void
begin_unmanaged(struct lxc_container *c)
{
    char managed[4] = "";

    c->get_config_item(c, "lxc.rootfs.managed", managed, sizeof(managed));
    creating.theirs = managed[0] == '0';
    set_managed(false);
}

/* In a child: liblxc crashes where a template removes the configuration, and its umask
 * and ignored signals are nobody else's there. */
static void
create_now(void *argument, int fd)
{
    const struct create *create = argument;
    struct lxc_container *c = create->c;
    const struct sigaction action = {
        .sa_sigaction = look_at_child,
        .sa_flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP,
    };
    char *directory;
    bool ok;

    default_signals();
    redirect(create->output);
    if (asprintf(&directory, "%s/%s", c->config_path, c->name) < 0 ||
        asprintf(&creating.partial, "%s/partial", directory) < 0)
        _exit(EXIT_FAILURE);
    creating.c = c;
    creating.report = fd;
    creating.keep = has_entries(directory) || has_entries(create->specs->dir);
    /* All that liblxc does without a template is to save, and to destroy if it cannot.
     */
    if (create->template == NULL && has_configuration(c)) {
        say(fd, SAID_RETURNED, c->save_config(c, NULL), 0);
        _exit(EXIT_SUCCESS);
    }
    if (has_configuration(c))
        begin_unmanaged(c);
    sigaction(SIGCHLD, &action, NULL);
    pthread_atfork(before_its_fork, NULL, in_its_child);
    ok = c->create(c, create->template, create->bdevtype, create->specs, create->flags,
                   create->argv);
    say(fd, SAID_RETURNED, ok, creating.facts);
    _exit(EXIT_SUCCESS);
}

/* --- What the template says --------------------------------------------------- */

/* What comes from its stdout and stderr. */
struct output {
    int fds[2];  /* ours; -1: it keeps the caller's */
    int to[2];   /* where it goes on to; -1: nowhere */
    size_t size; /* of all that came */
    char tail[TAIL];
};

static void
output_keep(struct output *output, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        output->tail[output->size++ % TAIL] = data[i];
}

/* Take in and hand on what there is, without waiting for more.  False at the end. */
static bool
output_take(struct output *output, int n)
{
    char data[4096];
    ssize_t got = read(output->fds[n], data, sizeof(data));

    if (got <= 0)
        return got < 0 && (errno == EINTR || errno == EAGAIN);
    output_keep(output, data, (size_t)got);
    for (ssize_t done = 0, more; done < got && output->to[n] >= 0; done += more) {
        more = write(output->to[n], data + done, (size_t)(got - done));
        if (more < 0 && errno == EAGAIN) /* somebody made it nonblocking */
            poll(&(struct pollfd){.fd = output->to[n], .events = POLLOUT}, 1, 100);
        more = more < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : more;
        if (more < 0)
            output->to[n] = -1; /* nobody reads it: the template need not know */
    }
    return true;
}

static void
output_close(struct output *output)
{
    for (int n = 0; n < 2; n++)
        if (output->fds[n] >= 0)
            close(output->fds[n]);
}

/* A template that may ask keeps the caller's terminal. */
static bool
output_open(struct output *output, struct create *create)
{
    const bool quiet = create->flags & LXC_CREATE_QUIET;

    *output = (struct output){.fds = {-1, -1}, .to = {-1, -1}};
    create->output[0] = create->output[1] = -1;
    if (!quiet && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return true;
    create->flags &= ~LXC_CREATE_QUIET;
    for (int n = 0; n < 2; n++) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
            return false;
        output->fds[n] = above_stdio(ends[0]);
        create->output[n] = above_stdio(ends[1]);
        output->to[n] = quiet ? -1 : n + 1;
        fcntl(output->fds[n], F_SETFL, O_NONBLOCK);
        if (output->fds[n] < 0 || create->output[n] < 0)
            return false;
    }
    return true;
}

static PyObject *
output_bytes(const struct output *output)
{
    const size_t n = output->size < TAIL ? output->size : TAIL;
    char *last = malloc(n + 1);

    if (last == NULL)
        return PyErr_NoMemory();
    for (size_t i = 0; i < n; i++)
        last[i] = output->tail[(output->size - n + i) % TAIL];
    PyObject *bytes = PyBytes_FromStringAndSize(last, (Py_ssize_t)n);
    free(last);
    return bytes;
}

/* --- The call ----------------------------------------------------------------- */

/* What is there by now, not what a process in the background may say later. */
static void
output_drain(struct output *output)
{
    for (int n = 0; n < 2; n++) {
        struct pollfd entry = {.fd = output->fds[n], .events = POLLIN};

        while (output->fds[n] >= 0 && poll(&entry, 1, 0) > 0 && output_take(output, n))
            ;
    }
}

/* Wait for a moment, and take in what there is; no Python.  True when the child is
 * gone, or has said what came of the call. */
static bool
hear_more(const struct child *child, struct output *output, struct message *message,
          int *facts)
{
    struct pollfd entries[] = {{.fd = output->fds[0], .events = POLLIN},
                               {.fd = output->fds[1], .events = POLLIN},
                               {.fd = child->fd, .events = POLLIN}};

    poll(entries, 3, (int)(STEP * 1000));
    bool gone = child_gone(child); /* first: what it said before is there to be heard */
    for (int n = 0; n < 2; n++)
        if (entries[n].revents != 0 && !output_take(output, n)) {
            close(output->fds[n]);
            output->fds[n] = -1;
        }
    while (hear(child->fd, message)) {
        if (message->said == SAID_RETURNED) {
            *facts |= message->extra;
            return true;
        }
        if (message->said == SAID_STARTED)
            *facts |= HELD_IT;
    }
    return gone;
}

/* Until it has; signals are answered, but the child is not given up: an exception comes
 * afterwards.  Whether it said what came of the call. */
static bool
hear_all(const struct child *child, struct output *output, struct message *message,
         int *facts)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    bool over;

    do {
        WITHOUT_GIL(over = hear_more(child, output, message, facts));
        if (PyErr_CheckSignals() < 0) {
            if (type == NULL)
                PyErr_Fetch(&type, &value, &traceback);
            PyErr_Clear();
        }
    } while (!over);
    WITHOUT_GIL(output_drain(output));
    PyErr_Restore(type, value, traceback);
    return message->said == SAID_RETURNED;
}

static bool
is_marked(const struct lxc_container *c)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s/partial", c->config_path, c->name);
    return access(path, F_OK) == 0;
}

/* Make the call.  False with an exception; else *ok, *facts and *output say what came
 * of it. */
static bool
call_create(PyObject *self, struct create *create, struct output *output, bool *ok,
            int *facts)
{
    struct child child;
    struct message message = {.said = SAID_USABLE};
    bool heard, forked;

    HELD held = hold(self, ALONE | ADOPT);
    if (held.c == NULL)
        return false;
    struct lxc_container *c = create->c = held.c;

    if (!output_open(output, create)) {
        PyErr_SetFromErrno(PyExc_OSError);
        forked = false;
    } else {
        forked = child_fork(&child, create_now, create, false);
    }
    for (int n = 0; n < 2; n++)
        if (create->output[n] >= 0)
            close(create->output[n]);
    if (!forked)
        return false;
    heard = hear_all(&child, output, &message, facts);
    child_reap(&child);
    *ok = heard && message.value;
    /* liblxc crashes where the configuration is gone, but does not remove its marker.
     */
    if (!heard && (*facts & HELD_IT) && !is_marked(c))
        *facts |= ROBBED;
    if (*ok) {
        /* What the child made of its copy is on disk. */
        c->clear_config(c);
        read_stamp(c->configfile, &held.self->file);
        WITHOUT_GIL(if (c->is_defined(c)) c->load_config(c, NULL));
        journal_reset(held.self);
        held.self->cleared = false;
    }
    if (PyErr_Occurred())
        return false;
    if (!heard)
        because("the process that was to create it was killed");
    else if (!*ok && (*facts & FULL))
        because_of(DISK_FULL, "the disk of %s is full", c->config_path);
    else if (*facts & INVALID)
        because("the configuration that the template wrote cannot be read");
    return true;
}

static bool
is_template(const char *name)
{
    if (name == NULL || *name == '/' || (*name != '\0' && strchr(name, '/') == NULL))
        return true;
    PyErr_Format(
        PyExc_ValueError,
        "'%s' is no template: give a name such as busybox, or an absolute path", name);
    return false;
}

/* Parse the arguments, and make the call. */
static bool
parse_and_create(PyObject *self, PyObject *args, PyObject *kwargs,
                 struct output *output, bool *ok, int *facts)
{
    static char *names[] = {"template", "flags",   "bdevtype", "fssize",  "args",
                            "fstype",   "dir",     "zfsroot",  "vg",      "lv",
                            "thinpool", "rbdname", "rbdpool",  "rbduser", NULL};
    OWNED PyObject *template = NULL, *bdevtype = NULL;
    OWNED PyObject *fstype = NULL, *dir = NULL, *zfsroot = NULL;
    OWNED PyObject *vg = NULL, *lv = NULL, *thinpool = NULL;
    OWNED PyObject *rbdname = NULL, *rbdpool = NULL, *rbduser = NULL;
    PyObject *arguments = NULL;
    STRINGS argv = NULL;
    PADDED(struct bdev_specs, specs) padded;
    unsigned long long fssize = 0;
    int flags = 0;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|O&O&O&O&OO&O&O&O&O&O&O&O&O&:create", names, optional_text,
            &template, optional_int, &flags, optional_text, &bdevtype, optional_size,
            &fssize, &arguments, optional_text, &fstype, optional_lxcpath, &dir,
            optional_text, &zfsroot, optional_text, &vg, optional_text, &lv,
            optional_text, &thinpool, optional_text, &rbdname, optional_text, &rbdpool,
            optional_text, &rbduser))
        return false;
    if ((rbduser != NULL && !has_rbduser()) || !is_template(c_str(template)))
        return false;
    if (arguments != NULL && arguments != Py_None &&
        (argv = strings_from(arguments, "args")) == NULL)
        return false;
    memset(&padded, 0, sizeof(padded));
    padded.specs = (struct bdev_specs){
        .fstype = (char *)c_str(fstype),
        .fssize = fssize,
        .zfs.zfsroot = (char *)c_str(zfsroot),
        .lvm.vg = (char *)c_str(vg),
        .lvm.lv = (char *)c_str(lv),
        .lvm.thinpool = (char *)c_str(thinpool),
        .dir = (char *)c_str(dir),
        .rbd.rbdname = (char *)c_str(rbdname),
        .rbd.rbdpool = (char *)c_str(rbdpool),
    };
    set_rbduser(&padded.specs, (char *)c_str(rbduser));
    char *none[] = {NULL};
    struct create create = {
        .template = c_str(template),
        .bdevtype = c_str(bdevtype),
        .specs = &padded.specs,
        .flags = flags,
        .argv = argv != NULL ? argv : none,
    };
    return call_create(self, &create, output, ok, facts);
}

PyObject *
Container_create(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct output output = {.fds = {-1, -1}};
    int facts = 0;
    bool ok = false,
         called = parse_and_create(self, args, kwargs, &output, &ok, &facts);

    output_close(&output);
    return called ? PyBool_FromLong(ok) : NULL;
}

PyObject *
Container__create(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct output output = {.fds = {-1, -1}};
    int facts = 0;
    bool ok = false,
         called = parse_and_create(self, args, kwargs, &output, &ok, &facts);

    output_close(&output);
    if (!called)
        return NULL;
    OWNED PyObject *bytes = output_bytes(&output);
    if (bytes == NULL)
        return NULL;
    return Py_BuildValue(
        "OOOOO", ok ? Py_True : Py_False, bytes, facts & HELD_IT ? Py_True : Py_False,
        facts & ROBBED ? Py_True : Py_False, facts & TEMPLATE ? Py_True : Py_False);
}

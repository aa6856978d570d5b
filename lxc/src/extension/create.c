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
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define FULL_DISK (1 << 16) /* bytes: see is_full() in errors.py */
#define MOST_INHERITED 256  /* descriptors: see leave_descriptors() */
#define TAIL 8192           /* bytes of what a template said that are kept */

struct create {
    struct lxc_container *c;
    const char *template, *bdevtype;
    struct bdev_specs *specs;
    int flags;
    char **argv;
    int output[2]; /* for its stdout and stderr; -1: it keeps the caller's */
};

/* What a call has come to, in bits. */
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
    char *partial;  /* the file that marks a container that is being created */
    bool keep;      /* the directory is there already, or another for its root */
    bool theirs;    /* it was said before that liblxc does not manage the storage */
    int forks;      /* liblxc's: the first makes the storage, the second the template */
    bool is_forked; /* this is such a child, or one of its own */
    bool is_over;   /* see there */
    pid_t *pids;    /* theirs, which they write there themselves */
    int inheritable[MOST_INHERITED], inherited; /* descriptors of the caller's */
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

/* Whether liblxc has removed its marker, as it does before it destroys what it could
 * not create.  It has the handle locked then, and forks for hooks and some storage. */
static bool
is_over(void)
{
    creating.is_over = creating.is_over || ((creating.facts & HELD_IT) &&
                                            access(creating.partial, F_OK) < 0);
    return creating.is_over;
}

/* Before each fork of liblxc's.  What it makes from now on is ours, if it is so at
 * all, and it may take that away again where nothing else is there. */
static void
before_its_fork(void)
{
    if (creating.is_forked || is_over())
        return;
    if (!(creating.facts & HELD_IT) && holds_it()) {
        creating.facts |= HELD_IT;
        say(creating.report, SAID_STARTED, 0, 0); /* also if it should crash */
    }
    if (!(creating.facts & HELD_IT))
        return;
    creating.forks++;
    set_managed(!creating.keep);
}

/* --- Its descriptors ---------------------------------------------------------- */

/* Put /dev/null in the place of the caller's descriptors: a pipe of his must not stay
 * open as long as this process lives.  The numbers stay taken, as liblxc may remember
 * one.  What he made inheritable is the template's, too: that goes later. */
static void
leave_descriptors(void)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    DIR *directory = opendir("/proc/self/fd");
    struct stat log = {0};
    struct dirent *entry;

    find_log(creating.c, &log);
    while (null >= 0 && directory != NULL && (entry = readdir(directory)) != NULL) {
        const int fd = atoi(entry->d_name);

        if (fd <= STDERR_FILENO || fd == null || fd == dirfd(directory) ||
            fd == creating.report || fd == log_descriptor() || is_log(fd, &log))
            continue;
        if (fcntl(fd, F_GETFD) & FD_CLOEXEC)
            dup3(null, fd, O_CLOEXEC);
        else if (creating.inherited < MOST_INHERITED)
            creating.inheritable[creating.inherited++] = fd;
    }
    if (directory != NULL)
        closedir(directory);
    if (null > STDERR_FILENO)
        close(null);
}

static void
in_its_child(void)
{
    if (!creating.is_over)
        set_managed(true);
    if (!creating.is_forked && creating.forks >= 1 && creating.forks <= 2)
        creating.pids[creating.forks - 1] = getpid();
    creating.is_forked = true;
}

/* In the parent of what liblxc forks: the template has them now. */
static void
after_its_fork(void)
{
    int null;

    if (creating.is_forked || creating.forks != 2 || creating.inherited == 0 ||
        (null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        return;
    while (creating.inherited > 0)
        dup3(null, creating.inheritable[--creating.inherited], O_CLOEXEC);
    close(null);
}

/* --- What came of it ---------------------------------------------------------- */

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

/* Whether it is the storage's or the template's maker that has ended, and not what the
 * template left: that comes to this process.  Their signals may be one. */
static bool
is_ours(const siginfo_t *ended, bool *succeeded)
{
    const pid_t pid = creating.forks >= 1 && creating.forks <= 2
                          ? creating.pids[creating.forks - 1]
                          : 0;
    siginfo_t status = {.si_pid = 0};

    if (pid == 0)
        return false;
    if (ended->si_pid != pid &&
        (waitid(P_PID, (id_t)pid, &status, WNOHANG | WEXITED | WNOWAIT) < 0 ||
         status.si_pid == 0))
        return false;
    if (ended->si_pid == pid)
        status = *ended;
    *succeeded = status.si_code == CLD_EXITED && status.si_status == 0;
    creating.pids[creating.forks - 1] = 0; /* that is all that there is of it */
    return true;
}

/* liblxc waits for its children with nothing locked, and makes room on the disk again
 * before it returns. */
static void
look_at_child(int number, siginfo_t *ended, void *context)
{
    const int error = errno;
    struct statfs disk;
    bool succeeded;

    (void)number;
    (void)context;
    if (!is_ours(ended, &succeeded)) {
        errno = error;
        return;
    }
    if (access(creating.partial, F_OK) < 0)
        creating.facts |= ROBBED;
    if (!succeeded) {
        if (statfs(creating.c->config_path, &disk) == 0 &&
            disk.f_bavail * (uint64_t)disk.f_bsize < FULL_DISK)
            creating.facts |= FULL;
        if (creating.forks == 2)
            creating.facts |= TEMPLATE;
    } else if (creating.keep && creating.forks == 2 && !can_be_read()) {
        unlink(creating.partial);
        say(creating.report, SAID_RETURNED, false, creating.facts | INVALID);
        _exit(EXIT_SUCCESS);
    }
    errno = error;
}

static bool
is_there(const char *path)
{
    struct stat status;

    return path != NULL && lstat(path, &status) == 0;
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

/* --- What was there before ---------------------------------------------------- */

struct before {
    char *config, *root; /* paths */
    char *content;       /* of the configuration; NULL: there was none */
    size_t length;
    bool has_root;
};

static void
look_before(struct before *before, const char *directory)
{
    if (asprintf(&before->config, "%s/config", directory) < 0 ||
        asprintf(&before->root, "%s/rootfs", directory) < 0)
        _exit(EXIT_FAILURE);
    before->content = config_read(before->config, &before->length);
    before->has_root = is_there(before->root);
}

static int
remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    remove(path);
    return 0;
}

/* Here, and not by the caller, who may have been killed: half a root filesystem must
 * not look like a container.  He removes what else is new. */
static void
restore(const struct before *before)
{
    const int fd = before->content != NULL
                       ? open(before->config, O_WRONLY | O_CREAT | O_CLOEXEC, 0640)
                       : -1;

    if (before->content == NULL)
        unlink(before->config);
    else if (fd >= 0 &&
             write(fd, before->content, before->length) == (ssize_t)before->length)
        (void)!ftruncate(fd, (off_t)before->length);
    if (fd >= 0)
        close(fd);
    if (!before->has_root)
        nftw(before->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void
stay(int number)
{
    (void)number;
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
    struct before before;
    char *directory;
    bool ok;

    default_signals();
    signal(SIGINT, stay); /* a typed Ctrl-C ends the template, and the caller ends us */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    redirect(create->output);
    if (asprintf(&directory, "%s/%s", c->config_path, c->name) < 0 ||
        asprintf(&creating.partial, "%s/partial", directory) < 0)
        _exit(EXIT_FAILURE);
    creating.pids = mmap(NULL, 2 * sizeof(pid_t), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (creating.pids == MAP_FAILED)
        _exit(EXIT_FAILURE);
    creating.c = c;
    creating.report = fd;
    creating.keep = is_there(directory) || is_there(create->specs->dir);
    leave_descriptors();
    /* All that liblxc does without a template is to save, and to destroy if it cannot.
     */
    if (create->template == NULL && has_configuration(c)) {
        say(fd, SAID_RETURNED, c->save_config(c, NULL), 0);
        _exit(EXIT_SUCCESS);
    }
    look_before(&before, directory);
    if (has_configuration(c))
        begin_unmanaged(c);
    sigaction(SIGCHLD, &action, NULL);
    pthread_atfork(before_its_fork, after_its_fork, in_its_child);
    ok = c->create(c, create->template, create->bdevtype, create->specs, create->flags,
                   create->argv);
    if (!ok && creating.keep && (creating.facts & HELD_IT) &&
        !(creating.facts & ROBBED) && !is_there(creating.partial))
        restore(&before);
    say(fd, SAID_RETURNED, ok, creating.facts);
    _exit(EXIT_SUCCESS);
}

/* --- What the template says --------------------------------------------------- */

/* One of its streams, on the way to the caller's. */
struct stream {
    int from, to; /* -1: it keeps the caller's; it goes nowhere */
    size_t begin, end;
    bool finishing; /* at most so much is still taken in: */
    size_t left;
    char data[PIPE_BUF];
};

struct tail {
    size_t size; /* of all that came */
    char data[TAIL];
};

struct output {
    struct stream streams[2];
    struct tail all, errors;
};

/* What a call has come to. */
struct outcome {
    bool ok;
    int facts;
    struct output output;
    PyObject *interruption; /* the exception of a signal's handler, or NULL */
};

static void
output_init(struct output *output)
{
    output->all.size = output->errors.size = 0;
    for (int n = 0; n < 2; n++) {
        struct stream *stream = &output->streams[n];

        stream->from = stream->to = -1;
        stream->begin = stream->end = 0;
        stream->finishing = false;
    }
}

static void
stream_close(struct stream *stream)
{
    if (stream->from >= 0)
        close(stream->from);
    stream->from = -1;
}

/* Hand on what is waiting; it was asked before whether there is room for it. */
static void
stream_write(struct stream *stream)
{
    const ssize_t n =
        write(stream->to, stream->data + stream->begin, stream->end - stream->begin);

    if (n > 0)
        stream->begin += (size_t)n;
    else if (n < 0 && errno != EINTR && errno != EAGAIN)
        stream->to = -1; /* nobody reads it: the template need not know */
}

static void
tail_add(struct tail *tail, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tail->data[tail->size++ % TAIL] = data[i];
}

static void
stream_read(struct stream *stream, struct output *output)
{
    const bool last = stream->finishing && stream->left < sizeof(stream->data);
    const ssize_t n =
        read(stream->from, stream->data, last ? stream->left : sizeof(stream->data));

    if (n <= 0) {
        if (n == 0 || (errno != EINTR && errno != EAGAIN))
            stream_close(stream);
        return;
    }
    tail_add(&output->all, stream->data, (size_t)n);
    if (stream == &output->streams[1])
        tail_add(&output->errors, stream->data, (size_t)n);
    stream->begin = 0;
    stream->end = (size_t)n;
    if (stream->finishing)
        stream->left -= (size_t)n;
}

static bool
stream_waits(const struct stream *stream)
{
    return stream->to >= 0 && stream->begin < stream->end;
}

static bool
stream_is_over(const struct stream *stream)
{
    return !stream_waits(stream) &&
           (stream->from < 0 || (stream->finishing && stream->left == 0));
}

static struct pollfd
stream_entry(const struct stream *stream)
{
    if (stream_waits(stream))
        return (struct pollfd){.fd = stream->to, .events = POLLOUT};
    return (struct pollfd){.fd = stream_is_over(stream) ? -1 : stream->from,
                           .events = POLLIN};
}

/* What is there by now, not what a process in the background may say later. */
static void
stream_finish(struct stream *stream)
{
    int size = 0;

    if (stream->finishing || stream->from < 0)
        return;
    stream->finishing = true;
    stream->left = ioctl(stream->from, FIONREAD, &size) == 0 ? (size_t)size : 0;
}

static void
output_close(struct output *output)
{
    for (int n = 0; n < 2; n++)
        stream_close(&output->streams[n]);
}

/* A template that may ask keeps the caller's terminal. */
static bool
output_open(struct output *output, struct create *create)
{
    const bool quiet = create->flags & LXC_CREATE_QUIET;

    create->output[0] = create->output[1] = -1;
    if (!quiet && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return true;
    create->flags &= ~LXC_CREATE_QUIET;
    for (int n = 0; n < 2; n++) {
        struct stream *stream = &output->streams[n];
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
            return false;
        stream->from = above_stdio(ends[0]);
        create->output[n] = above_stdio(ends[1]);
        stream->to = quiet ? -1 : n + 1;
        fcntl(stream->from, F_SETFL, O_NONBLOCK);
        if (stream->from < 0 || create->output[n] < 0)
            return false;
    }
    return true;
}

static PyObject *
tail_bytes(const struct tail *tail)
{
    const size_t n = tail->size < TAIL ? tail->size : TAIL;
    char last[TAIL];

    for (size_t i = 0; i < n; i++)
        last[i] = tail->data[(tail->size - n + i) % TAIL];
    return PyBytes_FromStringAndSize(last, (Py_ssize_t)n);
}

/* --- Its end ------------------------------------------------------------------ */

static bool
is_below(pid_t pid, pid_t top)
{
    for (int i = 0; i < 1000 && pid > 1; i++)
        if ((pid = parent_of(pid)) == top)
            return true;
    return false;
}

/* Whether there were any. */
static bool
kill_below(pid_t top)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        const pid_t pid = atoi(entry->d_name);

        if (pid > 1 && is_below(pid, top) && !has_ended(pid)) {
            kill(pid, SIGKILL);
            found = true;
        }
    }
    if (processes != NULL)
        closedir(processes);
    return found;
}

/* The child, which would go on with its work, and the template with all that it has
 * started: what loses its parent comes to the child. */
static void
end_all(const struct child *child)
{
    child_kill(child, SIGSTOP);
    for (int i = 0; i < 200 && !child_gone(child) && kill_below(child->pid); i++)
        nap(0.001);
    child_kill(child, SIGKILL);
}

/* --- The call ----------------------------------------------------------------- */

/* Wait for a moment, and take in and hand on what there is; no Python.  True when the
 * child is gone, or has said what came of the call. */
static bool
hear_more(const struct child *child, struct output *output, struct message *message,
          int *facts)
{
    struct pollfd entries[] = {stream_entry(&output->streams[0]),
                               stream_entry(&output->streams[1]),
                               {.fd = child->fd, .events = POLLIN}};
    const bool said = message->said == SAID_RETURNED;

    poll(entries, said ? 2 : 3, (int)(STEP * 1000));
    bool over =
        said || child_gone(child); /* what it said before is there to be heard */
    for (int n = 0; n < 2; n++)
        if (entries[n].revents != 0 && entries[n].events == POLLOUT)
            stream_write(&output->streams[n]);
        else if (entries[n].revents != 0)
            stream_read(&output->streams[n], output);
    while (!said && message->said != SAID_RETURNED && hear(child->fd, message)) {
        if (message->said == SAID_RETURNED)
            *facts |= message->extra;
        if (message->said == SAID_STARTED)
            *facts |= HELD_IT;
    }
    over = over || message->said == SAID_RETURNED;
    for (int n = 0; n < 2 && over; n++)
        stream_finish(&output->streams[n]);
    return over && stream_is_over(&output->streams[0]) &&
           stream_is_over(&output->streams[1]);
}

static PyObject *
take_exception(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Until the child has said what came of the call, or is gone; the exception of a
 * signal's handler ends it.  Whether it said something. */
static bool
hear_all(const struct child *child, struct outcome *outcome)
{
    struct message message = {.said = SAID_USABLE};
    bool over;

    do {
        WITHOUT_GIL(over =
                        hear_more(child, &outcome->output, &message, &outcome->facts));
        if (PyErr_CheckSignals() == 0)
            continue;
        if (outcome->interruption != NULL) {
            PyErr_Clear();
            continue;
        }
        outcome->interruption = take_exception();
        for (int n = 0; n < 2; n++)
            outcome->output.streams[n].to = -1;
        WITHOUT_GIL(end_all(child));
        over = false;
    } while (!over);
    outcome->ok = message.said == SAID_RETURNED && message.value;
    return message.said == SAID_RETURNED;
}

static bool
has_directory(const struct lxc_container *c)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", c->config_path, c->name);
    return access(path, F_OK) == 0;
}

/* What the child made of its copy is on disk. */
static void
take_result(struct held *held)
{
    struct lxc_container *c = held->c;

    c->clear_config(c);
    read_stamp(c->configfile, &held->self->file);
    WITHOUT_GIL(if (c->is_defined(c)) c->load_config(c, NULL));
    journal_reset(held->self);
    held->self->cleared = false;
}

/* Make the call.  False with an exception; else *outcome says what came of it. */
static bool
call_create(PyObject *self, struct create *create, struct outcome *outcome)
{
    struct child child;
    bool heard, forked = false;

    HELD held = hold(self, ALONE | ADOPT);
    if (held.c == NULL)
        return false;
    struct lxc_container *c = create->c = held.c;

    if (!output_open(&outcome->output, create))
        PyErr_SetFromErrno(PyExc_OSError);
    else
        forked = child_fork(&child, create_now, create, false);
    for (int n = 0; n < 2; n++)
        if (create->output[n] >= 0)
            close(create->output[n]);
    if (!forked)
        return false;
    heard = hear_all(&child, outcome);
    child_reap(&child);
    /* liblxc crashes where the configuration is gone: a template's doing, unless all
     * is.
     */
    if (!heard && outcome->interruption == NULL && (outcome->facts & HELD_IT) &&
        !has_directory(c))
        outcome->facts |= ROBBED;
    if (outcome->ok)
        take_result(&held);
    else if (!heard)
        because("the process that was to create it was killed");
    else if (outcome->facts & FULL)
        because_of(DISK_FULL, "the disk of %s is full", c->config_path);
    else if (outcome->facts & INVALID)
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
                 struct outcome *outcome)
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
    return call_create(self, &create, outcome);
}

static void
outcome_init(struct outcome *outcome)
{
    outcome->ok = false;
    outcome->facts = 0;
    outcome->interruption = NULL;
    output_init(&outcome->output);
}

PyObject *
Container_create(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct outcome outcome;

    outcome_init(&outcome);
    const bool called = parse_and_create(self, args, kwargs, &outcome);
    output_close(&outcome.output);
    if (outcome.interruption != NULL) {
        OWNED PyObject *type = PyObject_Type(outcome.interruption);
        OWNED PyObject *interruption = outcome.interruption;

        PyErr_SetObject(type, interruption);
        return NULL;
    }
    return called ? PyBool_FromLong(outcome.ok) : NULL;
}

PyObject *
Container__create(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct outcome outcome;

    outcome_init(&outcome);
    const bool called = parse_and_create(self, args, kwargs, &outcome);
    OWNED PyObject *interruption = outcome.interruption;
    output_close(&outcome.output);
    if (!called)
        return NULL;
    OWNED PyObject *all = tail_bytes(&outcome.output.all);
    OWNED PyObject *errors = tail_bytes(&outcome.output.errors);
    if (all == NULL || errors == NULL)
        return NULL;
    return Py_BuildValue("O(OO)OOOO", outcome.ok ? Py_True : Py_False, all, errors,
                         outcome.facts & HELD_IT ? Py_True : Py_False,
                         outcome.facts & ROBBED ? Py_True : Py_False,
                         outcome.facts & TEMPLATE ? Py_True : Py_False,
                         interruption != NULL ? interruption : Py_None);
}

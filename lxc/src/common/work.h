/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Work that is done in a process of its own, and what it says about it.
 *
 * That process is a child that the extension forks, or the launcher, which is a program
 * of its own: nothing in here knows Python.
 */
#ifndef PYTHON_LXC_WORK_H
#define PYTHON_LXC_WORK_H

#include <lxc/attach_options.h>
#include <lxc/lxccontainer.h>

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <termios.h>

/* A newer liblxc reads more than the structs of older headers have: it must find zeros
 * there. */
#define PADDED(type, name)                                                             \
    struct {                                                                           \
        type name;                                                                     \
        char room[64];                                                                 \
    }

/* --- Messages ----------------------------------------------------------------- */

enum said {
    SAID_USABLE,   /* the forked child, or the launcher, can be used at all */
    SAID_ATTACHED, /* value: the attached process's pid */
    SAID_STARTED,  /* the program is about to begin */
    SAID_EXECUTED, /* the program has begun */
    SAID_NO_EXEC,  /* value: the errno; extra: the step that failed, see enum step */
    SAID_ENDED,    /* value: the wait status of the program */
    SAID_RETURNED, /* value: what liblxc's call returned; extra: error_num */
    SAID_STALE,    /* the launcher found another configuration file: nothing was done */
    SAID_SIGNAL,   /* value: a signal for the program; extra: for its group */
    SAID_RELEASE,  /* what the program left running may go on */
    SAID_KILL,     /* the program, and what it left, is to end */
};

enum step { STEP_EXEC, STEP_CWD, STEP_USER, STEP_TERMINAL, STEP_FORK };

struct message {
    enum said said;
    int value;
    int extra;
};

void say(int fd, enum said said, int value, int extra);
bool hear(int fd, struct message *message); /* false if there is nothing to hear */

/* The same descriptor under a number that is none of stdin, stdout and stderr, which
 * the caller may have closed; -1 with errno. */
int above_stdio(int fd);

/* The parent of a process, as /proc has it; 0 if it is gone. */
pid_t parent_of(pid_t pid);
bool has_ended(pid_t pid); /* a zombie, too */

/* --- Descriptors -------------------------------------------------------------- */

/* A forked process has all descriptors of its parent.  While it waits it would keep a
 * pipe from ending, or a file from being closed: so it keeps what is on a list only. */

/* The file that a handle logs to, lxc.log.file, which liblxc has open under a number
 * that it does not tell: it would write to what has that number next.  st_ino is 0
 * where there is none. */
void find_log(struct lxc_container *c, struct stat *log);
bool is_log(int fd, const struct stat *log);

/* Close all from 3 on but these. */
void close_others(const int *keep, size_t n);
/* The same before a call of a handle's, whose log stays open. */
void close_for_call(struct lxc_container *c, const int *keep, size_t n);
/* Of those close what a program that is executed would not have. */
void close_private(struct lxc_container *c, const int *keep, size_t n);
void open_stdio(void); /* /dev/null where stdin, stdout or stderr is closed: liblxc gets
                        * their numbers for its own files, and then replaces those */
void null_stdio(void); /* /dev/null in the place of stdin, stdout and stderr */

/* --- Signals ------------------------------------------------------------------ */

void block_signals(sigset_t *old);
void restore_signals(const sigset_t *old);
void default_dispositions(void);
void default_signals(void); /* and an empty mask, as a new program expects */

/* Those that this process ignores, but for the C library's own; and have a program
 * begin like that, all others at their default and none blocked. */
void ignored_signals(sigset_t *ignored);
void signals_but(const sigset_t *ignored);

/* --- Time --------------------------------------------------------------------- */

double monotonic(void);
void nap(double seconds);

/* How often a waiting call looks at the state and at signals, in seconds. */
#define STEP 0.02

/* --- The terminal ------------------------------------------------------------- */

/* A terminal that a child is given and that is taken back from it. */
struct terminal {
    int fd; /* -1: there is none to give */
    pid_t group;
    struct termios settings;
};

void terminal_give(const struct terminal *terminal);

/* --- What liblxc has to say (log.c) ------------------------------------------- */

/* A memory file for liblxc's log, or -1. */
int log_open(void);

/* From now on liblxc writes there, in this process and what it forks, and to no log of
 * a parent's calls; private where nothing else does. */
void log_use(int log, bool private);

/* Whether it takes the place of each container's lxc.log.file. */
bool log_is_global(void);
void log_set_global(bool global);

/* The descriptor that liblxc writes its log to, whoever opened it; -1: there is none.
 */
int log_descriptor(void);

/* What outlives this process has nothing more to write into a private one. */
void log_seal(void);

/* From which of its levels on liblxc writes.  False where that cannot be set; -1 is
 * unknown, and leaves it. */
bool log_level(int level);
int log_get_level(void);

/* Where a call begins in the log that the process has for all its calls. */
struct mark {
    int fd;                /* -1: there is none */
    off_t from;            /* bytes */
    bool listens, foreign; /* foreign: the log is not ours, but lxc_log_init()'s */
};

/* process is a number that changes with each fork. */
void log_begin(struct mark *mark, unsigned long process);
void log_end(struct mark *mark);
void log_forked(void); /* in the child of a fork */

/* Before liblxc is called: its log is not that of the process which was forked while
 * another of its threads listened. */
void log_arrive(unsigned long process);

/* The log of lxc_log_init(), to which all that is said is to go; or -1. */
int log_of_others(void);

/* lxc_log_init(), as often as wanted: 0, or minus an errno.  lxc_log_close(). */
int log_init(struct lxc_log *log, int level);
void log_close(void);

/* In an attached process, in which a container's root may be: away with ours. */
void log_leave(void);

/* --- Attach ------------------------------------------------------------------- */

/* Since 4.0.7 lxc_attach_options_t has groups and lsm_label.  The flags have the same
 * values in every liblxc. */
#ifdef LXC_ATTACH_SETGROUPS
#define KNOWS_GROUPS 1
#else
#define KNOWS_GROUPS 0
#define LXC_ATTACH_LSM_LABEL 0x100000
#define LXC_ATTACH_SETGROUPS 0x200000
#endif
#ifndef LXC_ATTACH_DETECT_PERSONALITY /* since 4.0.9; it was -1 before as well */
#define LXC_ATTACH_DETECT_PERSONALITY (~0L)
#endif

#define MOST_GROUPS 1024

struct attach {
    PADDED(lxc_attach_options_t, options);
    const char *lsm_label;
    size_t ngroups;
    gid_t groups[MOST_GROUPS];
    const char *program;
    char **argv;
    int late[3]; /* what becomes its stdin, stdout and stderr: see attach_begin() */
    bool adopts; /* stdin is a terminal that nobody has: the program's own */
    int report;  /* where the attached process says that it started */
    bool bound;  /* it ends with the process that attached it */
};

/* Instead of a descriptor in late[]. */
#define LATE_CLOSED (-1)
#define LATE_LEFT (-2) /* it is what liblxc makes it */

/* What liblxc calls in the attached process, with a struct attach. */
int run_command(void *payload);
int run_shell(void *payload);

/* liblxc's call.  What it attaches to another user namespace than this process's is not
 * to be looked into from there: it still has this process's memory. */
int attach_hidden(struct lxc_container *c, lxc_attach_exec_t run, void *payload,
                  lxc_attach_options_t *options, pid_t *pid);

/* Make the call, in whatever process: the options take what they point to from here. */
int attach_now(struct lxc_container *c, struct attach *attach, int (*run)(void *),
               void *payload, pid_t *pid);

/* In the attached process, before its program: it has its own standard streams now. */
void attach_begin(const struct attach *attach);

/* Attach, say on fd what happens and, when it ended, wait until that was heard. */
void attach_and_tell(struct lxc_container *c, struct attach *attach, int (*run)(void *),
                     void *payload, int fd) __attribute__((noreturn));

/* --- Start -------------------------------------------------------------------- */

struct start {
    struct lxc_container *c;
    bool useinit, daemonize, close_fds;
    char **cmd;
    pid_t parent;
    struct terminal terminal;
};

/* Say SAID_RETURNED on fd and end; in the foreground when the container has ended. */
void start_and_tell(const struct start *start, int fd) __attribute__((noreturn));

/* --- Configuration (config.c) ------------------------------------------------- */

/* liblxc's calls, but for a limit or sysctl that is there already: liblxc 4.0.6 frees
 * it when it is set again, and goes on using it.  So it is cleared first. */
bool config_set(struct lxc_container *c, const char *key, const char *value);
bool config_load(struct lxc_container *c, const char *path);

/* An item as it reads, which is freed; NULL for one that is empty or not there. */
char *config_get(struct lxc_container *c, const char *key);

/* Load lines that are in no file. */
bool config_load_text(struct lxc_container *c, const char *text);

/* Whether reading a file cannot hang; one that is not there cannot. */
bool config_is_readable(const char *path);

/* A handle, or NULL.  A container that somebody destroys at this moment is none: liblxc
 * sees its configuration, waits for the destroyer's lock, finds no file any more, and
 * fails, with a complaint on stderr.  So that lock is waited for before; and where it
 * came in between, the second look sees that there is no container. */
struct lxc_container *container_open(const char *name, const char *lxcpath);

/* The whole of a regular file, with a NUL after it, which is freed; or NULL. */
char *config_read(const char *path, size_t *length);

/* Enough of a file's status to tell whether it is still the one that was read. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

void read_stamp(const char *file, struct stamp *stamp);

/* What is done to a handle, for another to repeat: each note is one of these, and its
 * words. */
enum note {
    NOTE_SET = 's',    /* key, value */
    NOTE_CLEAR = 'c',  /* key */
    NOTE_FORGET = 'f', /* the whole configuration */
    NOTE_LOAD = 'l',   /* path, and what was in that file */
};

/* How to come by the configuration that a handle has: its file, if that is still the
 * same, or what was in it, if that is known, and what was done since. */
struct recipe {
    struct stamp file;
    const char *base;
    char **journal; /* notes, and NULL; or NULL */
};

/* A handle with that configuration, or NULL where it cannot be had. */
struct lxc_container *config_open(const char *name, const char *lxcpath,
                                  const struct recipe *recipe);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The configuration's file: to save it, whole or not at all, and where it is.
 */
#include "configfile.h"

#include "apart.h"
#include "convert.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
#include "reasons.h"
#include "room.h"
#include "work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Configuration files ------------------------------------------------------ */

static void
put_back(const char *path, const char *content, size_t length)
{
    int fd;

    if (content == NULL) {
        unlink(path);
        return;
    }
    /* There is room: the file had it before. */
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    while (fd >= 0 && length > 0) {
        ssize_t done = write(fd, content, length);

        if (done <= 0)
            break;
        content += done;
        length -= (size_t)done;
    }
    if (fd >= 0)
        close(fd);
}

enum saved { REFUSED, SAVED, CUT_SHORT, UNREAD };

/* To a pipe or a device, as /dev/stdout can be: liblxc would wait for its reader. */
static enum saved
save_to_stream(struct lxc_container *c, const char *path)
{
    int memory = memfd_create("config", MFD_CLOEXEC), fd;
    enum saved saved = REFUSED;
    size_t left = 0;
    ssize_t done = 0;
    char file[32], *text = NULL, *rest;

    if (memory < 0)
        return REFUSED;
    snprintf(file, sizeof(file), "/proc/self/fd/%d", memory);
    if (c->save_config(c, file) && (text = config_read(file, &left)) != NULL) {
        saved = UNREAD;
        fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        for (rest = text; fd >= 0 && left > 0; rest += done, left -= (size_t)done)
            if ((done = write(fd, rest, left)) <= 0)
                break;
        if (fd >= 0 && left == 0)
            saved = SAVED;
        if (fd >= 0)
            close(fd);
    }
    free(text);
    close(memory);
    return saved;
}

/* What save_config() is to write.  NULL with REFUSED where liblxc does not do it, with
 * CUT_SHORT where there is no room, with SAVED where that cannot be told. */
static char *
text_to_save(struct lxc_container *c, size_t *length, enum saved *saved)
{
    int memory = memfd_create("config", MFD_CLOEXEC);
    char file[32], *text = NULL;

    *saved = SAVED;
    if (memory < 0)
        return NULL;
    snprintf(file, sizeof(file), "/proc/self/fd/%d", memory);
    if (!c->save_config(c, file))
        *saved = REFUSED;
    else
        text = config_read(file, length);
    /* The process's limit cuts what is in memory as well. */
    if (lseek(memory, 0, SEEK_END) >= 0 && write(memory, "", 1) != 1)
        *saved = CUT_SHORT;
    close(memory);
    if (*saved != SAVED) {
        free(text);
        text = NULL;
    }
    return text;
}

/* Compare what the file holds with what it should, and put the old one back. */
static enum saved
save_to_file(struct lxc_container *c, const char *path, const char *file, bool existed,
             const char *should, size_t should_length)
{
    size_t old_length = 0, is_length = 0;
    char *old = config_read(file, &old_length), *is;
    enum saved saved = c->save_config(c, path) ? SAVED : REFUSED;

    if (saved == SAVED && should != NULL &&
        (is = config_read(file, &is_length)) != NULL) {
        if (is_length != should_length || memcmp(is, should, is_length) != 0) {
            saved = CUT_SHORT;
            if (old != NULL || !existed)
                put_back(file, old, old_length);
        }
        free(is);
    }
    free(old);
    return saved;
}

static enum saved
save_whole(struct lxc_container *c, const char *path)
{
    const char *file = path != NULL ? path : c->configfile, *slash;
    char *directory, *should;
    size_t length = 0;
    struct stat status;
    const bool existed = stat(file, &status) == 0;
    enum saved saved;

    if (existed && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return save_to_stream(c, file);
    should = text_to_save(c, &length, &saved);
    if (saved != SAVED)
        return saved;
    slash = strrchr(file, '/');
    directory = slash == NULL ? strdup(".") : strndup(file, (size_t)(slash - file) + 1);
    if (directory != NULL && why_no_room(directory, (off_t)length) != 0)
        saved = CUT_SHORT;
    else
        saved = save_to_file(c, path, file, existed, should, length);
    free(directory);
    free(should);
    return saved;
}

static int
save_now(const void *argument)
{
    const struct texts *texts = argument;

    return save_whole(texts->c, texts->s);
}

PyObject *
Container_save_config(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    OWNED PyObject *path = NULL;
    int saved = REFUSED;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:save_config", names,
                                     optional_text, &path))
        return NULL;
    /* liblxc forks for that only where the caller is no root. */
    const bool forks = geteuid() != 0;
    HELD held = hold(self, ALONE | ADOPT | LISTEN | (forks ? 0 : UMASK));
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const struct texts texts = {c, c_str(path), NULL};

    if (!forks)
        WITHOUT_GIL(saved = save_now(&texts));
    else if (!call_apart(save_now, &texts, &saved))
        return NULL;
    if (saved == CUT_SHORT)
        because("%s could not be written whole: is the disk full?",
                texts.s != NULL ? texts.s : c->configfile);
    if (saved == UNREAD)
        because("%s is no regular file, and is not being read",
                texts.s != NULL ? texts.s : c->configfile);
    if (saved == SAVED && texts.s == NULL) {
        read_stamp(c->configfile, &held.self->file);
        journal_reset(held.self);
        held.self->cleared = false;
    }
    return PyBool_FromLong(answer(&held, saved == SAVED));
}

PyObject *
Container_set_config_path(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    OWNED PyObject *path = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:set_config_path", names, lxcpath,
                                     &path))
        return NULL;
    HELD held = hold(self, ALONE);
    if (held.c == NULL)
        return NULL;
    if (held.c->lxc_conf != NULL)
        journal_moved(held.self);
    if (!held.c->set_config_path(held.c, c_str(path)))
        Py_RETURN_FALSE;
    read_stamp(held.c->configfile, &held.self->file);
    place_put(held.self->place);
    held.self->place = NULL;
    set_path(held.self, path);
    Py_RETURN_TRUE;
}

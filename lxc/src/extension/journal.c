/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What was done to a handle since its file was read, and with it what the file said.
 *
 * Another handle can be made of that, in this process or in the launcher: see
 * config_open().  What the file includes is taken for unchanged: to look at each of
 * those files would cost more than most calls.
 *
 * liblxc keeps a configuration twice: its items, and the lines that will be saved.  An
 * item that is cleared loses its lines, but neither those of an included file nor those
 * that begin with a space.  The journal knows these lines, so that clearing an item can
 * add one that clears it in the file, too.
 */
#include "journal.h"

#include "convert.h"
#include "handle.h"
#include "work.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define INCLUDE "lxc.include"

/* --- Texts -------------------------------------------------------------------- */

/* Whether a line is one that stays when its item is cleared. */
static bool
is_fixed(const char *line)
{
    const bool indented = isblank((unsigned char)*line);

    line += strspn(line, " \t");
    if (strncmp(line, "lxc.", 4) != 0)
        return false;
    return indented || (strncmp(line, INCLUDE, strlen(INCLUDE)) == 0 &&
                        strchr(" \t=", line[strlen(INCLUDE)]) != NULL);
}

/* Add those of a text to others; NULL where there is no memory. */
static char *
add_fixed(char *fixed, const char *text)
{
    const size_t had = fixed != NULL ? strlen(fixed) : 0;
    char *all = realloc(fixed, had + strlen(text) + 2), *end = all + had;

    if (all == NULL) {
        free(fixed);
        return NULL;
    }
    while (*text != '\0') {
        const size_t length = strcspn(text, "\n");

        if (is_fixed(text)) {
            memcpy(end, text, length);
            end += length;
            *end++ = '\n';
        }
        text += length + (text[length] == '\n');
    }
    *end = '\0';
    return all;
}

/* Includes that are cleared have gone from the lines, though not from the items. */
static void
drop_includes(char *fixed)
{
    char *to = fixed;

    for (char *line = fixed; line != NULL && *line != '\0';) {
        const size_t length = strcspn(line, "\n") + 1;

        if (isblank((unsigned char)*line)) {
            memmove(to, line, length);
            to += length;
        }
        line += length;
    }
    if (to != NULL)
        *to = '\0';
}

/* --- The journal -------------------------------------------------------------- */

void
journal_spoil(Container *self)
{
    self->unsaved = true;
    self->journal.spoilt = true;
}

void
notes_free(struct notes *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        free(notes->entries[i]);
    free(notes->entries);
    *notes = (struct notes){0};
}

static void
forget_outline(struct journal *journal)
{
    if (journal->outline != NULL)
        lxc_container_put(journal->outline);
    journal->outline = NULL;
}

void
journal_reset(Container *self)
{
    struct journal *journal = &self->journal;

    notes_free(&journal->notes);
    if (self->lock.torn) /* liblxc's lock of it may be, too */
        journal->outline = NULL;
    forget_outline(journal);
    free(journal->base);
    free(journal->fixed);
    *journal = (struct journal){0};
    self->unsaved = false;
}

/* Before the first change: what the file said. */
static void
begin(Container *self)
{
    struct journal *journal = &self->journal;
    const char *path = self->c->configfile;
    struct stamp now;
    size_t length;
    char *text;

    if (journal->fixed != NULL)
        return;
    text = config_read(path, &length);
    read_stamp(path, &now);
    if (text == NULL && now.inode == 0)
        text = strdup("");
    journal->fixed = add_fixed(NULL, text != NULL ? text : "");
    journal->spoilt = journal->spoilt || journal->fixed == NULL;
    if (text != NULL && (length == 0 || strlen(text) == length) &&
        memcmp(&now, &self->file, sizeof(now)) == 0)
        journal->base = text;
    else
        free(text);
}

/* How many entries a note is. */
static size_t
length_of(const char *what)
{
    return *what == NOTE_FORGET ? 1 : *what == NOTE_CLEAR ? 2 : 3;
}

bool
notes_add(struct notes *notes, const char *entry)
{
    if (notes->n + 1 >= notes->room) {
        const size_t room = notes->room == 0 ? 8 : 2 * notes->room;
        char **more = realloc(notes->entries, room * sizeof(*more));

        if (more == NULL)
            return false;
        notes->entries = more;
        notes->room = room;
    }
    if ((notes->entries[notes->n] = strdup(entry)) == NULL)
        return false;
    notes->entries[++notes->n] = NULL;
    return true;
}

/* Whether clearing a key undoes what was done to another: its own, or those below it.
 */
static bool
covers(const char *key, const char *other)
{
    const size_t length = strlen(key);

    return strncmp(other, key, length) == 0 &&
           (other[length] == '\0' ||
            (other[length] == '.' && strncmp(key, "lxc.net", 7) == 0));
}

/* What was set is cleared now: of a program that sets an item again and again only the
 * last time is left.  Not of files, whose items stay. */
static void
forget_key(struct notes *notes, const char *key)
{
    size_t kept = 0;

    if (strcmp(key, INCLUDE) == 0)
        return;
    for (size_t i = 0; i < notes->n;) {
        char **note = &notes->entries[i];
        const size_t length = length_of(note[0]);
        const bool gone =
            (*note[0] == NOTE_SET || *note[0] == NOTE_CLEAR) && covers(key, note[1]);

        i += length;
        for (size_t j = 0; j < length; j++) {
            if (gone)
                free(note[j]);
            else
                notes->entries[kept++] = note[j];
        }
    }
    notes->n = kept;
    if (notes->entries != NULL)
        notes->entries[kept] = NULL;
}

/* What else there are lines of now that stay. */
static void
note_fixed(struct journal *journal, enum note what, const char *first,
           const char *second)
{
    char *line = NULL;

    if (what == NOTE_FORGET)
        *journal->fixed = '\0';
    else if (what == NOTE_CLEAR && strcmp(first, INCLUDE) == 0)
        drop_includes(journal->fixed);
    else if (what == NOTE_LOAD)
        journal->fixed = add_fixed(journal->fixed, second);
    else if (what == NOTE_SET && strcmp(first, INCLUDE) == 0 &&
             asprintf(&line, INCLUDE " = %s", second) > 0)
        journal->fixed = add_fixed(journal->fixed, line);
    else
        return;
    free(line);
    forget_outline(journal);
    journal->spoilt = journal->spoilt || journal->fixed == NULL;
}

void
journal_note(Container *self, enum note what, const char *first, const char *second)
{
    struct journal *journal = &self->journal;
    struct notes *notes = &journal->notes;

    begin(self);
    self->unsaved = true;
    if (what == NOTE_FORGET) /* nothing of what was before is left */
        notes_free(notes);
    if (what == NOTE_CLEAR)
        forget_key(notes, first);
    if (journal->fixed != NULL)
        note_fixed(journal, what, first, second);
    if (!notes_add(notes, (char[]){(char)what, '\0'}) ||
        (first != NULL && !notes_add(notes, first)) ||
        (second != NULL && !notes_add(notes, second)))
        journal->spoilt = true;
}

void
journal_moved(Container *self)
{
    struct notes older, *notes = &self->journal.notes;

    begin(self);
    older = *notes;
    *notes = (struct notes){0};
    self->unsaved = true;
    self->journal.spoilt = self->journal.spoilt || self->journal.base == NULL ||
                           !notes_add(notes, (char[]){NOTE_FORGET, '\0'});
    if (self->journal.base != NULL && *self->journal.base != '\0' &&
        !(notes_add(notes, (char[]){NOTE_LOAD, '\0'}) &&
          notes_add(notes, self->c->configfile) &&
          notes_add(notes, self->journal.base)))
        self->journal.spoilt = true;
    for (size_t i = 0; i < older.n; i++)
        if (!notes_add(notes, older.entries[i]))
            self->journal.spoilt = true;
    notes_free(&older);
}

/* --- What comes from the lines that stay -------------------------------------- */

bool
journal_has_fixed(Container *self)
{
    begin(self);
    return self->journal.fixed != NULL && *self->journal.fixed != '\0';
}

struct lxc_container *
journal_outline(Container *self)
{
    struct journal *journal = &self->journal;

    if (!journal_has_fixed(self))
        return NULL;
    if (journal->outline == NULL &&
        (journal->outline = lxc_container_new("no-such-container", NULL)) != NULL) {
        journal->outline->clear_config(journal->outline);
        config_load_text(journal->outline, journal->fixed);
    }
    return journal->outline;
}

void
journal_new_outline(Container *self)
{
    forget_outline(&self->journal);
}

/* --- Handles like it ---------------------------------------------------------- */

bool
has_unsaved(const struct held *held)
{
    struct stamp now;

    if (held->self->unsaved || held->self->cleared)
        return true;
    read_stamp(held->c->configfile, &now);
    return memcmp(&now, &held->self->file, sizeof(now)) != 0;
}

bool
journal_is_exact(const struct held *held)
{
    struct stamp now;

    if (held->self->journal.spoilt)
        return false;
    if (held->self->journal.base != NULL)
        return true;
    read_stamp(held->c->configfile, &now);
    return memcmp(&now, &held->self->file, sizeof(now)) == 0;
}

struct lxc_container *
open_like(const struct held *held)
{
    Container *self = held->self;
    struct lxc_container *c;
    const char *name = held->c->name, *path = held->c->config_path;
    const struct recipe recipe = {self->file, self->journal.base,
                                  self->journal.notes.entries};

    if (!self->unsaved && !self->cleared) {
        if ((c = open_handle(self)) == NULL || c->lxc_conf != NULL)
            return c;
        lxc_container_put(c); /* its file is gone */
        return NULL;
    }
    if (self->journal.spoilt)
        return NULL;
    WITHOUT_GIL(c = config_open(name, path, &recipe));
    return c;
}

/* --- lxc.mount.auto = shmounts: ----------------------------------------------- */

#define BARE "shmounts:"

static bool scan_path(const char *path, bool found, int depth);

static bool
has_bare(const char *value)
{
    for (;;) {
        value += strspn(value, " \t");
        const size_t length = strcspn(value, " \t");

        if (length == 0)
            return false;
        if (length == strlen(BARE) && strncmp(value, BARE, length) == 0)
            return true;
        value += length;
    }
}

static bool
scan_item(const char *key, const char *value, bool found, int depth)
{
    if (strcmp(key, INCLUDE) == 0)
        return scan_path(value, found, depth);
    if (strcmp(key, "lxc.mount.auto") != 0)
        return found;
    return *value != '\0' && (found || has_bare(value));
}

static bool
scan_line(char *line, bool found, int depth)
{
    char *equals = strchr(line, '='), *end;

    if (equals == NULL)
        return found;
    for (end = equals; end > line && isspace((unsigned char)end[-1]);)
        end--;
    *end = '\0';
    equals += 1 + strspn(equals + 1, " \t");
    for (end = equals + strlen(equals);
         end > equals && isspace((unsigned char)end[-1]);)
        end--;
    *end = '\0';
    return scan_item(line + strspn(line, " \t"), equals, found, depth);
}

/* Whether it is so after these lines too. */
static bool
scan_text(const char *text, bool found, int depth)
{
    while (*text != '\0') {
        const size_t length = strcspn(text, "\n");
        char *line = strndup(text, length);

        if (line != NULL)
            found = scan_line(line, found, depth);
        free(line);
        text += length + (text[length] == '\n');
    }
    return found;
}

/* A file, or the files of a directory that are configurations. */
static bool
scan_path(const char *path, bool found, int depth)
{
    struct dirent *entry;
    char *text, file[PATH_MAX];
    size_t length;
    DIR *directory;

    if (depth > 8)
        return found;
    if ((directory = opendir(path)) == NULL) {
        text = config_read(path, &length);
        found = text != NULL ? scan_text(text, found, depth + 1) : found;
        free(text);
        return found;
    }
    while ((entry = readdir(directory)) != NULL) {
        length = strlen(entry->d_name);
        if (length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0 &&
            snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) <
                (int)sizeof(file))
            found = scan_path(file, found, depth + 1);
    }
    closedir(directory);
    return found;
}

bool
journal_has_bare_shmounts(Container *self)
{
    const struct notes *notes = &self->journal.notes;
    bool found;

    found = self->journal.base != NULL ? scan_text(self->journal.base, false, 0)
                                       : scan_path(self->c->configfile, false, 0);
    for (size_t i = 0; i < notes->n; i += length_of(notes->entries[i])) {
        char **note = &notes->entries[i];

        if (*note[0] == NOTE_SET)
            found = scan_item(note[1], note[2], found, 0);
        else if (*note[0] == NOTE_LOAD)
            found = scan_text(note[2], found, 0);
        else if (*note[0] == NOTE_FORGET || strcmp(note[1], "lxc.mount.auto") == 0)
            found = false;
    }
    return found;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What was done to a handle since its file was read.
 */
#ifndef PYTHON_LXC_JOURNAL_H
#define PYTHON_LXC_JOURNAL_H

#include "handle.h"

/* Whether the handle's configuration may differ from its file. */
bool has_unsaved(const struct held *held);

/* Whether another handle can be given the same configuration. */
bool journal_is_exact(const struct held *held);

/* A handle of our own like the one that is held, with what is not saved of it; GIL
 * held. NULL where there is none, which may be with an exception. */
struct lxc_container *open_like(const struct held *held);

/* Note what was done to the configuration; CONFIG or ALONE is held. */
void journal_note(Container *self, enum note what, const char *first,
                  const char *second);
void journal_moved(Container *self); /* the file is about to be another */
void journal_spoil(Container *self);
void journal_reset(Container *self); /* handle and file are the same again */

/* Whether there are lines that stay when their item is cleared, and a handle that has
 * nothing but them; NULL where there are none. */
bool journal_has_fixed(Container *self);
struct lxc_container *journal_outline(Container *self);
void journal_new_outline(Container *self); /* it was used for something else */

/* Whether lxc.mount.auto has a "shmounts:" without a path, which hangs the start. */
bool journal_has_bare_shmounts(Container *self);

bool notes_add(struct notes *notes, const char *entry); /* false: out of memory */
void notes_free(struct notes *notes);

#endif

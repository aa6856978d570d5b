/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether there is room for a configuration, on the disk and within RLIMIT_FSIZE.
 *
 * liblxc empties a file before it writes, takes a short one for whole, and crashes
 * where it copies a container with a configuration that is empty.  So room is tried
 * first, and nothing is touched where there is none.
 */
#ifndef PYTHON_LXC_ROOM_H
#define PYTHON_LXC_ROOM_H

#include "convert.h"

#include <lxc/lxccontainer.h>
#include <stdbool.h>

/* Why there is no room in a directory for another file of that size: an errno.  0 where
 * there is, or where that cannot be told. */
int why_no_room(const char *directory, off_t size);

/* Whether there is room for a configuration like this one in that lxcpath, or in its
 * own where that is NULL; else the reason is known. */
bool has_room(struct lxc_container *c, const char *directory);

/* Whether this process may write as much as that configuration and what it includes.
 * liblxc reads by way of a memory file, and would have a part of it, or none, and say
 * nothing. */
bool may_be_read_whole(const char *file);

#endif

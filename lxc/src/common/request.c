/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A request as a memory file: the struct, then its texts, one after the other.
 */
#define _GNU_SOURCE
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where the struct has texts, and lists of texts that end with NULL. */
static const size_t texts[] = {
    offsetof(struct request, name),
    offsetof(struct request, lxcpath),
    offsetof(struct request, cwd),
    offsetof(struct request, recipe.base),
    offsetof(struct request, attach.program),
    offsetof(struct request, attach.lsm_label),
    offsetof(struct request, attach.options.initial_cwd),
};
static const size_t lists[] = {
    offsetof(struct request, recipe.journal),
    offsetof(struct request, environment),
    offsetof(struct request, variables),
    offsetof(struct request, attach.argv),
    offsetof(struct request, attach.options.extra_env_vars),
    offsetof(struct request, attach.options.extra_keep_env),
    offsetof(struct request, start.cmd),
};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define AT(request, offset) ((void *)((char *)(request) + (offset)))

/* --- Packing ------------------------------------------------------------------ */

struct packed {
    char *data;
    size_t size, room;
};

static bool
pack(struct packed *packed, const void *data, size_t size)
{
    if (packed->size + size > packed->room) {
        size_t room = 2 * packed->room + size;
        char *more = realloc(packed->data, room);

        if (more == NULL)
            return false;
        packed->data = more;
        packed->room = room;
    }
    memcpy(packed->data + packed->size, data, size);
    packed->size += size;
    return true;
}

/* A text is its length with the NUL, 0 for NULL, and what it is. */
static bool
pack_text(struct packed *packed, const char *text)
{
    const size_t length = text != NULL ? strlen(text) + 1 : 0;

    return pack(packed, &length, sizeof(length)) &&
           (length == 0 || pack(packed, text, length));
}

/* A list is its number of texts and one for their end, 0 for NULL, and they. */
static bool
pack_list(struct packed *packed, char *const *list)
{
    size_t n = 0;

    while (list != NULL && list[n] != NULL)
        n++;
    n += list != NULL;
    if (!pack(packed, &n, sizeof(n)))
        return false;
    for (size_t i = 0; i + 1 < n; i++)
        if (!pack_text(packed, list[i]))
            return false;
    return true;
}

int
request_pack(const struct request *request)
{
    struct packed packed = {0};
    bool ok = pack(&packed, request, sizeof(*request));
    int fd = -1;

    for (size_t i = 0; ok && i < COUNT(texts); i++)
        ok = pack_text(&packed, *(const char *const *)AT(request, texts[i]));
    for (size_t i = 0; ok && i < COUNT(lists); i++)
        ok = pack_list(&packed, *(char *const *const *)AT(request, lists[i]));
    if (ok)
        fd = above_stdio(memfd_create("lxc-request", MFD_CLOEXEC));
    for (size_t done = 0; fd >= 0 && done < packed.size;) {
        const ssize_t written = write(fd, packed.data + done, packed.size - done);

        if (written < 0 && errno != EINTR) {
            int error = errno;

            close(fd);
            fd = -1;
            errno = error;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    free(packed.data);
    return fd;
}

/* --- Unpacking ---------------------------------------------------------------- */

static bool
unpack(struct packed *packed, void *data, size_t size)
{
    if (packed->room - packed->size < size)
        return false;
    memcpy(data, packed->data + packed->size, size);
    packed->size += size;
    return true;
}

static bool
unpack_text(struct packed *packed, char **text)
{
    size_t length;

    if (!unpack(packed, &length, sizeof(length)) ||
        packed->room - packed->size < length)
        return false;
    *text = length > 0 ? packed->data + packed->size : NULL;
    packed->size += length;
    return length == 0 || (*text)[length - 1] == '\0';
}

static bool
unpack_list(struct packed *packed, char ***list)
{
    size_t n;

    *list = NULL;
    if (!unpack(packed, &n, sizeof(n)) || n > packed->room)
        return false;
    if (n == 0)
        return true;
    if ((*list = calloc(n, sizeof(**list))) == NULL)
        return false;
    for (size_t i = 0; i + 1 < n; i++)
        if (!unpack_text(packed, &(*list)[i]))
            return false;
    return true;
}

bool
request_unpack(int fd, struct request *request)
{
    struct packed packed = {0};
    struct stat status;
    bool ok;

    if (fstat(fd, &status) < 0 || status.st_size < (off_t)sizeof(*request))
        return false;
    packed.room = (size_t)status.st_size;
    packed.data = mmap(NULL, packed.room, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (packed.data == MAP_FAILED)
        return false;
    ok =
        unpack(&packed, request, sizeof(*request)) && request->size == sizeof(*request);
    for (size_t i = 0; ok && i < COUNT(texts); i++)
        ok = unpack_text(&packed, AT(request, texts[i]));
    for (size_t i = 0; ok && i < COUNT(lists); i++)
        ok = unpack_list(&packed, AT(request, lists[i]));
    return ok;
}

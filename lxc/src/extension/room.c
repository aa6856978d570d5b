/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether there is room for a configuration, on the disk and within RLIMIT_FSIZE.
 */
#include "room.h"

#include "reasons.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int
why_no_room(const char *directory, off_t size)
{
    static const char zeros[4096];
    int fd = open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600), error = 0;

    while (fd >= 0 && size > 0 && error == 0) {
        const size_t next = size < (off_t)sizeof(zeros) ? (size_t)size : sizeof(zeros);
        const ssize_t done = write(fd, zeros, next);

        if (done <= 0)
            error = errno;
        size -= done;
    }
    if (fd >= 0)
        close(fd);
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? error : 0;
}

bool
has_room(struct lxc_container *c, const char *directory)
{
    struct stat status;
    const off_t size = stat(c->configfile, &status) == 0 ? status.st_size : 0;
    const char *path = directory != NULL ? directory : c->config_path;
    /* It grows by some lines. */
    const int error = why_no_room(path, size + 4 * 4096);

    if (error == EFBIG)
        because_of(DISK_FULL, "this process may not write files of that size: see "
                              "RLIMIT_FSIZE");
    else if (error != 0)
        because_of(DISK_FULL, "the disk of %s is full", path);
    return error == 0;
}

bool
may_be_read_whole(const char *file)
{
    struct rlimit limit;
    struct stat status;

    return getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
           stat(file, &status) < 0 ||
           limit.rlim_cur >= (rlim_t)status.st_size + (64 << 10);
}

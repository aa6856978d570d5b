/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What run() and popen() need of C, for process.py.
 */
#ifndef PYTHON_LXC_COMMANDS_H
#define PYTHON_LXC_COMMANDS_H

#include "convert.h"

/* Find what is at a path beneath the root of a process, by flags such as O_NOFOLLOW: a
 * descriptor with O_PATH, or -1 with errno. */
int find_beneath(int pid, const char *path, int flags);

PyObject *Container__request(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module__hear(PyObject *module, PyObject *args);
PyObject *module__order(PyObject *module, PyObject *args);
PyObject *module__open_beneath(PyObject *module, PyObject *args);
PyObject *module__socket_pair(PyObject *module, PyObject *ignored);

#endif

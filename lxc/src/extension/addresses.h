/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The interfaces and addresses inside a running container.
 */
#ifndef PYTHON_LXC_ADDRESSES_H
#define PYTHON_LXC_ADDRESSES_H

#include "convert.h"

/* The pid of a pidfd's process, 0 if that cannot be told. */
pid_t pid_of(int pidfd);

PyObject *Container_get_interfaces(PyObject *self, PyObject *ignored);
PyObject *Container_get_ips(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

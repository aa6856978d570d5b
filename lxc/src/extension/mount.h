/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * mount and umount.
 */
#ifndef PYTHON_LXC_MOUNT_H
#define PYTHON_LXC_MOUNT_H

#include "convert.h"

PyObject *Container_mount(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_umount(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

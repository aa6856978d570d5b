/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Clones, snapshots, new names, and the end.
 */
#ifndef PYTHON_LXC_CLONE_H
#define PYTHON_LXC_CLONE_H

#include "convert.h"

PyObject *Container_clone(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_destroy(PyObject *self, PyObject *ignored);
PyObject *Container_destroy_with_snapshots(PyObject *self, PyObject *ignored);
PyObject *Container_rename(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_snapshot(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_snapshot_destroy(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_snapshot_destroy_all(PyObject *self, PyObject *ignored);
PyObject *Container_snapshot_list(PyObject *self, PyObject *ignored);
PyObject *Container_snapshot_restore(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

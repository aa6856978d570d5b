/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * checkpoint, restore and migrate, which criu does.
 */
#ifndef PYTHON_LXC_MIGRATE_H
#define PYTHON_LXC_MIGRATE_H

#include "convert.h"

PyObject *Container_checkpoint(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_migrate(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_restore(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

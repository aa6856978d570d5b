/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * create.
 */
#ifndef PYTHON_LXC_CREATE_H
#define PYTHON_LXC_CREATE_H

#include "convert.h"

PyObject *Container_create(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container__create(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

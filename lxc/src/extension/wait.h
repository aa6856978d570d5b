/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Waiting for a state.
 */
#ifndef PYTHON_LXC_WAIT_H
#define PYTHON_LXC_WAIT_H

#include "convert.h"

PyObject *Container_reboot2(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_shutdown(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_wait(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

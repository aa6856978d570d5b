/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The container's terminals.
 */
#ifndef PYTHON_LXC_CONSOLE_H
#define PYTHON_LXC_CONSOLE_H

#include "convert.h"

PyObject *Container_console(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_console_getfd(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_console_log(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * attach and attach_wait.
 */
#ifndef PYTHON_LXC_ATTACH_H
#define PYTHON_LXC_ATTACH_H

#include "convert.h"

PyObject *Container_attach(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_attach_wait(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module_attach_run_command(PyObject *module, PyObject *command);
PyObject *module_attach_run_shell(PyObject *module, PyObject *ignored);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Items of a configuration in memory.
 */
#ifndef PYTHON_LXC_ITEMS_H
#define PYTHON_LXC_ITEMS_H

#include "convert.h"

PyObject *Container__replace_config_item(PyObject *self, PyObject *const *args,
                                         Py_ssize_t n);
PyObject *Container_clear_config(PyObject *self, PyObject *ignored);
PyObject *Container_clear_config_item(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_load_config(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_set_config_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *keywords);

#endif

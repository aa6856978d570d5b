/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The containers of an lxcpath.
 */
#ifndef PYTHON_LXC_LISTING_H
#define PYTHON_LXC_LISTING_H

#include "convert.h"

PyObject *Container__list(PyObject *type, PyObject *args, PyObject *kwargs);
PyObject *module_list_containers(PyObject *module, PyObject *args, PyObject *kwargs);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * start.
 */
#ifndef PYTHON_LXC_START_H
#define PYTHON_LXC_START_H

#include "convert.h"

PyObject *Container_start(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

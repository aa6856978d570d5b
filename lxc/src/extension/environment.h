/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The environment of this process.
 */
#ifndef PYTHON_LXC_ENVIRONMENT_H
#define PYTHON_LXC_ENVIRONMENT_H

#include "convert.h"

PyObject *module__environment(PyObject *module, PyObject *args);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The configuration's file.
 */
#ifndef PYTHON_LXC_CONFIGFILE_H
#define PYTHON_LXC_CONFIGFILE_H

#include "convert.h"

PyObject *Container_save_config(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Container_set_config_path(PyObject *self, PyObject *args, PyObject *kwargs);

#endif

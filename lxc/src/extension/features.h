/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the liblxc at hand can do, and the calls that not every one has.
 */
#ifndef PYTHON_LXC_FEATURES_H
#define PYTHON_LXC_FEATURES_H

#include "convert.h"

#include <lxc/lxccontainer.h>

bool is_new_enough(void); /* or an ImportError */

/* Whether the liblxc at hand has them, or a NotImplementedError. */
bool has_groups(void);
bool has_lsm_label(void);
bool has_rbduser(void);
void set_rbduser(struct bdev_specs *specs, char *rbduser);
bool apply_timeout(struct lxc_container *c, int timeout);
PyObject *Container_devpts_fd(PyObject *self, PyObject *ignored);
PyObject *Container_init_pidfd(PyObject *self, PyObject *ignored);
PyObject *Container_seccomp_notify_fd(PyObject *self, PyObject *ignored);
PyObject *Container_seccomp_notify_fd_active(PyObject *self, PyObject *ignored);
PyObject *Container_set_timeout(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *module_features(PyObject *module, PyObject *ignored);

#endif

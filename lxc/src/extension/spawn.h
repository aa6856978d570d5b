/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that the launcher makes.
 */
#ifndef PYTHON_LXC_SPAWN_H
#define PYTHON_LXC_SPAWN_H

#include "apart.h"
#include "handle.h"
#include "request.h"

/* Where the launcher is, which is beside the extension. */
bool find_launcher(PyObject *module);

/* Whether a call is better made by the launcher: see there. */
bool is_for_the_launcher(const struct held *held);

/* Have the launcher do it: it speaks through child->fd, as a forked child does.  False
 * with an exception, or without one where it cannot be started. */
bool launch(const struct held *held, struct request *request, struct child *child);

/* A descriptor of a request to run something, which lacks only what is said of the
 * container; -1 with an exception. */
int pack_run(const struct held *held, struct request *request);

PyObject *module__launcher(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *module__launcher_fd(PyObject *module, PyObject *ignored);

#endif

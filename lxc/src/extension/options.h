/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What attach and attach_wait are told, converted.
 */
#ifndef PYTHON_LXC_OPTIONS_H
#define PYTHON_LXC_OPTIONS_H

#include "convert.h"
#include "work.h"

enum kind { COMMAND, SHELL, FUNCTION };

/* A call with everything converted: nothing is left to go wrong between the forks. */
struct call {
    struct attach attach; /* first: what is attached is given one of the two */
    enum kind kind;
    PyObject *program, *cwd, *label;      /* bytes */
    PyObject *run, *function, *arguments; /* lxc._attached.run, and what it calls */
    bool threaded; /* there were others when it was forked, which may have held locks */
    int stdio[3];  /* copies of what liblxc is to see as stdin, stdout and stderr */
    bool terminal; /* stdin is our terminal: what is typed there is the program's */
    struct lxc_container *c;
};

void start_call(struct call *call);
void free_call(struct call *call);
#define CALL __attribute__((cleanup(free_call))) struct call

/* (run[, payload]) and the options, into a call that was started; or an exception. */
bool convert(PyObject *args, PyObject *kwargs, struct call *call);

/* (program, [argument 0, argument 1, ...]) */
bool convert_command(PyObject *pair, PyObject **program, char ***argv);

#endif

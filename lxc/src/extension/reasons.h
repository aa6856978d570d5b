/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Why a call said no.
 */
#ifndef PYTHON_LXC_REASONS_H
#define PYTHON_LXC_REASONS_H

#include "apart.h"
#include "handle.h"

/* Cases that callers must be able to tell apart. */
enum why { UNKNOWN, NOT_DEFINED, NOT_RUNNING, FROZEN, TIMED_OUT, DISK_FULL, ENDED };

/* Why the last call of this thread said no, where the binding itself knows. */
void because_it(enum why state); /* is not defined, not running, frozen */
void because_of(enum why kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#define because(...) because_of(UNKNOWN, __VA_ARGS__)
void no_reason(void);

/* What a call with LISTEN returned; where that is no, what liblxc said is kept. */
bool answer(const struct held *held, bool ok);

/* The parts of that: hold() counts and begins, let_go() ends. */
bool prepare_listening(void);
void listen_count(struct listening *listening);
void listen_begin(struct listening *listening);
void listen_keep(const struct listening *listening);
void listen_end(struct listening *listening);
void listen_first(char *line, size_t size); /* " (MESSAGE)", or nothing */
void listen_forked(void);

PyObject *module__heard(PyObject *module, PyObject *ignored);
PyObject *module__log_close(PyObject *module, PyObject *ignored);
PyObject *module__log_file(PyObject *module, PyObject *ignored);
PyObject *module__log_init(PyObject *module, PyObject *args);
PyObject *module__log_level(PyObject *module, PyObject *args);

/* Before a child is there, and when it is gone: what was said is kept. */
void child_log_begin(struct child *child);
void child_log_end(struct child *child);

#endif

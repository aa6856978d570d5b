# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the structs hold that liblxc is given: a preloaded library writes it down.

Its structs are those of liblxc 7.0.0: an older one reads the beginning of each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_python
from support import LIBLXC, build_library

import lxc
from lxc import _lxc

pytestmark = pytest.mark.containers

RECORDER = r"""
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct specs {
    char *fstype;
    uint64_t fssize;
    char *zfsroot, *vg, *lv, *thinpool, *dir, *rbdname, *rbdpool, *rbduser;
    char room[32];
};
struct migrate {
    char *directory;
    bool verbose, stop;
    char *predump_dir, *pageserver_address, *pageserver_port;
    bool preserves_inodes;
    char *action_script;
    bool disable_skip_in_flight;
    uint64_t ghost_limit, features_to_check;
};
struct options {
    int attach_flags, namespaces;
    long personality;
    char *initial_cwd;
    unsigned uid, gid;
    int env_policy;
    char **extra_env_vars, **extra_keep_env;
    int stdin_fd, stdout_fd, stderr_fd, log_fd;
    char *lsm_label;
    size_t size;
    unsigned *list;
};
struct console_log {
    bool clear, read;
    uint64_t *read_max;
    char *data;
};

static void
note(const char *format, ...)
{
    FILE *file = fopen(getenv("RECORD"), "a");
    va_list values;

    va_start(values, format);
    vfprintf(file, format, values);
    va_end(values);
    fclose(file);
}

#define S(text) ((text) ? (text) : "NULL")

static int
is_zero(const void *from, const void *to)
{
    for (const char *p = from; p < (const char *)to; p++)
        if (*p)
            return 0;
    return 1;
}

static bool
create(void *c, const char *t, const char *type, struct specs *s, int flags,
       char *const argv[])
{
    note("create %s %s %d %s %llu zfs %s lvm %s %s %s dir %s rbd %s %s %s rest %d\n",
         t, S(type), flags, S(s->fstype), (unsigned long long)s->fssize, S(s->zfsroot),
         S(s->vg), S(s->lv), S(s->thinpool), S(s->dir), S(s->rbdname), S(s->rbdpool),
         S(s->rbduser), is_zero(s->room, s->room + sizeof(s->room)));
    return false;
}

static int
migrate(void *c, unsigned cmd, struct migrate *m, unsigned size)
{
    note("migrate %u %s %d %d %s %s %s %d %s %d %llu %llu rest %d %d\n", cmd,
         S(m->directory), m->verbose, m->stop, S(m->predump_dir),
         S(m->pageserver_address), S(m->pageserver_port), m->preserves_inodes,
         S(m->action_script), m->disable_skip_in_flight,
         (unsigned long long)m->ghost_limit, (unsigned long long)m->features_to_check,
         size >= sizeof(*m), is_zero(m + 1, (char *)m + size));
    m->features_to_check &= 2;
    return cmd == 3 ? m->features_to_check == 0 : 0;
}

static int
attach(void *c, void *run, void *payload, struct options *o, int *pid)
{
    note("attach flags %x log %d %s label %s groups %zu", o->attach_flags,
         o->log_fd >= 0, o->log_fd >= 0 && write(o->log_fd, "x", 1) == 1 ? "open" : "-",
         S(o->lsm_label), o->size);
    for (size_t i = 0; i < o->size; i++)
        note(" %u", o->list[i]);
    note("\n");
    return -1;
}

static int
console_log(void *c, struct console_log *log)
{
    note("console_log %d %d %llu\n", log->clear, log->read,
         (unsigned long long)*log->read_max);
    return -61;
}

static int
do_mount(void *c, const char *source, const char *target, const char *type,
         unsigned long flags, const void *data, int *version)
{
    note("mount %s %s %s %lu %s %d\n", S(source), target, S(type), flags,
         S((const char *)data), *version);
    return 0;
}

static int
do_umount(void *c, const char *target, unsigned long flags, int *version)
{
    note("umount %s %lu %d\n", target, flags, *version);
    return 1;
}

static bool
checkpoint(void *c, char *directory, bool stop, bool verbose)
{
    note("checkpoint %s %d %d\n", directory, stop, verbose);
    return true;
}

static bool
restore(void *c, char *directory, bool verbose)
{
    note("restore %s %d\n", directory, verbose);
    return true;
}

static const char *
state(void *c)
{
    return "RUNNING";
}

static bool
detach_interface(void *c, const char *name, const char *other)
{
    note("detach_interface %s %s\n", name, S(other));
    return true;
}

/* Where they are in struct lxc_container, in pointers. */
static void *const members[][2] = {
    {(void *)11, state},       {(void *)27, create},  {(void *)46, attach},
    {(void *)57, detach_interface},
    {(void *)58, checkpoint},  {(void *)59, restore}, {(void *)62, migrate},
    {(void *)63, console_log}, {(void *)65, do_mount}, {(void *)66, do_umount},
};

void *
lxc_container_new(const char *name, const char *path)
{
    void *library = dlopen("liblxc.so.1", RTLD_NOW);
    void *(*make)(const char *, const char *) = dlsym(library, "lxc_container_new");
    void **c = make(name, path);

    for (size_t i = 0; c && i < sizeof(members) / sizeof(*members); i++)
        c[(size_t)members[i][0]] = members[i][1];
    return c;
}
"""

Record = Callable[..., tuple[Any, list[str]]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recorder")
    return build_library(directory / "recorder.c", RECORDER)


@pytest.fixture
def record(library: Path, tmp_path: Path) -> Record:
    """Evaluate an expression with a container c; what it is, and what was noted."""

    def record(expression: str, before: str = "pass") -> tuple[Any, list[str]]:
        program = f"""
import json, lxc, sys
c = lxc.Container("c", {str(tmp_path)!r})
assert c.set_config_item("lxc.uts.name", "c")
{before}
try:
    result = repr({expression})
except Exception as error:
    result = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(result))
"""
        notes = tmp_path / "notes"
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "RECORD": str(notes),
        }
        done = run_python(program, env=environment)
        assert done.returncode == 0, done.stderr
        found = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return json.loads(done.stdout.splitlines()[-1]), found

    return record


# --- bdev_specs -----------------------------------------------------------------------

EMPTY = "NULL 0 zfs NULL lvm NULL NULL NULL dir NULL rbd NULL NULL NULL rest 1"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("bdevtype='dir'", f"dir 0 {EMPTY}"),
        ("fssize=7", f"NULL 0 {EMPTY.replace('NULL 0', 'NULL 7', 1)}"),
        ("fssize='2G'", f"NULL 0 {EMPTY.replace('NULL 0', 'NULL 2147483648', 1)}"),
        (
            "bdev_specs={'fstype': 'xfs', 'fssize': '3 MiB', 'dir': '/srv'}",
            "NULL 0 xfs 3145728 zfs NULL lvm NULL NULL NULL dir /srv rbd NULL NULL "
            "NULL rest 1",
        ),
        (
            "bdevtype='lvm', bdev_specs={'lvm': {'vg': 'v', 'lv': 'l', "
            "'thinpool': 't'}}",
            f"lvm 0 {EMPTY.replace('lvm NULL NULL NULL', 'lvm v l t')}",
        ),
        (
            "bdev_specs={'lvm': {'lv': 'l'}}",
            f"NULL 0 {EMPTY}".replace("lvm NULL NULL NULL", "lvm NULL l NULL"),
        ),
        (
            "bdevtype='zfs', bdev_specs={'zfs': {'zfsroot': 'tank/lxc'}}",
            f"zfs 0 {EMPTY.replace('zfs NULL', 'zfs tank/lxc')}",
        ),
        (
            "bdevtype='rbd', bdev_specs={'rbd': {'rbdname': 'n', 'rbdpool': 'p'}}",
            f"rbd 0 {EMPTY.replace('rbd NULL NULL', 'rbd n p')}",
        ),
        ("bdev_specs={}", f"NULL 0 {EMPTY}"),
        ("bdev_specs=None, fssize=None", f"NULL 0 {EMPTY}"),
    ],
)
def test_create_passes_the_whole_of_bdev_specs(
    record: Record, given: str, seen: str
) -> None:
    result, notes = record(f"c.create('busybox', {given})")
    assert notes == [f"create busybox {seen}"]
    assert result == "False"


def test_rbduser_is_passed_or_not_implemented(record: Record) -> None:
    result, notes = record("c.create('busybox', bdev_specs={'rbd': {'rbduser': 'u'}})")
    built_for = tuple(int(n) for n in _lxc.LIBLXC_BUILT_FOR.split(".")[:3])
    if LIBLXC >= (6, 0, 6) and built_for >= (6, 0, 6):
        assert "rbd NULL NULL u rest 1" in notes[0]
        return
    assert notes == []
    assert result.startswith(
        "NotImplementedError: rbduser needs liblxc 6.0.6 or later: this one is "
    )


# --- migrate_opts ---------------------------------------------------------------------

NOTHING = "0 0 NULL NULL NULL 0 NULL 0 0 0 rest 1 1"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("lxc.MIGRATE_PRE_DUMP, '/d'", f"0 /d {NOTHING}"),
        ("lxc.MIGRATE_DUMP, b'/d'", f"1 /d {NOTHING}"),
        ("lxc.MIGRATE_RESTORE, 'd/../d/'", f"2 /d {NOTHING}"),
        (
            "lxc.MIGRATE_DUMP, '/d', verbose=True, stop=True, predump_dir='../p', "
            "pageserver_address='::1', pageserver_port=27, preserves_inodes=True, "
            "action_script='/s', disable_skip_in_flight=True, ghost_limit='2M'",
            "1 /d 1 1 ../p ::1 27 1 /s 1 2097152 0 rest 1 1",
        ),
        (
            "lxc.MIGRATE_DUMP, '/d', stop=True, pageserver_address='a', "
            "pageserver_port='65535', ghost_limit=1 << 40",
            "1 /d 0 1 NULL a 65535 0 NULL 0 1099511627776 0 rest 1 1",
        ),
    ],
)
def test_migrate_passes_the_whole_of_its_options(
    record: Record, given: str, seen: str
) -> None:
    assert record(f"c.migrate({given})") == ("0", [f"migrate {seen}"])


def test_features_are_asked_for_one_by_one(record: Record) -> None:
    """liblxc says that there is none where it does not know one of them."""
    check = (
        "c.migrate(lxc.MIGRATE_FEATURE_CHECK, features_to_check="
        "lxc.FEATURE_MEM_TRACK | lxc.FEATURE_LAZY_PAGES | 1 << 40)"
    )
    nobody_looks = "import shutil; shutil.which = lambda name: name"
    result, notes = record(check, nobody_looks)
    assert result == str(lxc.FEATURE_LAZY_PAGES)
    assert [line.split()[-4] for line in notes] == ["1", "2", str(1 << 40)]
    assert {line.split()[1] for line in notes} == {"3"}


def test_checkpoint_and_restore_pass_what_they_are_given(record: Record) -> None:
    assert record("c.checkpoint('/d', stop=True)") == ("None", ["checkpoint /d 1 0"])
    assert record("c.checkpoint('d', verbose=1)") == ("None", ["checkpoint /d 0 1"])
    assert record("c.restore(b'/d', True)") == ("None", ["restore /d 1"])


def test_the_features_that_a_dump_leaves_are_not_a_result(record: Record) -> None:
    assert record("super(lxc.Container, c).migrate(3, features_to_check=3)") == (
        "(True, 2)",
        ["migrate 3 NULL 0 0 NULL NULL NULL 0 NULL 0 0 3 rest 1 1"],
    )


# --- lxc_attach_options_t -------------------------------------------------------------

WAYS = {
    "in the process": "pass",
    "in a forked child": (
        "import threading; threading.Thread(target=threading.Event().wait, "
        "daemon=True).start()"
    ),
    "by the launcher": "lxc._lxc._launcher(0); assert c.save_config()",
}


def attach_notes(record: Record, options: str, before: str) -> str:
    call = f"c.attach_wait(lxc.attach_run_command, ['true'], {options})"
    result, notes = record(call, before)
    assert result == "-1"
    assert len(notes) == 1
    return notes[0]


@pytest.mark.parametrize("way", WAYS)
def test_attach_passes_groups_and_label_or_nothing(record: Record, way: str) -> None:
    options = "groups=(7, 5, 2**32 - 2), lsm_label='some'"
    if not lxc.features()["groups"]:
        call = f"c.attach_wait(lxc.attach_run_command, ['true'], {options})"
        result, notes = record(call, WAYS[way])
        assert result.startswith("NotImplementedError: lsm_label needs liblxc 4.0.7")
        assert notes == []
        return
    seen = attach_notes(record, options, WAYS[way])
    flags = lxc.LXC_ATTACH_DEFAULT | lxc.LXC_ATTACH_SETGROUPS | lxc.LXC_ATTACH_LSM_LABEL
    assert seen == f"attach flags {flags:x} log 0 - label some groups 3 7 5 4294967294"


@pytest.mark.parametrize("way", WAYS)
def test_attach_passes_log_fd(record: Record, way: str, tmp_path: Path) -> None:
    # What it was given is open in whatever process makes the call.
    log = tmp_path / "log"
    seen = attach_notes(
        record,
        f"attach_flags=lxc.LXC_ATTACH_TERMINAL, log_fd=open({str(log)!r}, 'w')",
        WAYS[way],
    )
    flags = f"{lxc.LXC_ATTACH_TERMINAL:x}"
    assert seen == f"attach flags {flags} log 1 open label NULL groups 0"
    assert log.read_text() == "x"


# --- lxc_console_log, lxc_mount -------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("", "0 1 0"),
        ("read_max=5", "0 1 5"),
        ("clear=True", "1 1 0"),
        ("clear=True, read=False", "1 1 0"),  # see Container_console_log()
        ("None, None, None", "0 1 0"),
    ],
)
def test_console_log_passes_what_it_is_given(
    record: Record, given: str, seen: str
) -> None:
    assert record(f"c.console_log({given})") == ("b''", [f"console_log {seen}"])


def test_mount_and_umount_pass_what_they_are_given(record: Record) -> None:
    assert record("c.mount('/a', '/b', 'ext4', 1 << 30, 'ro')") == (
        "None",
        [f"mount /a /b ext4 {1 << 30} ro 1"],
    )
    assert record("c.mount(None, b'/b')") == ("None", ["mount NULL /b NULL 0 NULL 1"])
    # 1 is how liblxc says that it failed.
    result, notes = record("c.umount('/b', 2)")
    assert notes == ["umount /b 2 1"]
    assert result.startswith("NotDefined: umount of 'c' failed: ")


def test_detach_interface_passes_both_names(record: Record) -> None:
    assert record("c.detach_interface('a')") == ("True", ["detach_interface a NULL"])
    assert record("c.detach_interface('a', 'b')") == ("True", ["detach_interface a b"])

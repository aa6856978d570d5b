# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes of a call: what they have, do not show, and leave alone."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import create_busybox, destroy, map_ids, start_and_settle
from support import Program, cgroup_limit, rootfs, run

import lxc

pytestmark = pytest.mark.containers

# --- What a waiting process has open --------------------------------------------------

# A program with a second thread, whose call lasts until what it runs reads an end.  It
# reports the descriptors of every process below it, but of those that run a program.
LOOK = """
import re, stat
secret, canary = os.pipe()
held, hold = os.pipe()
file = open(os.devnull)

def below(pid):
    found = []
    for child in open(f"/proc/{pid}/task/{pid}/children").read().split():
        found += [int(child), *below(child)]
    return found

def whole_tree():
    found = []
    for child in children():
        found += [child, *below(child)]
    return found

def kind(pid, number):
    what = os.readlink(f"/proc/{pid}/fd/{number}")
    return re.sub(r":\\[\\d+\\]$", "", what.replace(" (deleted)", ""))

def holders(number):
    mine = os.stat(number)
    found = set()
    for pid in whole_tree():
        for other in os.listdir(f"/proc/{pid}/fd"):
            status = os.stat(f"/proc/{pid}/fd/{other}")
            if (status.st_ino, status.st_dev) == (mine.st_ino, mine.st_dev):
                found.add(pid)
    return found

def look():
    found = []
    for pid in whole_tree():
        name = open(f"/proc/{pid}/comm").read().strip()
        if name in ("sh", "sleep", "cat", "init", "busybox"):
            continue
        numbers = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
        found.append([name, [kind(pid, n) for n in numbers]])
    return found
"""

NULL = ["/dev/null"] * 3
WAITS = sorted([*NULL, "socket"])
SLEEP = '["sh", "-c", "echo begun; exec cat"]'
UNSAVED = 'c.set_config_item("lxc.environment", "A=1"); '
LAUNCHER = "lxc._lxc._launcher(0); "

# The launcher, which hears the caller and the supervisor, and that, which hears it.
RUNNING = [
    sorted([*NULL, "anon_inode:[signalfd]", "socket", "socket"]),
    sorted([*NULL, "anon_inode:[signalfd]", "socket"]),
]
# Way: the call, and what the processes have that wait for it.
WAITING = {
    "attach_wait command": (
        f"c.attach_wait(lxc.attach_run_command, {SLEEP}, stdin=held, stdout=out)",
        [WAITS],
    ),
    "attach_wait shell": (
        "os.environ['SHELL'] = '/bin/sh'; os.write(hold, b'echo begun; exec cat\\n'); "
        "c.attach_wait(lxc.attach_run_shell, stdin=held, stdout=out)",
        [WAITS],
    ),
    "attach_wait function": (
        UNSAVED + "c.attach_wait(function, stdin=held, stdout=out)",
        [WAITS],
    ),
    "launcher": (
        LAUNCHER
        + f"c.attach_wait(lxc.attach_run_command, {SLEEP}, stdin=held, stdout=out)",
        [WAITS],
    ),
    "run": (f"c.run({SLEEP}, stdin=held, stdout=out)", RUNNING),
    "run with a timeout": (
        f"c.run({SLEEP}, stdin=held, stdout=out, timeout=60)",
        RUNNING,
    ),
    "popen": (f"c.popen({SLEEP}, stdin=held, stdout=out).wait()", RUNNING),
}


@pytest.mark.parametrize("way", WAITING)
def test_waiting_process_has_what_it_needs(shared: lxc.Container, way: str) -> None:
    call, expected = WAITING[way]
    program = f"""
    {LOOK.replace(chr(10), chr(10) + "    ")}
    begun, out = os.pipe()

    def function():
        os.close(hold)
        os.write(1, b"begun\\n")
        os.read(0, 1)

    def work():
        {call}

    threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
    thread = threading.Thread(target=work)
    thread.start()
    os.read(begun, 6)
    time.sleep(0.3)
    report([look() if {way!r} != "attach_wait function" else look()[:1],
            len(holders(canary))])
    os.close(hold)
    thread.join(20)
    report(thread.is_alive())
    """
    with Program(shared, program) as running:
        found, canaries = running.next()
        assert [sorted(files) for _, files in found] == expected
        # The function has what its caller has.
        assert canaries == (1 if way == "attach_wait function" else 0)
        assert running.next() is False
        running.finish()


@pytest.mark.parametrize("launcher", ["", LAUNCHER], ids=["fork", "launcher"])
def test_start_in_the_foreground_keeps_nothing(
    stopped: lxc.Container, launcher: str
) -> None:
    program = f"""
    {LOOK.replace(chr(10), chr(10) + "    ")}
    {launcher}
    script = ["/bin/sh", "-c", "exec sleep 60"]
    thread = threading.Thread(target=lambda: c.start(cmd=script, daemonize=False))
    thread.start()
    other = lxc.Container(c.name, c.get_config_path())
    wait_until(lambda: other.running)
    time.sleep(0.3)
    report([look(), len(holders(canary)), len(holders(1))])
    other.stop()
    thread.join(20)
    report(thread.is_alive())
    """
    with Program(stopped, program) as running:
        found, canaries, outputs = running.next()
        # It watches over the monitor, which is liblxc's.
        watcher, _ = found
        assert sorted(watcher[1]) == [*NULL, "/memfd:lxc-log"]
        assert (canaries, outputs) == (0, 1)
        assert running.next() is False
        running.finish()


def test_console_keeps_nothing(shared: lxc.Container) -> None:
    program = f"""
    {LOOK.replace(chr(10), chr(10) + "    ")}
    thread = threading.Thread(target=lambda: c.console(ttynum=1), daemon=True)
    thread.start()
    wait_until(lambda: any("signalfd" in str(files) for _, files in look()))
    time.sleep(0.3)
    report([look(), len(holders(canary))])
    """
    with Program(shared, program, terminal=True) as running:
        [[_, files]], canaries = running.next()
        # liblxc has the other side of the container's terminal, what holds that, and
        # what waits for signals and for what is typed.
        own = ["anon_inode:[eventpoll]", "anon_inode:[signalfd]", "socket"]
        others = [f for f in files if not f.startswith("/dev/pts/")]
        assert sorted(others) == sorted([*own, "/memfd:lxc-log", "socket"])
        assert files[:3] == [files[0]] * 3
        assert (len(files) - len(others), canaries) == (4, 0)


def test_output_ends_with_the_caller(shared: lxc.Container) -> None:
    """Whoever reads it need not wait for a command that writes elsewhere."""
    program = """
    threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
    null = os.open(os.devnull, os.O_RDWR)
    done, begun = os.pipe()
    command = ["sh", "-c", "echo begun; exec cat"]
    options = {"stdin": int(sys.argv[1]), "stdout": begun, "stderr": null}
    call = lambda: c.attach_wait(lxc.attach_run_command, command, **options)
    threading.Thread(target=call, daemon=True).start()
    os.read(done, 6)
    time.sleep(0.3)
    report()
    time.sleep(60)
    """
    reader, writer = os.pipe()
    try:
        with Program(shared, program, str(reader), pass_fds=(reader,)) as running:
            running.next()
            running.process.kill()
            stdout = running.process.stdout
            assert stdout is not None
            assert select.select([stdout], [], [], 10)[0]
            assert stdout.read() == ""
    finally:
        os.close(reader)
        os.close(writer)


# --- What the container's root can see ------------------------------------------------

# Until its stdin ends it looks at what each process has in its memory, over and over:
# what is mapped there tells programs of the container from what is the host's still.
TRACER = r"""
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    static char text[1 << 20];
    long hosts = 0, own = 0;
    struct pollfd in = {.fd = 0, .events = POLLIN};

    puts("begun");
    fflush(stdout);
    while (poll(&in, 1, 0) == 0) {
        DIR *processes = opendir("/proc");
        struct dirent *entry;

        while ((entry = readdir(processes)) != NULL) {
            char path[300];
            size_t size = 0;
            ssize_t got;
            int fd;

            if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) == getpid())
                continue;
            snprintf(path, sizeof(path), "/proc/%s/maps", entry->d_name);
            if ((fd = open(path, O_RDONLY)) < 0)
                continue;
            while (size < sizeof(text) - 1 &&
                   (got = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
                size += got;
            close(fd);
            text[size] = 0;
            if (strstr(text, "liblxc") != NULL)
                hosts++;
            else if (size > 0)
                own++;
        }
        closedir(processes);
    }
    printf("%ld %ld\n", hosts, own);
    return 0;
}
"""

ATTACHING = {
    "attach command": "os.waitpid(c.attach(lxc.attach_run_command, ['true']), 0)",
    "attach function": "os.waitpid(c.attach(lambda: time.sleep(0.002)), 0)",
    "attach_wait command": "c.attach_wait(lxc.attach_run_command, ['true'])",
    "attach_wait shell": "c.attach_wait(lxc.attach_run_shell, stdin=null)",
    "attach_wait function": "c.attach_wait(lambda: time.sleep(0.002))",
    "attach_wait with threads": "threads(); "
    "c.attach_wait(lxc.attach_run_command, ['true'])",
    "attach_wait of what is not saved": UNSAVED + "c.attach_wait(lambda: 0)",
    "launcher": LAUNCHER + "c.attach_wait(lxc.attach_run_command, ['true'])",
    "run": "c.run(['true'])",
    "popen": "c.popen(['true']).wait()",
    "run_async": "asyncio.run(c.run_async(['true']))",
}


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("tracer") / "tracer.c"
    source.write_text(TRACER)
    program = source.with_suffix("")
    subprocess.run(["cc", "-static", "-w", "-o", program, source], check=True)
    return program


@pytest.fixture(scope="module")
def mapped(lxcpath: str, roots_ids: int, tracer: Path) -> Iterator[lxc.Container]:
    """A container with subordinate ids, and the tracer in it."""
    container = create_busybox(f"t{os.getpid()}-mapped", lxcpath)
    shutil.copy(tracer, rootfs(container) / "tracer")
    map_ids(container, roots_ids)
    start_and_settle(container)
    yield container
    destroy(container)


@pytest.mark.parametrize("way", ATTACHING)
def test_memory_is_not_to_be_seen(mapped: lxc.Container, way: str) -> None:
    program = f"""
    import asyncio
    null = open(os.devnull)
    os.environ["SHELL"] = "/bin/sh"

    def threads():
        threading.Thread(target=lambda: time.sleep(60), daemon=True).start()

    for _ in range(15):
        {ATTACHING[way]}
    report()
    """
    pipe = subprocess.PIPE
    with mapped.popen(["/tracer"], stdin=pipe, stdout=pipe, text=True) as tracer:
        assert tracer.stdout is not None
        assert tracer.stdout.readline() == "begun\n"
        run(mapped, program)
        hosts, own = map(int, tracer.communicate()[0].split())
    assert own > 0
    assert hosts == 0


@pytest.mark.parametrize("way", ["attach", "attach_wait"])
def test_caller_stays_as_it_is(mapped: lxc.Container, way: str) -> None:
    """Where a process is not dumpable, its files in /proc are not its own."""
    call = {"attach": "os.waitpid(c.attach(lambda: 0), 0)[1]"}
    program = f"""
    import ctypes
    PR_GET_DUMPABLE = 3
    result = {call.get(way, "c.attach_wait(lambda: 0)")}
    report([result, ctypes.CDLL(None).prctl(PR_GET_DUMPABLE)])
    """
    assert run(mapped, program) == [0, 1]


# --- Files of the host's that are standard streams ------------------------------------

ECHO = "'sh', '-c', 'read line; echo out $line; echo err $line >&2'"
WRITING = {
    "attach command": f"os.waitpid(c.attach(lxc.attach_run_command, [{ECHO}], **o), 0)",
    "attach function": "os.waitpid(c.attach(echo, **o), 0)",
    "attach_wait command": f"c.attach_wait(lxc.attach_run_command, [{ECHO}], **o)",
    "attach_wait function": "c.attach_wait(echo, **o)",
    "attach_wait of what is not saved": UNSAVED + "c.attach_wait(echo, **o)",
    "launcher": LAUNCHER + f"c.attach_wait(lxc.attach_run_command, [{ECHO}], **o)",
    "attach_wait shell": "c.attach_wait(lxc.attach_run_shell, **o)",
}


@pytest.mark.parametrize("given", [True, False], ids=["given", "inherited"])
@pytest.mark.parametrize("way", WRITING)
def test_files_keep_owner_and_mode(
    shared: lxc.Container, way: str, given: bool, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("in", "out", "err")]
    script = "echo out foo; echo err foo >&2; exit\n"
    files[0].write_text(script if "shell" in way else "foo\n")
    for file in files[1:]:
        file.touch()
    for number, file in enumerate(files):
        file.chmod(0o640 + number)
        os.chown(file, 7, 8)
    program = f"""
    def echo():
        line = os.read(0, 9)
        os.write(1, b"out " + line)
        os.write(2, b"err " + line)

    o = {{"uid": 1000, "gid": 1000}}
    if {given}:
        paths = json.loads(sys.argv[1])
        files = [open(path, "r+b", buffering=0) for path in paths]
        o.update(zip(("stdin", "stdout", "stderr"), files))
    os.environ["SHELL"] = "/bin/sh"
    {WRITING[way]}
    report()
    """
    paths = json.dumps([str(file) for file in files])
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open(file, "r+b")) for file in files]
        streams = dict(zip(("stdin", "stdout", "stderr"), opened))
        run(shared, program, paths, **({} if given else streams))
    for number, file in enumerate(files):
        status = file.stat()
        found = status.st_uid, status.st_gid, status.st_mode & 0o7777
        assert found == (7, 8, 0o640 + number)
    assert [file.read_text() for file in files[1:]] == ["out foo\n", "err foo\n"]


# --- Streams that other threads use ---------------------------------------------------


def test_function_prints_while_threads_do(
    shared: lxc.Container, tmp_path: Path
) -> None:
    """Locks that another thread held at the fork are not waited for."""
    program = """
    import logging
    logging.basicConfig(level=logging.INFO)
    logging.getLogger().addHandler(logging.FileHandler(sys.argv[1]))
    here = sys.stdout, sys.stderr, sys.__stdout__, sys.stdin

    def work():
        # One at a time: CPython before 3.12.4 writes uninitialized memory where several
        # threads print (gh-119506).
        while not over.is_set():
            with lock:
                print("thread" * 50)
                print("thread" * 50, file=sys.stderr)
                logging.info("thread" * 50)

    def function():
        print("function")
        print("function", file=sys.stderr)
        logging.info("function")
        assert sys.stdin.readline() == ""
        streams = [
            (x.name, x.mode, x.encoding, x.errors, x.line_buffering, x.write_through)
            for x in (sys.stdin, sys.stdout, sys.stderr)
        ]
        return 0 if streams == known else 1

    known = [
        (x.name, x.mode, x.encoding, x.errors, x.line_buffering, x.write_through)
        for x in (sys.stdin, sys.stdout, sys.stderr)
    ]
    over, lock = threading.Event(), threading.Lock()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    # One of them waits for input, which never comes.
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    threads.append(threading.Thread(target=sys.stdin.readline, daemon=True))
    for thread in threads:
        thread.start()
    null = open(os.devnull)
    statuses = [c.attach_wait(function, stdin=null) for _ in range(10)]
    statuses += [c.attach_wait(lambda: None) for _ in range(10)]
    over.set()
    for thread in threads[:3]:
        thread.join()
    same = here == (sys.stdout, sys.stderr, sys.__stdout__, sys.stdin)
    report([statuses, same])
    os._exit(0)
    """
    names = ("out", "err")
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(open(tmp_path / x, "w+")) for x in names)
        log = tmp_path / "log"
        with Program(shared, program, str(log), stdout=out, stderr=err) as running:
            assert running.next() == [[0] * 20, True]
            running.process.wait(20)
    for file in (*(tmp_path / name for name in names), log):
        # Nothing is lost, and nothing is there twice.
        expected = 20 if file.name == "err" else 10
        assert file.read_text().count("function") == expected


# --- Descriptors of the caller's ------------------------------------------------------

NEAR_THE_LIMIT = """
import errno, resource
calls = {
    "attach": lambda: os.waitpid(c.attach(lambda: 0), 0)[1],
    "attach_wait": lambda: c.attach_wait(lambda: 0),
    "command": lambda: c.attach_wait(lxc.attach_run_command, ["true"]),
    "controllable": lambda: c.controllable,
    "freeze": lambda: c.freeze() and c.unfreeze(),
    "get_cgroup_item": lambda: c.get_cgroup_item(sys.argv[1]),
    "init_pid": lambda: c.init_pid > 0,
    "init_pidfd": lambda: os.close(c.init_pidfd()),
    "running": lambda: c.running,
    "state": lambda: c.state,
}

def attempt(call, left):
    # What is open is of one file each, below a limit that leaves so many numbers.
    files = {}
    for _ in range(limit - left - descriptors()):
        fd = os.memfd_create("file")
        files[fd] = os.fstat(fd).st_ino
    try:
        result = call()
    except OSError as error:
        result = errno.errorcode[error.errno]
    lost = 0
    for fd, inode in files.items():
        try:
            lost += os.fstat(fd).st_ino != inode
            os.close(fd)
        except OSError:
            lost += 1
    return [result, lost, children()]

limit = 128
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
found = {name: call() for name, call in calls.items()}
wrong = []
for left in (0, 3, 7, 8, 9, 10, 12, 16, 24, 32, 40):
    for name, call in calls.items():
        said, lost, left_behind = attempt(call, left)
        if said not in ("EMFILE", found[name]) or lost or left_behind:
            wrong.append([name, left, said, lost, left_behind])
        if left == 40 and said == "EMFILE":
            wrong.append([name, left, said])
report([wrong, found])
"""


def test_near_the_limit_of_descriptors(running: lxc.Container) -> None:
    """A call is made, or refused; it does not lie, and closes nothing of the caller."""
    wrong, found = run(running, NEAR_THE_LIMIT, cgroup_limit())
    assert wrong == []
    assert found["state"] == "RUNNING"
    assert found["attach_wait"] == found["attach"] == found["command"] == 0


def test_pidfds_are_the_callers_own(shared: lxc.Container) -> None:
    """An attach closes what liblxc leaves, which is of the same file as its pidfds."""
    program = """
    import ctypes
    SYS_kcmp, KCMP_FILE = {"x86_64": 312}.get(os.uname().machine, 272), 0
    pid = os.getpid()

    def same(one, other):
        return ctypes.CDLL(None).syscall(SYS_kcmp, pid, pid, KCMP_FILE, one, other) == 0

    fds = [c.init_pidfd(), c.init_pidfd()]
    assert same(fds[0], os.dup(fds[0]))
    before = descriptors()
    assert c.attach_wait(lambda: 0) == 0
    report([same(*fds), descriptors() - before])
    """
    assert run(shared, program) == [False, 0]


# --- A stop in the middle -------------------------------------------------------------


@pytest.mark.parametrize("way", ["attach_wait", "run"])
def test_stop_during_an_attach(stopped: lxc.Container, way: str) -> None:
    """A command begins and is killed, or the container was stopped: no other reason."""
    reasons = []
    for number in range(6):
        assert stopped.start()
        mine = lxc.Container(stopped.name, stopped.get_config_path(), strict=True)
        stop = threading.Timer(number * 0.004, stopped.stop)
        stop.start()
        try:
            while True:
                if way == "run":
                    mine.run(["true"])
                else:
                    mine.attach_wait(lxc.attach_run_command, ["true"])
        except lxc.NotRunning:
            pass
        except lxc.LXCError as error:
            reasons.append(str(error))
        stop.join()
        assert stopped.wait("STOPPED", 10)
    assert reasons == []

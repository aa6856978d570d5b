# SPDX-License-Identifier: LGPL-2.1-or-later
"""liblxc's log: what reaches logging, liblxc's own file, and nobody else's descriptor.

What is process-wide is tested in programs of their own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_python
from support import Program, monitor_of, process_status, run

import lxc

pytestmark = pytest.mark.containers

BRIDGE = "no-such-bridge"
ALWAYS, NEVER = 0, 1 << 60

# What makes a call fail in the process, in its forked child and in the launcher.
FAILURES = f"""
bad = "/dev/shm/lxc-tests-%d" % os.getpid()
with open(bad, "w") as file:
    file.write("lxc.no.such.key = 5\\n")

def load():
    return c.load_config(bad)

def start():
    c.set_config_item("lxc.net.0.type", "veth")
    c.set_config_item("lxc.net.0.link", {BRIDGE!r})
    return c.start()

def start_forked():
    lxc._lxc._launcher({NEVER})
    return start()

def start_launched():
    lxc._lxc._launcher({ALWAYS})
    return start()

def own_logs():
    # The numbers of the memory files that are open.
    return [
        int(n) for n in os.listdir("/proc/self/fd")
        if "memfd:lxc-log" in readlink(n)
    ]

def readlink(n):
    try:
        return os.readlink("/proc/self/fd/%s" % n)
    except OSError:
        return ""
"""

# And the handler that collects what gets to logging.
COLLECT = """
import logging

class Collect(logging.Handler):
    records = []
    def emit(self, record):
        self.records.append(record)

def levels():
    return {record.levelname for record in Collect.records}

def texts():
    found = [record.getMessage() for record in Collect.records]
    Collect.records.clear()
    return found

logging.getLogger("lxc").addHandler(Collect())
logging.getLogger("lxc").setLevel(1)
"""

WAYS = {
    "load": 'key "lxc.no.such.key"',
    "start_forked": "Failed to attach",
    "start_launched": "Failed to attach",
}


def body(program: str) -> str:
    """A program that begins with the failures, and leaves no file."""
    return "\n".join((FAILURES, textwrap.dedent(program), "os.unlink(bad)"))


def run_logged(container: lxc.Container, program: str, *args: str) -> Any:
    """Run a program that may say nothing on its streams; what it reports."""
    with Program(container, body(program), *args) as started:
        value = started.next()
        started.finish()
    assert started.out == ""
    assert started.err == ""
    return value


# --- logging --------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_errors_of_a_failing_call_reach_logging(
    stopped: lxc.Container, way: str
) -> None:
    program = (
        COLLECT
        + """
report(globals()[sys.argv[1]]())
report([
    [r.name, r.levelname, r.getMessage(), r.container, r.category, r.place, r.foreign]
    for r in Collect.records
])
report([c.last_error.reason, [list(m) for m in c.last_error.messages]])
"""
    )
    with Program(stopped, body(program), way) as started:
        assert started.next() is False
        records, (reason, messages) = started.next(), started.next()
        started.finish()
    assert (started.out, started.err) == ("", "")
    assert WAYS[way] in reason
    assert [r for r in records if WAYS[way] in r[2]]
    for name, level, text, container, category, place, foreign in records:
        assert name == "lxc"
        assert level == "ERROR"
        assert text.startswith(f"{stopped.name}: ")
        assert container == stopped.name
        assert category.isidentifier()
        file, function, line = place.rsplit(":", 2)
        assert file.endswith(".c")
        assert function.isidentifier()
        assert int(line) > 0
        assert foreign is False
    assert [r[2].partition(": ")[2] for r in records] == [m[1] for m in messages]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_printed_where_logging_is_not_configured(
    stopped: lxc.Container, way: str
) -> None:
    program = """
    assert "logging" not in sys.modules or sys.argv[1] != "never"
    before = "logging" in sys.modules
    import logging
    found = globals()[sys.argv[1]]()
    handlers = [type(each).__name__ for each in logging.getLogger("lxc").handlers]
    report([found, handlers, c.last_error is not None])
    """
    assert run_logged(stopped, program, way) == [False, ["NullHandler"], True]


def test_logging_is_not_imported_for_it(stopped: lxc.Container) -> None:
    # Without what the helpers of the tests import.
    program = """
import sys
import lxc
c = lxc.Container(*sys.argv[1:])
assert "logging" not in sys.modules
c.set_config_item("lxc.net.0.type", "veth")
c.set_config_item("lxc.net.0.link", "no-such-bridge")
assert c.start() is False
assert "bridge" in c.last_error.reason, c.last_error
assert "logging" not in sys.modules
"""
    done = run_python(program, stopped.name, stopped.get_config_path())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_that_configures_logging_sees_it_on_stderr(
    stopped: lxc.Container,
) -> None:
    program = body(
        """
        import logging
        logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
        report(load())
        """
    )
    with Program(stopped, program) as started:
        assert started.next() is False
        started.finish()
    assert f"ERROR lxc {stopped.name}: " in started.err
    assert WAYS["load"] in started.err


def test_a_handler_may_use_the_container(stopped: lxc.Container) -> None:
    program = (
        COLLECT
        + """
class Busy(logging.Handler):
    def emit(self, record):
        states.append(c.state)
        c.clear_config_item("lxc.no.such.key")

states = []
logging.getLogger("lxc").addHandler(Busy())
load()
report([states, c.last_error.operation, c.last_error.reason])
"""
    )
    states, operation, reason = run_logged(stopped, program)
    assert set(states) == {"STOPPED"}
    assert operation == "load_config"
    assert WAYS["load"] in reason


def test_forwarding_tells_what_calls_say_that_succeed(running: lxc.Container) -> None:
    program = (
        COLLECT
        + """
def each():
    done = [c.freeze(), c.unfreeze(), c.set_config_item("lxc.uts.name", "x")]
    assert all(done), done
    return sorted(levels()), len(texts())

report(each())
for level in ("TRACE", "INFO", "info", None):
    lxc.log_forward(level)
    report(each())
load()
report(sorted(levels()))
"""
    )
    with Program(running, body(program)) as started:
        assert started.next() == [[], 0]
        found, count = started.next()
        assert "TRACE" in found
        assert count > 2
        for _ in range(2):
            levels, fewer = started.next()
            assert not {"TRACE", "DEBUG"} & set(levels)
            assert fewer < count
        assert started.next() == [[], 0]
        assert started.next() == ["ERROR"]
        started.finish()
    assert (started.out, started.err) == ("", "")


@pytest.mark.parametrize("heap", [ALWAYS, NEVER], ids=["launcher", "fork"])
def test_forwarding_tells_what_a_start_says(stopped: lxc.Container, heap: int) -> None:
    program = (
        COLLECT
        + """
lxc._lxc._launcher(int(sys.argv[1]))
lxc.log_forward("TRACE")
assert c.start()
report([sorted(levels()), texts()])
assert c.stop()
"""
    )
    levels, texts = run_logged(stopped, program, str(heap))
    assert {"TRACE", "DEBUG", "INFO"} <= set(levels)
    assert all(text.startswith(f"{stopped.name}: ") for text in texts)
    assert len(texts) > 50


def test_forwarding_tells_what_run_says(running: lxc.Container) -> None:
    program = (
        COLLECT
        + """
lxc.log_forward("TRACE")
assert c.run(["true"]).returncode == 0
report(sorted(levels()))
"""
    )
    assert "TRACE" in run_logged(running, program)


def test_forwarding_gives_liblxcs_levels_a_name(stopped: lxc.Container) -> None:
    program = """
    import logging
    logging.addLevelName(25, "MINE")
    lxc.log_forward("TRACE")
    report([logging.getLevelName(5), logging.getLevelName(25)])
    """
    assert run_logged(stopped, program) == ["TRACE", "MINE"]


@pytest.mark.parametrize("level", ["", "no such", "NOTSET", 5, b"INFO"])
def test_unknown_levels_are_refused(level: Any) -> None:
    names = "TRACE, DEBUG, INFO, NOTICE, WARN, ERROR, CRIT, ALERT, FATAL"
    for call in (lxc.log_forward, lambda x: lxc.log_init(level=x)):
        with pytest.raises(ValueError, match="is no level") as caught:
            call(level)
        assert str(caught.value) == f"{level!r} is no level: use one of {names}"


# --- liblxc's own file ----------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_liblxcs_own_file(stopped: lxc.Container, tmp_path: Path, way: str) -> None:
    program = """
    fail = globals()[sys.argv[1]]
    before = [fail(), c.last_error.reason]
    for n in range(2):
        lxc.log_init(file=sys.argv[2] + "/log%d" % n, level="info", quiet=True)
        report([fail(), c.last_error.reason, [m.level for m in c.last_error.messages]])
    lxc.log_close()
    report([fail(), c.last_error.reason, [m.level for m in c.last_error.messages]])
    """
    with Program(stopped, body(program), way, str(tmp_path)) as started:
        for _ in range(3):
            ok, reason, levels = started.next()
            assert not ok
            assert WAYS[way] in reason
            assert set(levels) == {"ERROR"}
        started.finish()
    first, second = (tmp_path / f"log{n}" for n in range(2))
    for file in (first, second):
        text = file.read_text()
        assert text.count(WAYS[way]) == 1, text
        assert (" INFO " in text) is (way != "load")


def test_own_file_is_continued(stopped: lxc.Container, tmp_path: Path) -> None:
    file = tmp_path / "made" / "log"
    program = """
    for n in range(2):
        lxc.log_init(file=os.fsencode(sys.argv[1]), quiet=True)
        load()
    report()
    """
    run(stopped, body(program), str(file))
    assert file.read_text().count(WAYS["load"]) == 2


def test_reasons_come_from_the_own_file(stopped: lxc.Container, tmp_path: Path) -> None:
    # And where it cannot be read there are none but our own.
    program = """
    lxc.log_init(file=sys.argv[1], quiet=True)
    load()
    os.unlink(sys.argv[1])
    report([load(), c.last_error.reason, len(own_logs())])
    lxc.log_init(file="/dev/null", quiet=True)
    report([load(), c.last_error.reason, len(own_logs())])
    """
    log = str(tmp_path / "log")
    with Program(stopped, body(program), log) as started:
        # It is open, wherever it is.
        ok, reason, logs = started.next()
        assert not ok
        assert WAYS["load"] in reason
        ok, reason, also = started.next()
        assert not ok
        assert WAYS["load"] not in reason
        assert also == logs
        started.finish()


def test_own_file_has_its_prefix_and_a_name(
    stopped: lxc.Container, tmp_path: Path
) -> None:
    program = """
    lxc.log_init(name="some one", file=sys.argv[1], prefix="mine", quiet=True)
    report([load(), c.last_error.reason, c.last_error.foreign])
    """
    file = tmp_path / "log"
    found = run(stopped, body(program), str(file))
    assert found[0] is False
    assert WAYS["load"] in found[1]
    assert found[2] is False
    assert file.read_text().startswith("mine some one ")


def test_log_of_a_name_is_in_its_directory(stopped: lxc.Container) -> None:
    program = """
    lxc.log_init(c.name, c.get_config_path(), quiet=True)
    report([load(), c.last_error.reason])
    """
    found = run(stopped, body(program))
    file = Path(stopped.get_config_path(), stopped.name, f"{stopped.name}.log")
    assert WAYS["load"] in found[1]
    assert WAYS["load"] in file.read_text()


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("file", [None, "none"])
def test_without_a_file_it_is_stderr(
    stopped: lxc.Container, file: str | None, quiet: bool
) -> None:
    program = f"""
    lxc.log_init(file={file!r}, quiet={quiet!r})
    report([load(), c.last_error.reason])
    """
    with Program(stopped, body(program)) as started:
        ok, reason = started.next()
        started.finish()
    assert not ok
    assert WAYS["load"] in reason
    assert (WAYS["load"] in started.err) is not quiet
    assert quiet is (started.err == "")


def test_a_file_that_cannot_be_written(stopped: lxc.Container, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    program = """
    import errno
    top = sys.argv[1]
    for file in (top, top + "/file/log", "/proc/no/such", top + "/fifo", "/dev/full/x"):
        try:
            lxc.log_init(file=file, quiet=True)
        except OSError as error:
            assert error.filename == file, error
            report(errno.errorcode[error.errno])
    # What was before goes on.
    report([load(), c.last_error.reason])
    """
    with Program(stopped, body(program), str(tmp_path)) as started:
        found = [started.next() for _ in range(5)]
        assert found == ["EISDIR", "ENOTDIR", "ENOENT", "EINVAL", "ENOTDIR"]
        assert WAYS["load"] in started.next()[1]
        started.finish()
    assert started.err == ""


def test_levels_of_both_logs(stopped: lxc.Container, tmp_path: Path) -> None:
    program = (
        COLLECT
        + """
def lines():
    global seen
    with open(sys.argv[1]) as file:
        found = file.read()
    new, seen = found[seen:], len(found)
    return sorted({level for level in ("TRACE", "INFO", "ERROR") if level in new})

seen = 0
lxc._lxc._launcher(1 << 60)
def each():
    start()
    report([lines(), [x for x in ("TRACE", "INFO", "ERROR") if x in levels()]])
    texts()

lxc.log_init(file=sys.argv[1], level="INFO", quiet=True)
each()
lxc.log_forward("TRACE")
each()
lxc.log_forward(None)
each()
lxc.log_forward("WARN")
lxc.log_close()
each()
"""
    )
    log = str(tmp_path / "log")
    with Program(stopped, body(program), log) as started:
        assert started.next() == [["ERROR", "INFO"], ["INFO", "ERROR"]]
        assert started.next() == [
            ["ERROR", "INFO", "TRACE"],
            ["TRACE", "INFO", "ERROR"],
        ]
        assert started.next() == [["ERROR", "INFO"], ["INFO", "ERROR"]]
        assert started.next() == [[], ["ERROR"]]
        started.finish()


def test_closing_a_log_that_is_none() -> None:
    done = run_python("import lxc; lxc.log_close(); lxc.log_close()")
    assert (done.returncode, done.stderr) == (0, "")


# --- A container's own log ------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_containers_own_log(
    make: Callable[..., lxc.Container], tmp_path: Path, way: str
) -> None:
    log = tmp_path / "log"
    container = make(config={"lxc.log.file": str(log), "lxc.log.level": "INFO"})
    foreign = "lxc other 20991231235959.999 ERROR    conf - a.c:b:1 - Of another\n"
    ancient = (
        f"lxc {container.name} 20000101000000.000 ERROR    conf - a.c:b:1 - Long ago\n"
    )
    log.write_text(ancient + foreign)
    program = (
        COLLECT
        + """
globals()[sys.argv[1]]()
report([c.last_error.reason, [m.text for m in c.last_error.messages]])
report(texts())
time.sleep(0.01)
c.clear_config_item("lxc.no.such.key")
report([m.text for m in c.last_error.messages])
"""
    )
    with Program(container, body(program), way) as started:
        reason, messages = started.next()
        texts, later = started.next(), started.next()
        started.finish()
    assert (started.out, started.err) == ("", "")
    assert WAYS[way] in reason
    assert sum(WAYS[way] in text for text in messages) == 1
    assert sum(WAYS[way] in text for text in texts) == 1
    assert not [text for text in messages if "ago" in text or "another" in text]
    assert later == []
    assert WAYS[way] in log.read_text()


@pytest.mark.parametrize("heap", [ALWAYS, NEVER], ids=["launcher", "fork"])
def test_liblxcs_own_file_takes_the_place_of_a_containers(
    make: Callable[..., lxc.Container], tmp_path: Path, heap: int
) -> None:
    own, whole = tmp_path / "own", tmp_path / "whole"
    container = make(config={"lxc.log.file": str(own), "lxc.log.level": "INFO"})
    program = """
    lxc._lxc._launcher(int(sys.argv[2]))
    lxc.log_init(file=sys.argv[1], quiet=True)
    report([start(), c.last_error.reason])
    """
    run(container, body(program), str(whole), str(heap))
    assert WAYS["start_forked"] in whole.read_text()
    assert WAYS["start_forked"] not in (own.read_text() if own.exists() else "")


# --- Threads and forks ----------------------------------------------------------------


def test_two_threads_do_not_hear_each_other(
    make: Callable[..., lxc.Container],
) -> None:
    one, two = make(), make()
    program = """
    lxc._lxc._launcher(1 << 60)
    other = lxc.Container(sys.argv[1], c.get_config_path())
    both = [c, other]
    found = []

    def fail(n, container):
        path = "%s-%d" % (bad, n)
        with open(path, "w") as file:
            file.write("lxc.no.such.key%d = 5\\n" % n)
        for _ in range(300):
            assert container.load_config(path) is False
            error = container.last_error
            for m in error.messages:
                named = "lxc.no.such.key%d" % (1 - n) in m.text
                found.append([named, m.foreign])
            found.append(["no.such.key" in error.reason, None])
        os.unlink(path)

    threads = [threading.Thread(target=fail, args=x) for x in enumerate(both)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    said = [x for x in found if x[1] is not None]
    report([
        len(said), sum(named for named, foreign in said if not foreign),
        sum(1 for named, foreign in said if foreign),
        sum(1 for ok, foreign in found if foreign is None and not ok),
    ])
    """
    with Program(one, body(program), two.name) as started:
        lines, wrong, foreign, without = started.next(120)
        started.finish()
    assert lines >= 600
    assert wrong == without == 0
    # liblxc leaves the name out of a line now and then: such a line is marked.
    assert foreign < lines / 100


def test_nameless_messages_may_be_another_calls(
    lxcpath: str, new_name: Callable[[], str]
) -> None:
    # What was never saved has no name in the log.
    program = """
    other = lxc.Container(c.name + "-other", c.get_config_path())
    theirs = bad + "-theirs"
    with open(theirs, "w") as file:
        file.write("lxc.of.another = 5\\n")
    load()
    report([list(m) for m in c.last_error.messages])
    over = threading.Event()

    def busy():
        while not over.is_set():
            other.load_config(theirs)

    thread = threading.Thread(target=busy)
    thread.start()
    end = time.monotonic() + 30
    marked = 0
    while marked < 20 and time.monotonic() < end:
        load()
        for m in c.last_error.messages:
            if "lxc.of.another" in m.text:
                assert m.foreign
                assert c.last_error.foreign
                marked += 1
        assert "lxc." in c.last_error.reason
    over.set()
    thread.join()
    os.unlink(theirs)
    report(marked)
    """
    with Program(lxc.Container(new_name(), lxcpath), body(program)) as started:
        messages = started.next()
        assert WAYS["load"] in messages[0][1]
        assert {message[-1] for message in messages} == {False}
        assert started.next(60) >= 20
        started.finish()


def test_a_fork_does_not_mix(stopped: lxc.Container) -> None:
    program = """
    c.load_config(bad)
    r, w = os.pipe()
    go_r, go_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go_r, 1)
        other = lxc.Container(c.name + "-not-there", c.get_config_path())
        for n in range(50):
            c.set_config_item("lxc.net.0.type", "of-the-child")
        text = c.last_error.messages[0].text
        os.write(w, json.dumps([len(c.last_error.messages), text]).encode())
        os._exit(0)
    os.write(go_w, b"x")
    seen = set()
    while not os.waitpid(pid, os.WNOHANG)[0]:
        c.set_config_item("lxc.net.0.type", "of-the-parent")
        seen |= {m.text for m in c.last_error.messages}
    report([json.loads(os.read(r, 4096)), sorted(seen)])
    """
    child, parent = run_logged(stopped, program)
    assert child == [1, "Invalid network type of-the-child"]
    assert parent == ["Invalid network type of-the-parent"]


def test_a_fork_while_another_thread_listens(running: lxc.Container) -> None:
    # The child's first call is one for which nobody listens.
    program = """
    import ctypes, warnings
    warnings.simplefilter("ignore")  # of a fork with threads
    fd = ctypes.c_int.in_dll(ctypes.CDLL("liblxc.so.1"), "lxc_log_fd")
    other = lxc.Container(c.name, c.get_config_path())
    other.get_keys()
    c.set_config_item("lxc.net.0.type", "nonsense")

    def long():
        try:
            c.reboot2(2)
        except Exception:
            pass

    thread = threading.Thread(target=long)
    os.kill(c.init_pid, signal.SIGSTOP)
    thread.start()
    while fd.value < 0:
        time.sleep(0.001)
    log = fd.value
    pid = os.fork()
    if pid == 0:
        inherited = fd.value == log
        other.clear_config_item("lxc.no.such.key")
        os._exit(0 if inherited and fd.value < 0 else 1)
    status = os.waitpid(pid, 0)[1]
    os.kill(c.init_pid, signal.SIGCONT)
    thread.join()
    report(status)
    """
    assert run_logged(running, program) == 0


# --- Descriptors ----------------------------------------------------------------------


CLOSE = {
    "os.close": "[os.close(n) for n in own_logs()]",
    "os.closerange": "os.closerange(101, 1024)",
    "os.dup2": "[os.dup2(theirs, n) for n in own_logs()]",
}


@pytest.mark.parametrize("how", CLOSE)
def test_a_program_that_takes_the_descriptor(
    stopped: lxc.Container, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "theirs"
    program = f"""
    lxc._lxc._launcher({NEVER})
    for n in range(3):
        load()
        assert "lxc.no.such.key" in c.last_error.reason, c.last_error
        assert len(own_logs()) == 1
        theirs = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        {CLOSE[how]}
        assert not own_logs()
        load()
        assert "lxc.no.such.key" in c.last_error.reason, c.last_error
        assert len(own_logs()) == 1
        {CLOSE[how]}
        start()
        assert "Failed to attach" in c.last_error.reason, c.last_error
        c.freeze()
    report()
    """
    run_logged(stopped, program, str(file))
    assert file.read_bytes() == b""


def test_failing_calls_leave_no_descriptors(stopped: lxc.Container) -> None:
    program = """
    def each():
        load()
        c.freeze()
        c.set_config_item("lxc.net.0.type", "nonsense")
        c.attach_wait(lxc.attach_run_command, ["true"])
        start_forked()
        start_launched()
        c.clear_config_item("lxc.net.0")
        return descriptors()

    each()
    report([each() for _ in range(12)])
    """
    assert len(set(run_logged(stopped, program))) == 1


def test_the_log_of_all_calls_is_emptied(stopped: lxc.Container) -> None:
    program = """
    load()
    (log,) = own_logs()
    lxc.log_forward("TRACE")
    largest = 0
    for _ in range(40):
        with open(bad, "w") as file:
            file.write("lxc.environment = A=B\\n" * 500 + "lxc.no.such.key = 1\\n")
        c.load_config(bad)
        assert "lxc.no.such.key" in c.last_error.reason
        largest = max(largest, os.fstat(log).st_size)
    os.write(log, b"x" * (2 << 20))
    load()
    assert "lxc.no.such.key" in c.last_error.reason
    report(os.fstat(log).st_size)
    """
    assert run_logged(stopped, program) < 1 << 20


def test_under_a_limit_of_descriptors(stopped: lxc.Container) -> None:
    program = """
    import errno, resource
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    assert c.set_config_item("lxc.net.0.type", "nonsense") is False
    assert c.last_error is not None
    try:
        c.freeze()
    except OSError as error:
        assert error.errno == errno.EMFILE
    else:
        raise AssertionError("freeze() needs descriptors")
    [os.close(fd) for fd in taken]
    report([load(), c.last_error.reason])
    """
    assert WAYS["load"] in run_logged(stopped, program)[1]


# --- Monitors -------------------------------------------------------------------------


def logs_of(pid: int) -> dict[str, int]:
    """A process's memory files for logs, and the size of each."""
    found = {}
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of a client that has gone
            if "memfd:lxc-log" in os.readlink(file):
                found[file.name] = file.stat().st_size
    return found


@pytest.mark.parametrize("heap", [ALWAYS, NEVER], ids=["launcher", "fork"])
def test_a_monitor_keeps_no_growing_memory(stopped: lxc.Container, heap: int) -> None:
    program = """
    import logging
    lxc._lxc._launcher(int(sys.argv[1]))
    load()
    (log,) = own_logs()
    os.write(log, b"x" * 4096)
    c.load_config()
    lxc.log_forward("TRACE")
    assert c.start(), c.last_error
    report()
    """
    run(stopped, body(program), str(heap))
    monitor = monitor_of(stopped)

    def memory() -> int:
        fields = process_status(monitor)
        return sum(int(fields[key].split()[0]) for key in ("RssAnon", "RssShmem"))

    for _ in range(20):
        stopped.get_running_config_item("lxc.uts.name")
    before = memory()
    assert set(logs_of(monitor).values()) <= {0}
    assert len(logs_of(monitor)) <= 1
    for _ in range(200):
        assert stopped.get_running_config_item("lxc.uts.name")
    assert memory() - before < 100
    assert set(logs_of(monitor).values()) <= {0}
    assert stopped.freeze()
    assert stopped.unfreeze()
    assert stopped.reboot()
    start = time.monotonic()
    while stopped.init_pid <= 0 and time.monotonic() - start < 10:
        time.sleep(0.01)
    assert stopped.state == "RUNNING"
    assert set(logs_of(monitor).values()) <= {0}


def test_a_monitor_in_the_foreground_has_only_its_own_log(
    stopped: lxc.Container,
) -> None:
    program = f"""
    lxc._lxc._launcher({NEVER})
    load()
    c.load_config()
    report(own_logs())
    report(c.start(daemonize=False, cmd=["/bin/sleep", "60"]))
    """
    with Program(stopped, body(program)) as started:
        started.next()
        assert stopped.wait("RUNNING", 20)
        for pid in (
            monitor_of(stopped),
            int(process_status(monitor_of(stopped))["PPid"]),
        ):
            assert len(logs_of(pid)) == 1, pid
        assert stopped.stop()
        started.next()
        started.finish()


# --- A liblxc that hides its log ------------------------------------------------------


@pytest.fixture(scope="module")
def without_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package whose programs look for the log under names that no liblxc
    has."""
    directory = tmp_path_factory.mktemp("package")
    package = directory / "lxc"
    shutil.copytree(Path(lxc.__file__).parent, package)
    for file in (*package.glob("_lxc*.so"), package / "launcher"):
        content = file.read_bytes()
        for name in (b"log_fd", b"log_category_lxc", b"log_use_global_fd"):
            old = b"\0lxc_" + name + b"\0"
            assert old in content
            content = content.replace(old, b"\0LXC_" + name + b"\0")
        file.write_bytes(content)
    return directory


@pytest.mark.parametrize("way", WAYS)
def test_a_liblxc_that_hides_its_log(
    stopped: lxc.Container, without_log: Path, way: str
) -> None:
    program = """
    assert lxc.__file__.startswith(sys.argv[2])
    import logging
    fail = globals()[sys.argv[1]]
    report([fail(), c.last_error.reason, c.last_error.messages, own_logs()])
    try:
        lxc.log_forward("TRACE")
    except NotImplementedError as error:
        report(str(error))
    lxc.log_init(file=sys.argv[3], quiet=True)
    report([fail(), c.last_error.reason])
    lxc.log_close()
    report([fail(), own_logs()])
    """
    environment = {**os.environ, "PYTHONPATH": str(without_log)}
    log = without_log / f"log-{way}"
    arguments = (way, str(without_log), str(log))
    with Program(stopped, body(program), *arguments, env=environment) as started:
        assert started.next() == [False, "liblxc refused, and gave no reason", [], []]
        assert "log_init()" in started.next()
        assert started.next()[0] is False
        assert started.next() == [False, []]
        started.finish()
    if way == "load":
        assert WAYS[way] in log.read_text()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The four Python programs of *Scripting with the API*, exactly as printed there.

LXC_DOCUMENT names the document.  Its programs use the default lxcpath, and the second
one starts and upgrades every container in it, so they run in namespaces of their own
(document/sandbox), and on an image that needs no network (document/make_image).
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "document"
IMAGES = "/var/cache/python3-lxc-tests"

PYTHON_BLOCK = re.compile(
    r"^\.\. code:: python\n"
    r"(?: +:.*\n)*"  # its options
    r"((?: *\n| +.*\n)+)",  # all that is indented, or blank
    re.MULTILINE,
)

# mysite has an address a moment before it has a web server.
FETCH = """
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for delay in [0.1] * 200 + [None]:
    try:
        reply = opener.open(sys.argv[1], timeout=10)
        break
    except OSError:
        if delay is None:
            raise
        time.sleep(delay)
print(reply.status, reply.headers["Server"])
print(reply.read().decode())
"""

pytestmark = [pytest.mark.containers, pytest.mark.document]


class Sandbox:
    """The namespaces that document/sandbox makes, and what is to be seen in them."""

    def __init__(self, image: str) -> None:
        self.keeper = subprocess.Popen(
            [HERE / "sandbox", image],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        init = self.keeper.stdout.readline().strip()
        assert init, "document/sandbox failed: see its messages"
        # On one processor a container's init, which starts to mind signals at once, has
        # done so before a program hears of its start.  Program 1 shuts it down just
        # then, and would wait 30 seconds after a signal that came too early.
        self.enter = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
        self.enter += ["nsenter", f"--target={init}", "--mount", "--net", "--uts"]
        self.enter += ["--ipc", "--pid", "--"]
        self.lxcpath = Path(f"/proc/{init}/root/var/lib/lxc")

    def close(self) -> None:
        """End all that runs in there, whatever state it is in."""
        self.keeper.stdin.close()

    def run(self, *command: str, terminal: bool = False, timeout: int = 120) -> str:
        """Run a command in there and return what it writes to a pipe or a terminal."""
        output, end = pty.openpty() if terminal else os.pipe()
        process = subprocess.Popen(
            # A session's terminal, as a shell has it, is more than standard streams.
            [*(["setsid", "--ctty"] if terminal else []), *self.enter, *command],
            stdin=end if terminal else subprocess.DEVNULL,
            stdout=end,
            stderr=end,
        )
        os.close(end)
        # Nothing less is sure to end the command together with all that it started.
        timer = threading.Timer(timeout, self.close)
        timer.daemon = True
        timer.start()
        text = read_all(output)
        status = process.wait()
        how = f"ended with {status}" if timer.is_alive() else f"took {timeout} seconds"
        timer.cancel()
        if status != 0:
            pytest.fail(f"{command} {how} and wrote:\n{text}")
        return text

    def state(self, name: str) -> str:
        return self.run("lxc-info", "--no-humanize", "--state", "-n", name).strip()

    def version(self, package: str, root: Path) -> str:
        """The version of a package that is installed below root, or nothing."""
        query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show"]
        query += ["--showformat=${Version}", package]
        return subprocess.run(query, stdout=subprocess.PIPE, text=True).stdout


def read_all(descriptor: int) -> str:
    """All that comes until the other side, a pipe's or a terminal's, is closed."""
    text = b""
    # To read from a terminal that nobody has open any more is an error.
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 4096):
            text += part
    os.close(descriptor)
    return text.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def programs() -> list[str]:
    name = os.environ.get("LXC_DOCUMENT")
    if not name:
        pytest.skip("LXC_DOCUMENT does not name the document to take programs from")
    if not Path(name).is_file():
        pytest.skip(f"LXC_DOCUMENT names {name}, which does not exist")
    blocks = PYTHON_BLOCK.findall(Path(name).read_text())
    assert len(blocks) == 4
    return [textwrap.dedent(block) for block in blocks]


@pytest.fixture(scope="module")
def sandbox(programs: list[str]) -> Iterator[Sandbox]:
    made = subprocess.run(
        [HERE / "make_image", IMAGES], stdout=subprocess.PIPE, text=True, check=True
    )
    sandbox = Sandbox(made.stdout.strip())
    yield sandbox
    sandbox.close()
    assert sandbox.keeper.wait(30) == 0, "document/sandbox left something behind"


@pytest.fixture(scope="module")
def two_containers(sandbox: Sandbox) -> None:
    """The containers p1, which is stopped, and p2, which is running."""
    for name in ("p1", "p2"):
        image = ["--dist=ubuntu", "--release=trusty", "--arch=i386"]
        sandbox.run("lxc-create", "-n", name, "-t", "download", "--", *image)
    sandbox.run("lxc-start", "-n", "p2")


@pytest.fixture
def replay(
    sandbox: Sandbox,
    programs: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Run one of the programs, show its output in the report, and return it."""

    def replay(number: int, **options: bool) -> str:
        program = tmp_path / f"program{number}.py"
        program.write_text(programs[number - 1])
        output = sandbox.run(sys.executable, str(program), **options)
        with capsys.disabled():
            print(f"\n--- The document's program {number} wrote:\n{output}---")
        return output

    return replay


def test_life_cycle(sandbox: Sandbox, replay: Callable[..., str]) -> None:
    output = replay(1)
    assert re.search(r"^Container state: RUNNING$", output, re.MULTILINE)
    assert re.search(r"^Container PID: [1-9][0-9]*$", output, re.MULTILINE)
    assert not (sandbox.lxcpath / "apicontainer").exists()


@pytest.mark.usefixtures("two_containers")
def test_upgrade_of_all_containers(
    sandbox: Sandbox, replay: Callable[..., str]
) -> None:
    roots = [sandbox.lxcpath / name / "rootfs" for name in ("p1", "p2")]
    assert [sandbox.version("notice", root) for root in roots] == ["1", "1"]
    replay(2)
    assert [sandbox.version("notice", root) for root in roots] == ["2", "2"]
    assert [sandbox.state(name) for name in ("p1", "p2")] == ["STOPPED", "RUNNING"]


@pytest.mark.usefixtures("two_containers")
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_function_in_a_container(
    sandbox: Sandbox, replay: Callable[..., str], terminal: bool
) -> None:
    host = Path("/etc/hostname").read_text().strip()
    output = replay(3, terminal=terminal)
    assert output.splitlines() == [f"Hostname: {host}", "Hostname: p1"]
    assert sandbox.state("p1") == "STOPPED"


def test_website_on_overlays(sandbox: Sandbox, replay: Callable[..., str]) -> None:
    output = replay(4)
    address = re.search(r"^Website running at: (http://\S+)$", output, re.MULTILINE)
    assert address
    page = sandbox.run(sys.executable, "-c", FETCH, address[1])
    assert page.startswith("200 Apache")
    assert "It works" in page

    states = [sandbox.state(name) for name in ("base", "web", "mysite")]
    assert states == ["STOPPED", "STOPPED", "RUNNING"]
    base = sandbox.lxcpath / "base" / "rootfs"
    assert sandbox.version("notice", base) == "2"
    assert not sandbox.version("apache2", base)
    for name in ("web", "mysite"):
        config = (sandbox.lxcpath / name / "config").read_text()
        assert re.search(
            rf"^lxc\.rootfs\.path = overlay\w*:.*/base/rootfs:.*/{name}/", config, re.M
        )

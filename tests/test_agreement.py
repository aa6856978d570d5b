# SPDX-License-Identifier: LGPL-2.1-or-later
"""One configuration in four places: in memory, in the file, in a handle that is opened
anew, and in what a start makes of it.  Whatever is done to it, they agree.

Each test makes sequences of random steps from a seed, which it prints when it fails:
LXC_TESTS_SEED and LXC_TESTS_SEQUENCES choose others, and more of them.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import LIBLXC, shell

import lxc

pytestmark = pytest.mark.containers

SEED = int(os.environ.get("LXC_TESTS_SEED", "15"))
SEQUENCES = int(os.environ.get("LXC_TESTS_SEQUENCES", "60"))
STEPS = 25

NUMBERS = (0, 1, 2, 10, 12)  # 1 is how two of the others begin

# Values that are taken, of what there is one of.
SINGLE = {
    "lxc.uts.name": ["one", "two"],
    "lxc.tty.max": ["1", "2"],
    "lxc.signal.halt": ["SIGINT", "SIGTERM"],
    "lxc.arch": ["amd64", "i686"],
    "lxc.start.order": ["3", "4"],
    "lxc.prlimit.nofile": ["1024", "2048"],
    "lxc.prlimit.nproc": ["4096", "5000"],
    "lxc.sysctl.kernel.msgmax": ["8000", "9000"],
    "lxc.hook.version": ["0", "1"],
    "lxc.monitor.signal.pdeath": ["SIGTERM", "SIGINT"],
}
# Of what there can be several of: each sequence uses a value once, so that there is no
# reason for a line to be there twice.
LISTS: dict[str, Callable[[int], str]] = {
    "lxc.environment": lambda n: f"N{n}={n}",
    "lxc.mount.entry": lambda n: f"/tmp/{n} tmp/{n} none bind,optional 0 0",
    "lxc.hook.pre-start": lambda n: f"/bin/true {n}",
    "lxc.cgroup2.pids.max": lambda n: str(10000 + n),
    "lxc.group": lambda n: f"group{n}",
    "lxc.proc.oom_score_adj": lambda n: str(n),
}
OF_NET = {
    "type": ["veth", "macvlan", "empty", "veth", "veth"],
    "link": ["lxcbr0", "br1"],
    "flags": ["up"],
    "hwaddr": ["00:16:3e:00:00:01", "00:16:3e:xx:xx:xx"],
    "name": ["eth0", "eth7"],
    "mtu": ["1400", "1450"],
    "ipv4.gateway": ["10.9.0.1", "10.9.0.2"],
    "veth.pair": ["pair0", "pair1"],
}
ADDRESSES = {
    "ipv4.address": lambda n: f"10.9.{n // 200}.{n % 200 + 2}/16",
    "ipv6.address": lambda n: f"fd00::{n + 1:x}/64",
}
REFUSED = [
    ("lxc.net.0.type", "nonsense"),
    ("lxc.net.10.ipv4.address", "nonsense"),
    ("lxc.tty.max", "many"),
    ("lxc.signal.halt", "nonsense"),
    ("lxc.idmap", "nonsense"),
]
KINDS = ["lxc.prlimit", "lxc.sysctl", "lxc.proc", "lxc.cgroup2", "lxc.hook", "lxc.net"]
if LIBLXC < (7, 0):
    KINDS.append("lxc.cgroup")
INCLUDED = """
lxc.environment = INCLUDED=1
lxc.uts.name = included
lxc.tty.max = 3
lxc.group = included
lxc.prlimit.nofile = 512
lxc.cgroup2.pids.max = 999
lxc.hook.pre-start = /bin/true included
lxc.net.0.type = veth
lxc.net.0.link = included
lxc.net.0.ipv4.address = 10.8.0.1/16
lxc.net.2.type = empty
"""
INDENTED = """# A line that somebody wrote.
  lxc.environment = INDENTED=1
\tlxc.tty.max = 4
lxc.start.order=2
"""


def everything(container: lxc.Container) -> dict[str, Any]:
    """All that can be read of a configuration."""
    keys = [
        key
        for key in container.get_keys()
        if not key.startswith(("lxc.log", "lxc.inc"))
    ]
    for number in NUMBERS:
        for name in (*OF_NET, *ADDRESSES):
            keys.append(f"lxc.net.{number}.{name}")
    found = {}
    for key in [*keys, *SINGLE, *LISTS]:
        with contextlib.suppress(KeyError):
            value = container.get_config_item(key)
            # Of different limits none comes first.
            found[key] = sorted(value) if key in KINDS else value
    return {key: value for key, value in found.items() if value}


class Steps:
    """A container to which random things are done."""

    def __init__(self, random: random.Random, container: lxc.Container) -> None:
        self.random = random
        self.container = container
        self.done: list[str] = []
        self.serial = 0
        self.path = Path(container.get_config_path())

    def fresh(self, value: Callable[[int], str]) -> str:
        self.serial += 1
        return value(self.serial)

    def net(self) -> str:
        return f"lxc.net.{self.random.choice(NUMBERS)}"

    def item(self) -> tuple[str, Any]:
        """A key and a value that is no list, or a list's next one."""
        kind = self.random.randrange(8)
        if kind < 2:
            key, values = self.random.choice(list(SINGLE.items()))
        elif kind < 4:
            key, value = self.random.choice(list(LISTS.items()))
            return key, self.fresh(value)
        elif kind < 7:
            name, values = self.random.choice(list(OF_NET.items()))
            key = f"{self.net()}.{name}"
        else:
            name, value = self.random.choice(list(ADDRESSES.items()))
            return f"{self.net()}.{name}", self.fresh(value)
        return key, self.random.choice(values)

    def has(self, key: str) -> bool:
        """Items are set of interfaces that are there, or of their type."""
        net = key.split(".")[:3]
        if net[:2] != ["lxc", "net"] or key.endswith(".type"):
            return True
        with contextlib.suppress(KeyError):
            kind = self.container.get_config_item(".".join((*net, "type")))
            return kind == "veth" or not key.endswith(".veth.pair")
        return False

    def set(self) -> None:
        key, value = self.item()
        if key in LISTS and self.random.random() < 0.5:
            value = [value, self.fresh(LISTS[key])]
        self.note("set", key, value)
        if self.has(key):
            self.container.set_config_item(key, value)

    def append(self) -> None:
        key, value = self.item()
        self.note("append", key, value)
        if self.has(key):
            self.container.append_config_item(key, value)

    def clear(self) -> None:
        choices = [self.item()[0], self.item()[0], self.net(), *KINDS]
        key = self.random.choice(choices[: 9 if self.random.random() < 0.2 else 3])
        self.note("clear", key)
        self.container.clear_config_item(key)

    def empty(self) -> None:
        key = self.item()[0]
        self.note("empty", key)
        if self.has(key):
            self.container.set_config_item(key, self.random.choice(["", []]))

    def refused(self) -> None:
        key, value = self.random.choice(REFUSED)
        self.note("refused", key, value)
        before = everything(self.container)
        assert not self.container.set_config_item(key, value)
        assert everything(self.container) == before

    def add(self) -> None:
        self.note("add")
        if len(self.container.network) < 3:
            assert self.container.network.add("veth")

    def remove(self) -> None:
        if len(self.container.network):
            index = self.random.randrange(len(self.container.network))
            self.note("remove", index)
            assert self.container.network.remove(index)

    def configure(self) -> None:
        """An interface that is configured as programs do it, perhaps again."""
        values = {
            "type": "veth",
            "link": "lxcbr0",
            "flags": "up",
            "hwaddr": "00:16:3e:00:00:09",
            "ipv4_address": [self.fresh(ADDRESSES["ipv4.address"])],
        }
        self.note("configure", *values.values())
        assert self.container.network[0]  # which makes it where there is none
        for name, value in values.items():
            setattr(self.container.network[0], name, value)

    def save(self) -> None:
        self.note("save")
        assert self.container.save_config()

    def reload(self) -> None:
        self.note("reload")
        assert self.container.save_config()
        if self.random.random() < 0.5:
            self.container.clear_config()
        assert self.container.load_config()

    def reopen(self) -> None:
        self.note("reopen")
        assert self.container.save_config()
        self.open(self.container.name)

    def load(self) -> None:
        key, value = self.random.choice(list(LISTS.items()))
        line = f"{key} = {self.fresh(value)}"
        self.note("load", line)
        (self.path / "more").write_text(f"{line}\n")
        assert self.container.load_config(self.path / "more")

    def include(self) -> None:
        if self.serial > 1000:
            return
        self.serial += 1000
        self.note("include")
        file = self.path / f"include{self.serial}"
        file.write_text(INCLUDED)
        assert self.container.append_config_item("lxc.include", str(file))

    def clone(self) -> None:
        name = f"{self.container.name}c"
        self.note("clone", name)
        assert self.container.save_config()
        flags = lxc.LXC_CLONE_KEEPMACADDR
        assert self.container.clone(name, flags=flags), self.container.last_error
        self.open(name)

    def rename(self) -> None:
        name = f"{self.container.name}r"
        self.note("rename", name)
        assert self.container.save_config()
        assert self.container.rename(name), self.container.last_error
        self.open(name)

    def open(self, name: str) -> None:
        self.container = lxc.Container(name, self.path)

    def note(self, *words: Any) -> None:
        self.done.append(" ".join(map(str, words)))

    def step(self) -> None:
        usual: list[Callable[[], None]] = [
            *[self.set] * 8,
            *[self.append] * 4,
            *[self.clear] * 4,
            self.empty,
            self.refused,
            self.add,
            self.remove,
            self.configure,
            self.save,
            self.reload,
            self.reopen,
            self.load,
            self.include,
        ]
        self.random.choice(usual)()
        self.no_line_is_there_twice()

    def lines(self) -> list[str]:
        """What would be saved; a line without a value only clears what was before."""
        assert self.container.save_config(self.path / "saved")
        lines = (self.path / "saved").read_text().splitlines()
        lines = [line for line in lines if line.startswith("lxc.")]
        return [line for line in lines if not line.rstrip().endswith("=")]

    def no_line_is_there_twice(self) -> None:
        lines = self.lines()
        assert sorted(set(lines)) == sorted(lines)
        once = {*SINGLE, *(f"lxc.net.{n}.{item}" for n in NUMBERS for item in OF_NET)}
        keys = [key for line in lines if (key := line.split(" ")[0]) in once]
        assert sorted(set(keys)) == sorted(keys)

    def all_agree(self) -> None:
        """The memory, a file elsewhere, the container's own, and a handle of that."""
        memory = everything(self.container)
        self.lines()
        other = lxc.Container("other", self.path / "none")
        assert other.load_config(self.path / "saved"), other.last_error
        assert everything(other) == memory
        assert self.container.save_config()
        assert everything(self.container) == memory
        fresh = lxc.Container(self.container.name, self.path)
        assert everything(fresh) == memory
        assert (
            Path(fresh.config_file_name).read_text()
            == (self.path / "saved").read_text()
        )


def begin(random: random.Random, path: Path, rootfs: str) -> Steps:
    """A container, perhaps with a file that is more than what liblxc writes."""
    shutil.rmtree(path, ignore_errors=True)
    (path / "c" / "rootfs").mkdir(parents=True)
    (path / "included").write_text(INCLUDED)
    text = f"lxc.include = {path}/included\n" if random.random() < 0.4 else ""
    if random.random() < 0.3:
        text += INDENTED
    text += f"lxc.rootfs.path = dir:{rootfs}\n"
    (path / "c" / "config").write_text(text)
    return Steps(random, lxc.Container("c", path))


def test_what_is_in_memory_is_what_is_saved(tmp_path: Path) -> None:
    for seed in range(SEED, SEED + SEQUENCES):
        path = tmp_path / "c"
        steps = begin(random.Random(seed), path, f"{path}/c/rootfs")
        try:
            for _ in range(STEPS):
                steps.step()
            if seed % 10 == 0:
                steps.random.choice([steps.clone, steps.rename])()
            steps.all_agree()
        except Exception as error:
            done = "\n".join(steps.done)
            raise AssertionError(f"LXC_TESTS_SEED={seed}\n{done}") from error


def test_an_interface_that_is_configured_again_is_there(
    make: Callable[..., lxc.Container], new_name: Callable[[], str]
) -> None:
    """As programs for python3-lxc do it, also after a rename and an overlay clone."""

    def configure(container: lxc.Container, number: int) -> None:
        for key, value in (
            ("type", "veth"),
            ("link", "lxcbr0"),
            ("flags", "up"),
            ("hwaddr", f"00:16:3e:00:15:0{number}"),
            ("ipv4.address", f"10.0.3.{number + 200}/24"),
        ):
            assert container.set_config_item(f"lxc.net.0.{key}", value)
        assert container.save_config()
        text = Path(container.config_file_name).read_text()
        lines = [line for line in text.splitlines() if line.startswith("lxc.net.0.")]
        assert len(lines) == 5
        assert lines[0] == "lxc.net.0.type = veth"

    def look(container: lxc.Container, number: int) -> None:
        assert container.start()
        found = Path(f"/proc/{container.init_pid}/root/sys/class/net/eth0/address")
        assert shell(container, f"ip -o addr show eth0 | grep 10.0.3.{number + 200}/24")
        if found.exists():
            assert found.read_text().strip() == f"00:16:3e:00:15:0{number}"
        assert container.get_interfaces() == ("eth0", "lo")
        assert container.stop()

    container = make(network=True)
    for again in range(2):
        configure(container, again)
    look(container, 1)
    renamed = container.rename(new_name())
    assert renamed
    configure(renamed, 2)
    look(lxc.Container(renamed.name, renamed.get_config_path()), 2)
    clone = renamed.clone(
        new_name(), flags=lxc.LXC_CLONE_SNAPSHOT, bdevtype="overlayfs"
    )
    assert clone
    try:
        configure(clone, 3)
        look(clone, 3)
    finally:
        clone.stop()
        assert clone.destroy()
        renamed.destroy()


def test_what_a_start_makes_of_it(make: Callable[..., lxc.Container]) -> None:
    """The interfaces of a running container, however they came about."""
    for seed in range(SEED, SEED + 3):
        container = make(network=True)
        steps = Steps(random.Random(seed), container)
        for _ in range(8):
            usual = [steps.configure, steps.add, steps.remove, steps.save, steps.reopen]
            steps.random.choice(usual)()
        container = steps.container
        container.network.add("veth")
        for number in range(len(container.network)):
            container.network[number].type = "veth"
            interface = container.network[number]
            interface.link = "lxcbr0"
            interface.flags = "up"
            interface.name = f"given{number}"
            interface.hwaddr = f"00:16:3e:01:{seed % 256:02x}:{number:02x}"
        expected = {i.name: i.hwaddr for i in container.network}
        if seed % 2:
            assert container.save_config()
            container = lxc.Container(container.name, container.get_config_path())
        assert container.start(), "\n".join(steps.done)
        names = set(container.get_interfaces()) - {"lo"}
        assert names == set(expected), "\n".join(steps.done)
        for name, address in expected.items():
            assert address in shell(container, f"ip link show {name}").out
        assert container.stop()

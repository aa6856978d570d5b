# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Python program pays for each operation, with one of the bindings.

"worker.py DIRECTORY LXCPATH RUNNING STOPPED" imports lxc from DIRECTORY and says which
one it got, then answers every line "COUNT STATEMENT" with the seconds that one of COUNT
such statements took, and every line "= EXPRESSION" with its value, a number.  Both can
use what is in scope below.  A module that only some need is imported by them: what it
does after a fork would be a part of the others' time.
"""

import os
import os.path
import subprocess  # noqa: F401, for statements
import sys
from time import monotonic, perf_counter, sleep  # noqa: F401

directory, path, running_name, name = sys.argv[1:]
sys.path.insert(0, directory)

import lxc  # noqa: E402

if os.path.dirname(os.path.dirname(lxc.__file__)) != directory:
    sys.exit(f"worker: there is no lxc in {directory}, this is {lxc.__file__}")

TEMPLATE = """
def measure(count):
    begin = perf_counter()
    for _ in range(count):
        {}
    return (perf_counter() - begin) / count
"""
MANY = 16
memory = bytearray()


def zero():
    return 0


def fill(mebibytes):
    """Have that much memory in use."""
    global memory
    memory = bytearray(b"x") * (mebibytes << 20)


def rewrite():
    """Write to every page of it."""
    memory[::4096] = bytes(len(memory) // 4096)


def own_memory():
    """MiB of this process that it shares with no file."""
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * 4096 / (1 << 20)


def idle_thread():
    """Make this a process with threads."""
    import threading

    threading.Thread(target=threading.Event().wait, daemon=True).start()


def life(number):
    """One container from start to stop."""
    container = lxc.Container(f"{name}-{number}", f"{path}-many")
    assert container.start()
    assert container.attach_wait(lxc.attach_run_command, ["/bin/true"]) == 0
    assert container.get_ips()
    assert container.stop()
    assert container.wait("STOPPED", 10)


def in_turn():
    for number in range(MANY):
        life(number)


def at_once():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(life, range(MANY)))


def longest_stall(statement):
    """How long a thread that wants to run every two milliseconds could not."""
    import threading

    longest = 0.0
    ticking, over = threading.Event(), threading.Event()

    def tick():
        nonlocal longest
        last = monotonic()
        ticking.set()
        while not over.is_set():
            sleep(0.002)
            now = monotonic()
            longest = max(longest, now - last)
            last = now

    thread = threading.Thread(target=tick)
    code = compile(statement, "statement", "exec")
    thread.start()
    ticking.wait()
    try:
        exec(code, scope)
        sleep(0.01)  # a stall that lasts until the end counts
    finally:
        over.set()
        thread.join()
    return longest


def interrupted(statement):
    """When the KeyboardInterrupt of a statement was here, which may be never."""
    try:
        exec(statement, scope)
        sleep(0.1)  # in which one that has to come does
    except KeyboardInterrupt:
        return monotonic()
    return float("inf")


def console():
    """The console of the running container, on a terminal of its own."""
    import pty

    terminal, follower = pty.openpty()
    messages = os.dup(2)
    os.dup2(follower, 2)  # liblxc greets on the process's own
    try:
        running.console(stdinfd=follower, stdoutfd=follower, stderrfd=follower)
    finally:
        os.dup2(messages, 2)
        for number in (messages, follower, terminal):
            os.close(number)


def address():
    """When the address was known of a container that is started here."""
    assert bridged.start()
    assert bridged.get_ips(timeout=20)
    return monotonic()


running = lxc.Container(running_name, path)
stopped = lxc.Container(name, path)
bridged = lxc.Container(f"{name}-bridged", path)
scope = globals()
print(lxc.version, getattr(lxc, "__version__", "-"), sys.version.split()[0], flush=True)
for line in sys.stdin:
    count, _, statement = line.strip().partition(" ")
    if count == "=":
        answer = eval(statement)
    else:
        exec(TEMPLATE.format(statement), scope)
        answer = scope["measure"](int(count))
    print(f"{answer:.9f}", flush=True)

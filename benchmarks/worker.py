# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Python program pays for each operation, with one of the bindings.

"worker.py DIRECTORY LXCPATH RUNNING STOPPED" imports lxc from DIRECTORY and says which
one it got, then answers every line "COUNT STATEMENT" with the seconds that one of COUNT
such statements took.  A statement can use lxc, path, name, the containers running and
stopped, and the function zero.
"""

import os.path
import subprocess
import sys
from time import perf_counter

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


def zero():
    return 0


scope = {
    "lxc": lxc,
    "name": name,
    "path": path,
    "perf_counter": perf_counter,
    "running": lxc.Container(running_name, path),
    "subprocess": subprocess,
    "stopped": lxc.Container(name, path),
    "zero": zero,
}
print(lxc.version, getattr(lxc, "__version__", "-"), sys.version.split()[0], flush=True)
for line in sys.stdin:
    count, _, statement = line.strip().partition(" ")
    exec(TEMPLATE.format(statement), scope)
    print(f"{scope['measure'](int(count)):.9f}", flush=True)

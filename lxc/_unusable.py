# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why the extension could not be imported: asked when that failed."""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

__all__ = ["why_not_imported"]


def why_not_imported(error: ImportError) -> str | None:
    """What is missing, and what to do; None where Python's own words say it all."""
    if "liblxc.so.1" in str(error):
        return (
            "the lxc package needs the library liblxc.so.1, which is not on this "
            "machine: install liblxc1 (Debian 12, Ubuntu 22.04), liblxc1t64 (Debian "
            "13, Ubuntu 24.04), lxc-libs (Fedora, EPEL, Alpine)"
        )
    here = os.path.dirname(os.path.abspath(__file__))
    if any(os.path.exists(f"{here}/_lxc{suffix}") for suffix in EXTENSION_SUFFIXES):
        return None
    if os.path.exists(os.path.join(os.path.dirname(here), "setup.py")):
        return (
            f"{here} is a checkout's, which is not built for this Python: build it "
            "with 'pip install -e .' there, or leave that directory where the package "
            "is installed already"
        )
    return (
        f"the lxc package in {here} was installed for another Python than this one, "
        f"{sys.version_info[0]}.{sys.version_info[1]}: install it for this one"
    )

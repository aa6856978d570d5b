# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds lxc._lxc with the flags that pkg-config gives for liblxc.

The metadata is in pyproject.toml.  These environment variables change the build:

LXC_LAUNCHER_CC     the compiler for the launcher; the extension's if unset
PKG_CONFIG          the pkg-config program to ask; "pkg-config" if unset
LXC_WERROR=1        warnings on, and an error each
LXC_SANITIZE=list   build with -fsanitize=list, such as "address,undefined"
LXC_COVERAGE=1      write coverage data for gcov when it runs
LXC_LIMITED_API=1   one extension for CPython 3.10 and later (an abi3 wheel)
SOURCE_DATE_EPOCH   the time, in seconds, that files in packages carry: the same
                    sources then give the same bytes
"""

import copy
import gzip
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    # Before setuptools 70.1; there is no wheel when only an sdist is made.
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:
        bdist_wheel = None

LICENSE = "LGPL-2.1-or-later"
LICENSE_FILE = "COPYING"

# The first release whose struct lxc_container all later ones only append to.
OLDEST_LIBLXC = "4.0.5"
ROOM = "lxc/src"


def sources_of(*rooms):
    """The C files of folders below lxc/src, which both programs are made of."""
    return sorted(
        source.as_posix()
        for room in rooms
        for source in pathlib.Path(ROOM, room).glob("*.c")
    )


def quotes_of(*rooms):
    """The folders whose headers their sources include, with quotes only: a features.h
    where <features.h> is looked for would hide the C library's."""
    return [word for room in rooms for word in ("-iquote", f"{ROOM}/{room}")]


HEADERS = sorted(header.as_posix() for header in pathlib.Path(ROOM).glob("*/*.h"))
HOW_TO_INSTALL = (
    "install {0} on Debian and Ubuntu, {1} on Fedora, or {2} on Alpine, and try again."
)


def switch(name):
    """Whether the environment variable is set to something other than 0."""
    return os.environ.get(name, "0") not in ("", "0")


def pkg_config(question):
    """What pkg-config answers about liblxc, as a list; None if it says no."""
    command = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    try:
        done = subprocess.run(
            [*command, question, "lxc >= " + OLDEST_LIBLXC],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        sys.exit(
            f"python3-lxc is built with {command[0]}, which could not be run: "
            + HOW_TO_INSTALL.format("pkg-config", "pkgconf-pkg-config", "pkgconf")
        )
    return shlex.split(done.stdout) if done.returncode == 0 else None


def liblxc_flags():
    """The compiler's and the linker's flags, or the end of the build."""
    cflags = pkg_config("--cflags")
    libs = pkg_config("--libs")
    if cflags is None or libs is None:
        sys.exit(
            f"python3-lxc needs the headers of liblxc {OLDEST_LIBLXC} or later, which "
            "pkg-config does not know: "
            + HOW_TO_INSTALL.format(
                "lxc-dev (in some releases liblxc-dev)", "lxc-devel", "lxc-dev"
            )
        )
    return cflags, libs


class build_with_liblxc(build_ext):
    """Asks pkg-config only when something is compiled: an sdist needs no liblxc.

    The launcher, a program, is built beside the extension and goes where that goes.
    """

    def launcher_path(self):
        directory = os.path.dirname(self.get_ext_fullpath("lxc._lxc"))
        return os.path.join(directory, "launcher")

    def get_outputs(self):
        return [*super().get_outputs(), self.launcher_path()]

    def build_launcher(self, cflags, libs):
        path = self.launcher_path()
        compiler = self.compiler
        # What the extension is linked with, but by setuptools no program.
        flags = [
            flag
            for name in ("CFLAGS", "LDFLAGS")
            for flag in shlex.split(os.environ.get(name, ""))
        ]
        if os.environ.get("LXC_LAUNCHER_CC"):
            # For a C library that is older than this machine's, for instance.
            command = shlex.split(os.environ["LXC_LAUNCHER_CC"])
            compiler = copy.copy(compiler)
            compiler.compiler_so = [*command, "-fPIC", "-O2"]
            compiler.linker_exe = command
            flags = []
        objects = compiler.compile(
            sources_of("launcher", "common"),
            output_dir=os.path.join(self.build_temp, "launcher"),
            debug=self.debug,
            extra_postargs=[*compile_args, *quotes_of("launcher", "common"), *cflags],
            depends=HEADERS,
        )
        compiler.link_executable(
            objects,
            path,
            extra_preargs=flags,
            extra_postargs=[*link_args, *libs, "-pie"],
        )
        os.chmod(path, 0o755)

    def build_extensions(self):
        cflags, libs = liblxc_flags()
        for extension in self.extensions:
            # New lists, as the launcher is made with what is in these, too.
            extension.extra_compile_args = [
                *compile_args,
                *quotes_of("extension", "common"),
                *cflags,
            ]
            extension.extra_link_args = [*link_args, *libs]
        # A CPython made for a directory of its own would leave its path as RUNPATH.
        self.compiler.linker_so = [
            argument
            for argument in self.compiler.linker_so
            if not argument.startswith("-Wl,-rpath")
        ]
        super().build_extensions()
        self.build_launcher(cflags, libs)


class reproducible_sdist(sdist):
    """A tarball in which nothing depends on who packs it, where and when."""

    def make_archive(self, base_name, format, *args, base_dir, **kwargs):
        if format != "gztar":
            return super().make_archive(
                base_name, format, *args, base_dir=base_dir, **kwargs
            )
        now = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())

        def plain(member):
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            member.mtime = now
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            return member

        path = base_name + ".tar.gz"
        self.mkpath(os.path.dirname(path))
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", 9, file, now) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=plain)
        return path


def bill_of_materials(name, version):
    """What a wheel consists of and what it needs, as CycloneDX."""
    package = f"pkg:pypi/{name}@{version}"
    built_with = pkg_config("--modversion")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": package,
                "name": name,
                "version": version,
                "licenses": [{"expression": LICENSE}],
                "purl": package,
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": "liblxc",
                "name": "liblxc",
                "description": f"The system's, {OLDEST_LIBLXC} or later; not included.",
                "scope": "required",
                "licenses": [{"expression": LICENSE}],
                "properties": [
                    {"name": f"{name}:compiled-against", "value": " ".join(built_with)}
                ],
            }
        ],
        "dependencies": [
            {"ref": package, "dependsOn": ["liblxc"]},
            {"ref": "liblxc"},
        ],
    }


commands = {"build_ext": build_with_liblxc, "sdist": reproducible_sdist}

if bdist_wheel is not None:

    class wheel_with_bom(bdist_wheel):
        """Puts the bill of materials where PEP 770 wants it, and always a licence."""

        def egg2dist(self, egginfo_path, distinfo_path):
            super().egg2dist(egginfo_path, distinfo_path)
            name = self.distribution.get_name()
            folder = os.path.join(distinfo_path, "sboms")
            os.makedirs(folder)
            with open(os.path.join(folder, f"{name}.cdx.json"), "w") as file:
                bom = bill_of_materials(name, self.distribution.get_version())
                file.write(json.dumps(bom, indent=2) + "\n")
            # That of bookworm looks for " COPYING", with a space, and finds nothing.
            if not any(pathlib.Path(distinfo_path).rglob(LICENSE_FILE)):
                folder = os.path.join(distinfo_path, "licenses")
                os.makedirs(folder)
                shutil.copyfile(LICENSE_FILE, os.path.join(folder, LICENSE_FILE))

    commands["bdist_wheel"] = wheel_with_bom

macros = []
compile_args = ["-std=gnu11", "-fvisibility=hidden", "-fno-exceptions"]
link_args = []
options = {
    # Objects made with other switches are never reused.
    "build_ext": {"force": True},
}

if switch("LXC_WERROR"):
    compile_args += ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror"]

if os.environ.get("LXC_SANITIZE"):
    sanitize = "-fsanitize=" + os.environ["LXC_SANITIZE"]
    compile_args += [sanitize, "-fno-omit-frame-pointer", "-g", "-O1"]
    link_args += [sanitize]

if switch("LXC_COVERAGE"):
    compile_args += ["--coverage"]
    link_args += ["--coverage"]
else:
    # Debugging data names the sources without the directory that they were in.
    compile_args += [f"-ffile-prefix-map={os.getcwd()}=."]

# A free-threaded CPython has no limited API before 3.15.
limited_api = (
    switch("LXC_LIMITED_API")
    and sys.version_info >= (3, 10)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
if limited_api:
    macros += [("Py_LIMITED_API", "0x030A0000")]
    options["bdist_wheel"] = {"py_limited_api": "cp310"}

setup(
    # Here, as no one spelling in pyproject.toml suits all of setuptools 64 to 84.
    license=LICENSE,
    ext_modules=[
        Extension(
            "lxc._lxc",
            sources=["lxc/_lxc.c", *sources_of("extension", "common")],
            depends=HEADERS,
            define_macros=macros,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            py_limited_api=limited_api,
        )
    ],
    cmdclass=commands,
    options=options,
)

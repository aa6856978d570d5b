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
import tempfile
import time

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CCompilerError

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


def install(debian, fedora, alpine):
    """What to do where something is missing."""
    return (
        f"install {debian} on Debian and Ubuntu, {fedora} on Fedora, or {alpine} on "
        "Alpine, and try again."
    )


COMPILER = install("gcc and libc6-dev", "gcc", "gcc and musl-dev")
LIBLXC = install("lxc-dev (in some releases liblxc-dev)", "lxc-devel", "lxc-dev")
PYTHON_H = install(
    "python{}.{}-dev".format(*sys.version_info), "python3-devel", "python3-dev"
)


def switch(name):
    """Whether the environment variable is set to something other than 0."""
    return os.environ.get(name, "0") not in ("", "0")


# --- What is needed ------------------------------------------------------------------


def ask_pkg_config(*question):
    command = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    try:
        return subprocess.run(
            [*command, *question], capture_output=True, text=True, check=False
        )
    except OSError:
        sys.exit(
            f"python3-lxc is built with {command[0]}, which could not be run: "
            + install("pkg-config", "pkgconf-pkg-config", "pkgconf")
        )


def pkg_config(question):
    """What pkg-config answers about liblxc, as a list; or the end of the build."""
    done = ask_pkg_config(question, "lxc >= " + OLDEST_LIBLXC)
    if done.returncode != 0:
        sys.exit(why_no_liblxc())
    return shlex.split(done.stdout)


def why_no_liblxc():
    needed = f"python3-lxc needs the headers of liblxc {OLDEST_LIBLXC} or later"
    found = ask_pkg_config("--modversion", "lxc")
    if found.returncode == 0:
        return (
            f"{needed}, and this machine has those of {found.stdout.strip()}, which is "
            "too old: use a newer release, such as Debian 11, Ubuntu 22.04 or EPEL 9."
        )
    if "required by 'lxc'" in found.stderr:
        return f"{needed}, of which pkg-config says: {found.stderr.strip()}"
    return f"{needed}, which pkg-config does not know: {LIBLXC}"


def why_not_built(compiler, cflags, libs):
    """What is missing, where that made the build fail; None where it was another thing.

    Tried afterwards, so that nothing here can make a build fail that would work.
    """
    program = compiler.compiler_so[0]
    if shutil.which(program) is None:
        return f"python3-lxc needs a C compiler, and there is no {program}: {COMPILER}"
    read = [*compiler.compiler_so, "-fsyntax-only", *cflags]
    read += [f"-I{directory}" for directory in compiler.include_dirs]
    link, main = compiler.linker_exe, "int main(void) { return 0; }"
    tries = (
        (read, "#include <stdlib.h>", (), "the C library's headers", COMPILER),
        (read, "#include <Python.h>", (), "Python.h", PYTHON_H),
        (read, "#include <lxc/lxccontainer.h>", (), "liblxc's headers", LIBLXC),
        (link, main, (), "a C library to link with", COMPILER),
        (link, main, libs, "liblxc to link with", LIBLXC),
    )
    with tempfile.TemporaryDirectory() as scratch:
        path, output = pathlib.Path(scratch, "try.c"), os.path.join(scratch, "tried")
        for command, source, more, what, remedy in tries:
            path.write_text(source + "\n")
            done = subprocess.run(
                [*command, str(path), "-o", output, *more],
                capture_output=True,
                check=False,
            )
            if done.returncode != 0:
                return f"python3-lxc needs {what}, not found by {program}: {remedy}"
    return None


# --- What is built --------------------------------------------------------------------


class build_with_liblxc(build_ext):
    """Asks pkg-config only when something is compiled: an sdist needs no liblxc.

    The launcher, a program, is built beside the extension and goes where that goes; so
    it does in an editable install, which has the built files among the sources.
    """

    def launcher_path(self, *above):
        """Where the launcher is, below the directory that is built in, or another."""
        package = os.path.dirname(self.get_ext_filename("lxc._lxc"))
        return os.path.join(*(above or (self.build_lib,)), package, "launcher")

    def get_outputs(self):
        outputs = super().get_outputs()
        # Those of an editable install are the keys of the mapping.
        return outputs if self.inplace else [*outputs, self.launcher_path()]

    def get_output_mapping(self):
        mapping = super().get_output_mapping()
        if self.inplace:
            mapping[self.launcher_path()] = self.launcher_path(os.curdir)
        return mapping

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        self.copy_file(self.launcher_path(), self.launcher_path(os.curdir))

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
        cflags, libs = pkg_config("--cflags"), pkg_config("--libs")
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
        try:
            super().build_extensions()
            self.build_launcher(cflags, libs)
        except CCompilerError:
            # The compiler has spoken already; where something is missing, say what.
            why = why_not_built(self.compiler, cflags, libs)
            if why is None:
                raise
            sys.exit(why)


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

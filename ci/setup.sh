# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
#
# What a machine needs to build python3-lxc and to run containers.  The programs in
# this directory source it and call what they need; each step does only what is not
# done yet, so that they can be run again, and without a network after the first time.
#
# PYTHON       the interpreter to build for; /usr/bin/python3 if unset
# LXC_...      the switches of setup.py

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME

# One of a|b is enough: the first that the system's archive has.  A ? means: if it has it.
TO_BUILD=(
    gcc libc6-dev pkg-config "lxc-dev|liblxc-dev" python3-dev python3-venv ca-certificates
)
TO_RUN_CONTAINERS=(
    lxc "?lxc-templates" "?apparmor" busybox-static dnsmasq-base iproute2 iptables rsync
    uidmap wget xz-utils
)
TO_TEST=(mmdebstrap dpkg-dev debian-archive-keyring passwd)
# The interpreter's own tests, for tests/test_cpython.py: the name has its version.
testsuite() {
    /usr/bin/python3 -c 'import sys; print("?libpython%d.%d-testsuite" % sys.version_info[:2])'
}

say() {
    printf '\n--- %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "this sets up the machine and runs containers: run it as root."
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_in_archive() {
    [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]
}

# Install those of the packages that are missing.
need_packages() {
    local wanted package choices missing=() later=() names=()

    command -v apt-get >/dev/null ||
        fail "this needs Debian or Ubuntu; elsewhere install what ci/setup.sh lists, and use pip and pytest."
    for wanted; do
        IFS='|' read -ra choices <<<"${wanted#\?}"
        for package in "${choices[@]}"; do
            ! is_installed "$package" || continue 2
        done
        if [ "${wanted:0:1}" = '?' ] && ! is_in_archive "${wanted#\?}"; then
            later+=("$wanted")
        else
            missing+=("$wanted")
        fi
    done
    [ "${#missing[@]}" -gt 0 ] || return 0

    need_root
    say "Installing packages: ${missing[*]#\?}"
    apt-get -q update
    for wanted in "${missing[@]}" "${later[@]}"; do
        IFS='|' read -ra choices <<<"${wanted#\?}"
        for package in "${choices[@]}"; do
            if is_in_archive "$package"; then
                names+=("$package")
                continue 2
            fi
        done
        [ "${wanted:0:1}" = '?' ] || fail "the system's archive has no package $wanted."
    done
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${names[@]}" </dev/null
}

# Print what tells one interpreter from another.
identity() {
    "$1" -c 'import os, sys; print(sys.version, os.path.realpath(sys.base_prefix))' 2>/dev/null
}

# Make the virtual environment $1 for the interpreter $2, if it is not there.
need_venv() {
    local venv=$1 python=${2:-${PYTHON:-/usr/bin/python3}} wanted

    wanted=$(identity "$python") || fail "there is no working Python at $python."
    if [ "$(identity "$venv/bin/python")" != "$wanted" ]; then
        say "Making the virtual environment $venv with $python"
        rm -rf "$venv"
        "$python" -m venv "$venv" || fail "$python cannot make a virtual environment."
    fi
}

# Print a CPython of version $1 that can make a virtual environment.
find_python() {
    local candidate paths=()

    mapfile -t paths < <(type -aP "python$1")
    for candidate in "${paths[@]}" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1"; do
        if [ -x "$candidate" ] && "$candidate" -c "
import ensurepip, sys, sysconfig, os, venv
assert sys.implementation.name == 'cpython'
assert '%d.%d' % sys.version_info[:2] == '$1'
assert os.path.exists(sysconfig.get_path('include') + '/Python.h')
" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Install the programs of the dependency group $2 into the virtual environment $1.
need_tools() {
    local venv=$1 group=$2 tools

    need_venv "$venv"
    # As pip itself only reads such groups since 25.1.
    tools=$("$venv/bin/python" -c '
import sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["dependency-groups"][sys.argv[1]], sep="\n")' "$group")
    if [ "$(cat "$venv/tools-$group" 2>/dev/null)" != "$tools" ]; then
        say "Installing into $venv: ${tools//$'\n'/, }"
        printf '%s\n' "$tools" | "$venv/bin/python" -m pip install --quiet -r /dev/stdin
        printf '%s\n' "$tools" >"$venv/tools-$group"
    fi
}

# A text that changes with everything that goes into the package.
state_of_sources() {
    env | grep -E '^(LXC_(WERROR|SANITIZE|COVERAGE|LIMITED_API)|CC|CFLAGS|CPPFLAGS|LDFLAGS|PKG_CONFIG)=' | sort
    "${PKG_CONFIG:-pkg-config}" --modversion lxc
    find lxc -type f ! -name '*.py[co]' -print0 | sort -z | xargs -0 cksum pyproject.toml setup.py MANIFEST.in README.rst
}

# Print the names of all source files, each with a zero byte after it.
list_sources() {
    if [ -e .git ]; then
        git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' file; do
            [ ! -e "$file" ] || printf '%s\0' "$file"
        done
    else
        # A source package has no git, and some files that were made with it.
        find . -type f -not -path './.venv*' -not -path '*.egg-info/*' -not -path '*cache*' \
            -not -path './build/*' -not -path './dist/*' \
            -not -name PKG-INFO -not -name setup.cfg -printf '%P\0'
    fi
}

# Build the package and install it into the virtual environment $1, with the
# optional dependencies $2, if that is not done already.
need_lxc() {
    local venv=$1 extras=${2:-} state path

    state=$(state_of_sources; echo "$extras")
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$state" ]; then
        say "Building python3-lxc and installing it into $venv"
        rm -f "$venv/installed"
        # The build's own tools stay installed: a rebuild fetches nothing.
        "$venv/bin/python" -c 'import wheel, setuptools as s; assert int(s.__version__.split(".")[0]) >= 64' 2>/dev/null ||
            "$venv/bin/python" -m pip install --quiet --upgrade 'setuptools>=64' wheel
        rm -rf build
        "$venv/bin/python" -m pip install --quiet --no-build-isolation ".${extras:+[$extras]}"
        rm -rf build
        printf '%s\n' "$state" >"$venv/installed"
    fi
    venv=$(realpath -s "$venv")
    path=$(cd / && "$venv/bin/python" -c 'import lxc; print(lxc.__file__)')
    [[ $path == "$venv"/* ]] || fail "import lxc finds $path, which is not the one just installed."
}

# Start lxc-net, which makes the bridge lxcbr0 and answers DHCP there.
need_bridge() {
    local script candidate server

    if [ -d /sys/class/net/lxcbr0 ]; then
        server=$(cat /run/lxc/dnsmasq.pid 2>/dev/null || true)
        # A bridge that lxc-net did not make is left as it is.
        if [ -z "$server" ] || kill -0 "$server" 2>/dev/null; then
            return
        fi
    fi
    if grep -qs '^ *USE_LXC_BRIDGE="\?false' /etc/default/lxc-net; then
        fail "/etc/default/lxc-net switches the bridge lxcbr0 off: set USE_LXC_BRIDGE to \"true\" there."
    fi
    say "Starting the bridge lxcbr0"
    if [ -d /run/systemd/system ]; then
        systemctl restart lxc-net || fail "lxc-net could not be started: see systemctl status lxc-net."
    else
        script=
        for candidate in /usr/libexec/lxc/lxc-net /usr/lib/*/lxc/lxc-net /usr/lib/lxc/lxc-net; do
            [ ! -x "$candidate" ] || script=$candidate
        done
        [ -n "$script" ] || fail "there is no lxc-net script under /usr/libexec or /usr/lib: is the package lxc installed?"
        # A machine that went down uncleanly says that it is running already.
        "$script" start || { "$script" stop || true; "$script" start; } || fail "$script could not make the bridge lxcbr0."
    fi
    [ -d /sys/class/net/lxcbr0 ] || fail "lxc-net has run, but there is no bridge lxcbr0."
}

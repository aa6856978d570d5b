# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Other Debian suites on this machine: fresh roots of them, and programs that run in
# there.  Source it after ci/setup.sh, and let need_packages have TO_MAKE_CHROOTS.
#
#     unpack_chroot SUITE DIRECTORY [PACKAGE...]    a fresh root with these packages
#     unpack_to_test SUITE DIRECTORY                one in which the tests run
#     take_liblxc_from SUITE DIRECTORY              put that suite's liblxc into it
#     names_of LIBRARY                              C source of a stand-in to link with
#     in_network DIRECTORY COMMAND...               run it there; apt and pip work
#     in_chroot DIRECTORY v2|hybrid COMMAND...      run it there; containers work
#     remove_chroot DIRECTORY
#
# The command gets a root by pivot_root(2), as a chroot(2) would deny it user
# namespaces, and a mount and a pid namespace: nothing stays mounted or running.
#
# CHROOT_BINDS   "source:destination ...", directories of this machine to be seen there

# Tarballs of roots, one for each suite and list of packages.  To have them made anew
# from today's archive, remove this directory; what nobody used for 30 days goes by itself.
CHROOTS=/var/cache/python3-lxc-tests/chroots

TO_MAKE_CHROOTS=(mmdebstrap debian-archive-keyring dnsmasq-base iproute2 util-linux)

# --- Making a root --------------------------------------------------------------------

# Print the mirror that apt has for Debian here; nothing on another distribution.
debian_mirror() {
    local attempt

    for attempt in 1 2; do
        # Only what apt has fetched tells it whose a mirror is.
        [ "$attempt" = 1 ] || apt-get -qq update >&2 || true
        apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
            sed -n 's/^Debian|Debian|//p' | sort -u | head -n 1 | grep . && return
    done
    return 0
}

# Print apt's settings for a root: how this machine's apt reaches an archive.
apt_settings() {
    apt-config dump --format '%F "%v";%n' Acquire |
        grep -E '^Acquire::(https?|Retries|Check-Date)\b' || true
    # What a mirror holds of sid may be older than sid promises to be.
    echo 'Acquire::Check-Valid-Until "false";'
}

# Put a fresh root of the Debian suite $1 into the directory $2, with the packages that
# follow.
unpack_chroot() {
    local suite=$1 directory=$2 tarball mirror settings lock output
    shift 2

    # pid_1() needs umount.
    set -- mount "$@"
    mirror=$(debian_mirror)
    settings=$(apt_settings)
    tarball=$CHROOTS/$suite-$(printf '%s\n' "$mirror" "$settings" "$@" | sha256sum | cut -c 1-12).tar
    mkdir -p "$CHROOTS"
    # Another program may want the same one now: the second waits, and finds it made.
    exec {lock}>"$tarball.lock"
    flock "$lock"
    if [ ! -s "$tarball" ]; then
        say "Making a root of $suite"
        # No service starts when its package is installed there.
        output=$(mmdebstrap --mode=root --variant=apt --format=tar \
            --aptopt="$settings" --dpkgopt=force-unsafe-io --include="$(IFS=, && echo "$*")" \
            --customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"' \
            --customize-hook='chmod 755 "$1/usr/sbin/policy-rc.d"' \
            "$suite" "$tarball.new" ${mirror:+"$mirror"} 2>&1) ||
            fail "no root of $suite could be made:"$'\n'"$output"
        mv "$tarball.new" "$tarball"
    fi
    touch "$tarball"
    find "$CHROOTS" -type f -mtime +30 -delete
    exec {lock}>&-
    mkdir -p "$directory"
    # With its xattrs, as there are file capabilities among them.
    tar -C "$directory" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' \
        -xpf "$tarball"
}

# What a root has in which containers run, and the tests.
TO_RUN_IN_A_ROOT=(
    lxc busybox-static iproute2 rsync uidmap passwd util-linux python3-venv pkg-config
    binutils gcc libc6-dev
)
TO_BUILD_IN_A_ROOT=(lxc-dev python3-dev)

# Put a fresh root of the Debian suite $1 for the tests into the directory $2.  All who
# test have the same one: each list of packages would be a tarball.
unpack_to_test() {
    local packages=("${TO_RUN_IN_A_ROOT[@]}")

    case $1 in
    bullseye | bookworm) packages+=("${TO_BUILD_IN_A_ROOT[@]}") ;;
    # criu, which runs iptables: the others have none, or one that newer kernels break.
    sid) packages+=(lxc-dev python3.15-venv criu iptables) ;;
    esac
    unpack_chroot "$1" "$2" "${packages[@]}"
}

# Put the liblxc and lxc of the suite $1 into the root $2.
take_liblxc_from() {
    local mirror

    mirror=$(debian_mirror)
    printf 'deb %s %s main\n' "${mirror:-http://deb.debian.org/debian}" "$1" \
        >"$2/etc/apt/sources.list.d/$1.list"
    in_network "$2" sh -ec '
        apt-get -qq update
        # Not a downgrade: files that moved to another package meanwhile would go with it.
        apt-get -qq purge -y lxc liblxc1 >/dev/null
        apt-get -qq install -y --no-install-recommends "liblxc1/$1" "lxc/$1" >/dev/null
        ' sh "$1" </dev/null 2>&1
}

# Print C source for a library with the names of the library $1, which is what a linker
# reads of one: it need not be one that this machine, or its linker, could use.
names_of() {
    nm -D --defined-only "$1" |
        awk '{ print ($2 == "T" ? "void " $3 "(void) {}" : "int " $3 ";") }'
}

# Remove a root, and what a run in it that was killed has left in the cgroups.
remove_chroot() {
    remove_own_cgroups "$1"
    rm -rf --one-file-system "$1"
}

# --- Running something in it ----------------------------------------------------------

# Run a command in the root $1 with this machine's network; apt and pip work there.
in_network() {
    local root=$1 path reads=()
    shift

    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    # What pip reads here, and the directories and certificates that it is told of.
    for path in /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf \
        "${PIP_CONFIG_FILE-}" $(paths_that_pip_reads); do
        if [ -d "$path" ]; then
            # The pages of an index refer to files beside it.
            path=${path%/simple}
            reads+=("$path:$path")
        elif [ -f "$path" ]; then
            mkdir -p "$root/${path%/*}"
            cp -L "$path" "$root/$path"
        fi
    done
    CHROOT_BINDS="${CHROOT_BINDS-} ${reads[*]}" with_pid_1 network "$root" "$@"
}

paths_that_pip_reads() {
    {
        env | grep -E '^(PIP_[A-Z_]+|[A-Z_]*(CERT|CERT_FILE|CA_BUNDLE))='
        cat /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf
    } 2>/dev/null | grep -oE '(=|= *| |file://)/[^ ]+' | sed 's,^[^/]*\(//\)\?,,' | sort -u
}

# Run a command in the root $1, on cgroups $2, where it can run containers: the only
# network is the bridge lxcbr0, with DHCP.
#
# v2       only cgroup2 is mounted
# hybrid   the controllers that this machine has in cgroup v1, and cgroup2 without any
in_chroot() {
    local root=$1 cgroups=$2 own status=0
    shift 2

    [ "$cgroups" != hybrid ] || has_cgroup_v1 ||
        fail "this machine has no controllers in cgroup v1: boot it with systemd.unified_cgroup_hierarchy=0."
    own=$(own_cgroup "$root")
    make_own_cgroups "$own"
    # The root of a cgroup namespace is where the process was that made it.  From there
    # on to init.scope, where systemd has its pid 1, as in cgroup2 a cgroup that has
    # processes gives its children no controllers.
    (
        enter_cgroups "$own"
        exec unshare --cgroup bash -c "$(declare -f unified_mount with_pid_1 pid_1 make_dev \
            mount_cgroups make_bridge bind_directories)"'
            mkdir -p "$(unified_mount)/$1/init.scope"
            echo 0 >"$(unified_mount)/$1/init.scope/cgroup.procs"
            for controller in $(cat "$(unified_mount)/$1/cgroup.controllers"); do
                echo "+$controller" >"$(unified_mount)/$1/cgroup.subtree_control"
            done
            with_pid_1 "${@:2}"' bash "$own" "$cgroups" "$root" "$@"
    ) || status=$?
    remove_own_cgroups "$root"
    return "$status"
}

# Run a command in the root $2 in a mount and a pid namespace, and for "v2" and "hybrid"
# in the other namespaces of a host of its own.
with_pid_1() {
    local kind=$1 namespaces=(--mount --pid --fork --kill-child --propagation private)

    [ "$kind" = network ] || namespaces+=(--net --uts --ipc)
    unshare "${namespaces[@]}" bash -c "$(declare -f pid_1 make_dev mount_cgroups \
        make_bridge bind_directories)"'
        pid_1 "$@"' bash "$@"
}

# The first process in there.  It stays, to reap what loses its parent, as containers'
# monitors do.
pid_1() {
    set -euo pipefail
    local kind=$1 root
    root=$(realpath "$2")
    shift 2

    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mkdir -p "$root/run/lock"
    make_dev "$root/dev"
    if [ "$kind" != network ]; then
        mount_cgroups "$kind" "$root/sys/fs/cgroup"
        make_bridge "$root/run"
    fi
    bind_directories "$root"

    mkdir -p "$root/.outside"
    cd "$root"
    pivot_root . .outside
    cd /
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=/root LC_ALL=C.UTF-8
    unset TMPDIR
    hash -r
    umount -l /.outside
    rmdir /.outside
    set +e
    "$@"
    exit
}

make_dev() {
    local name

    mount -t tmpfs -o mode=755 tmpfs "$1"
    mkdir "$1/pts" "$1/shm" "$1/mqueue" "$1/net"
    for name in null zero full random urandom tty fuse net/tun; do
        [ ! -e "/dev/$name" ] || cp -a "/dev/$name" "$1/$name"
    done
    mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$1/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$1/shm"
    mount -t mqueue mqueue "$1/mqueue"
    ln -s pts/ptmx "$1/ptmx"
    ln -s /proc/self/fd "$1/fd"
    ln -s fd/0 "$1/stdin"
    ln -s fd/1 "$1/stdout"
    ln -s fd/2 "$1/stderr"
}

bind_directories() {
    local bind

    for bind in ${CHROOT_BINDS-}; do
        mkdir -p "$1/${bind#*:}"
        mount --bind "${bind%%:*}" "$1/${bind#*:}"
    done
}

mount_cgroups() {
    local controllers

    if [ "$1" = v2 ]; then
        mount -t cgroup2 cgroup2 "$2"
        return
    fi
    mount -t tmpfs -o mode=755 tmpfs "$2"
    while IFS=: read -r _ controllers _; do
        case $controllers in
        "") mkdir "$2/unified" && mount -t cgroup2 cgroup2 "$2/unified" ;;
        name=*) mkdir "$2/${controllers#name=}" &&
            mount -t cgroup -o "none,$controllers" cgroup "$2/${controllers#name=}" ;;
        *) mkdir "$2/$controllers" &&
            mount -t cgroup -o "$controllers" cgroup "$2/$controllers" ;;
        esac
    done </proc/self/cgroup
}

make_bridge() {
    ip link set lo up
    ip link add lxcbr0 type bridge
    ip address add 10.0.3.1/24 dev lxcbr0
    ip link set lxcbr0 up
    dnsmasq --conf-file=/dev/null --port=0 --user=root --pid-file= --bind-interfaces \
        --interface=lxcbr0 --except-interface=lo --dhcp-authoritative --no-ping \
        --dhcp-range=10.0.3.2,10.0.3.254 --dhcp-leasefile="$1/dnsmasq.leases"
}

# --- The cgroups of a root ------------------------------------------------------------

# Whether this machine has controllers in cgroup v1.
has_cgroup_v1() {
    grep -qE '^[0-9]+:[a-z_,]+:' /proc/self/cgroup
}

# Print where cgroup2 is mounted.
unified_mount() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo /sys/fs/cgroup
    else
        echo /sys/fs/cgroup/unified
    fi
}

# Print the directories of all hierarchies.
hierarchies() {
    local controllers

    while IFS=: read -r _ controllers _; do
        if [ -n "$controllers" ]; then
            echo "/sys/fs/cgroup/${controllers#name=}"
        else
            unified_mount
        fi
    done </proc/self/cgroup
}

# Print the name of the cgroup that everything in the root $1 runs in.
own_cgroup() {
    printf 'python3-lxc.%s\n' "$(realpath "$1" | tr / _)"
}

make_own_cgroups() {
    local hierarchy controller

    for controller in $(cat "$(unified_mount)/cgroup.controllers"); do
        echo "+$controller" >"$(unified_mount)/cgroup.subtree_control"
    done
    for hierarchy in $(hierarchies); do
        mkdir -p "$hierarchy/$1"
        if [ -f "$hierarchy/cpuset.cpus" ]; then
            cat "$hierarchy/cpuset.cpus" >"$hierarchy/$1/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" >"$hierarchy/$1/cpuset.mems"
        fi
    done
}

enter_cgroups() {
    local hierarchy

    for hierarchy in $(hierarchies); do
        echo "$BASHPID" >"$hierarchy/$1/cgroup.procs"
    done
}

remove_own_cgroups() {
    local hierarchy own attempt

    own=$(own_cgroup "$1")
    for hierarchy in $(hierarchies); do
        # What was killed with pid 1 may take a moment to be gone.
        for attempt in {1..50}; do
            [ -d "$hierarchy/$own" ] || continue 2
            find "$hierarchy/$own" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        done
        say "$hierarchy/$own is still in use" >&2
    done
}

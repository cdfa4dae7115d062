#!/usr/bin/env bash
# Installs and caches what the tests need beyond cargo: two Docker engines, the gRPC tools, cargo-deny and Python's gRPC.
#
# Every step is skipped when its result is there, and a step this machine cannot do is left out with one loud line.
# With PULSETAIL_REQUIRE_ENGINE=1 nothing may be left out. `tests/run.sh` runs this first.
set -euo pipefail

# The old engine is whatever Debian 12 ships (docker.io 20.10); everything else is pinned here.
MOBY=v2.0.0-beta.24
CONTAINERD=v2.4.2
RUNC=v1.5.2
GRPCURL=v1.9.4
GRPC_HEALTH_PROBE=v0.4.61
BUF=v1.75.0
CARGO_DENY=0.20.2
PYTHON_PACKAGES="grpcio==1.85.1 grpcio-tools==1.85.1 grpcio-health-checking==1.85.1 protobuf==7.36.2"

CACHE="${PULSETAIL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pulsetail}"
OLD_PACKAGES="docker.io containerd runc iproute2"
OLD_BINARIES="/usr/sbin/dockerd /usr/bin/containerd /usr/sbin/runc /usr/bin/docker /bin/ss"
POLICY=/usr/sbin/policy-rc.d

# A step is two functions: have_NAME tells whether its result is there, get_NAME makes it.
step() {
    local name=$1 start=$SECONDS
    if "have_$name"; then
        echo "setup: $name is there"
        return
    fi
    echo "setup: $name ..."
    "get_$name"
    "have_$name" || left_out "$name: installed, yet not found"
    echo "setup: $name took $((SECONDS - start)) s"
}

left_out() {
    echo "setup: LEFT OUT: $1" >&2
    [ "${PULSETAIL_REQUIRE_ENGINE:-}" != 1 ]
}

fail_with_log() {
    tail -n 30 "$CACHE/log" >&2
    exit 1
}

# Remembers which version of NAME stands in the cache, so that a new pin above is a new build.
is_stamped() { [ "$(cat "$CACHE/stamps/$1" 2>/dev/null)" = "$2" ]; }
stamp() { mkdir -p "$CACHE/stamps" && echo "$2" >"$CACHE/stamps/$1"; }

have_old_engine() {
    local binary
    for binary in $OLD_BINARIES; do
        [ -x "$binary" ] || return 1
    done
    [[ $(/usr/sbin/dockerd --version) == *"version 20.10."* ]]
}

get_old_engine() {
    # The packages would start a system-wide daemon; the tests start their own.
    if [ ! -e "$POLICY" ]; then
        trap 'rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$POLICY"
        chmod +x "$POLICY"
    fi
    apt_update
    # --no-remove: never trade the user's own Docker packages for these.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove $OLD_PACKAGES \
        </dev/null >"$CACHE/log" 2>&1 || fail_with_log
}

apt_update() {
    [ -z "${apt_is_updated:-}" ] || return 0
    apt-get update -qq
    apt_is_updated=yes
}

have_image() { [ -s "$CACHE/busybox.tar" ]; }

# A root file system of nothing but static busybox. Not installed: the package is at odds with plain busybox.
get_image() {
    local build="$CACHE/build/image"
    rm -rf "$build"
    mkdir -p "$build/root/bin"
    [ "$(id -u)" != 0 ] || apt_update
    (
        cd "$build"
        apt-get download -qq busybox-static 2>/dev/null
        dpkg -x busybox-static_*.deb package
        cp package/bin/busybox root/bin/
        root/bin/busybox --list | grep -vx busybox | while read -r name; do ln -s busybox "root/bin/$name"; done
        tar -C root -cf "$CACHE/busybox.tar.new" .
        mv "$CACHE/busybox.tar.new" "$CACHE/busybox.tar"
    )
    rm -rf "$build"
}

# go_command NAME MODULE VERSION PACKAGE CGO: one command built in a module of its own, since
# `go install PACKAGE@VERSION` refuses modules with `replace` lines.
go_command() {
    local name=$1 module=$2 version=$3 package=$4 cgo=$5 build="$CACHE/build/$1" bin="$CACHE/engine-new/bin"
    mkdir -p "$build" "$bin"
    (
        cd "$build"
        rm -f go.mod go.sum
        export CGO_ENABLED=$cgo GOFLAGS="-mod=mod -trimpath -buildvcs=false"
        go mod init "build/$name" && go get "$module@$version" && go build -ldflags "-s -w" -o "$bin/$name" "$package"
    ) >"$CACHE/log" 2>&1 || fail_with_log
}

have_new_engine() {
    local name
    for name in dockerd containerd containerd-shim-runc-v2 runc; do
        [ -x "$CACHE/engine-new/bin/$name" ] || return 1
    done
    is_stamped new_engine "$MOBY $CONTAINERD $RUNC"
}

get_new_engine() {
    local moby=github.com/moby/moby/v2 containerd=github.com/containerd/containerd/v2 runc=github.com/opencontainers/runc
    go_command dockerd $moby $MOBY $moby/cmd/dockerd 0
    go_command containerd $containerd $CONTAINERD $containerd/cmd/containerd 0
    go_command containerd-shim-runc-v2 $containerd $CONTAINERD $containerd/cmd/containerd-shim-runc-v2 0
    go_command runc $runc $RUNC $runc 1
    stamp new_engine "$MOBY $CONTAINERD $RUNC"
}

have_go_tools() {
    local name
    for name in grpcurl grpc-health-probe buf; do
        [ -x "$CACHE/bin/$name" ] || return 1
    done
    is_stamped go_tools "$GRPCURL $GRPC_HEALTH_PROBE $BUF"
}

get_go_tools() {
    local package
    for package in github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL \
        github.com/grpc-ecosystem/grpc-health-probe@$GRPC_HEALTH_PROBE \
        github.com/bufbuild/buf/cmd/buf@$BUF; do
        GOBIN="$CACHE/bin" GOFLAGS=-trimpath CGO_ENABLED=0 go install -ldflags "-s -w" "$package" \
            >"$CACHE/log" 2>&1 || fail_with_log
    done
    stamp go_tools "$GRPCURL $GRPC_HEALTH_PROBE $BUF"
}

have_cargo_deny() { [ -x "$CACHE/bin/cargo-deny" ] && is_stamped cargo_deny "$CARGO_DENY"; }

get_cargo_deny() {
    # A tool that runs for a second needs no optimised build, which would take several times as long.
    CARGO_TARGET_DIR="$CACHE/build/cargo-deny" CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --force \
        --root "$CACHE" cargo-deny --version "$CARGO_DENY"
    rm -rf "$CACHE/build/cargo-deny"
    stamp cargo_deny "$CARGO_DENY"
}

have_python() { is_stamped python "$PYTHON_PACKAGES" && "$CACHE/python/bin/python" -c 'import grpc' 2>/dev/null; }

get_python() {
    rm -rf "$CACHE/python"
    python3 -m venv "$CACHE/python"
    # shellcheck disable=SC2086
    "$CACHE/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: $PYTHON_PACKAGES
    stamp python "$PYTHON_PACKAGES"
}

mkdir -p "$CACHE/bin"
# Two runs at once would build into the same folders.
exec 9>"$CACHE/setup.lock"
flock 9

if have_old_engine || { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }; then
    step old_engine
else
    left_out "old engine: as root on Debian 12, apt-get install $OLD_PACKAGES"
fi
if have_image || command -v apt-get >/dev/null; then
    step image
else
    left_out "the engines' image: it is made of Debian's busybox-static"
fi
if command -v go >/dev/null && command -v gcc >/dev/null; then
    step new_engine
    step go_tools
else
    left_out "new engine, grpcurl, grpc-health-probe, buf: install Go 1.26 and gcc"
fi
step cargo_deny
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    step python
else
    left_out "Python client: install Python 3.11 with venv"
fi
echo "setup: everything stands in $CACHE"

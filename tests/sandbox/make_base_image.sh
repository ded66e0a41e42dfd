#!/bin/sh
# Makes the image that the Docker tests run in, from nothing but Debian's mirror and this project's virtual
# environment: no image registry is asked. For a throw-away Debian machine, as root; safe to run again.
#
#   beamcrew-base:test      bookworm with Python 3.11, by debootstrap
#   beamcrew-sandbox:test   the same with the packages of the environment that `PYTHON` belongs to
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null; then
    say "installing docker.io and debootstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io debootstrap >/dev/null
fi

# An engine that answers is taken as it is. Otherwise start one, the plain way first, then the way that needs
# neither overlayfs nor netfilter from the kernel: the sandbox has no network anyway.
engine_answers() { docker version >/dev/null 2>&1; }
start_engine() {
    dockerd "$@" >>"${TMPDIR:-/tmp}/beamcrew-dockerd.log" 2>&1 &
    pid=$!
    for _ in $(seq 60); do
        engine_answers && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.5
    done
    kill "$pid"
    wait "$pid" || true
    return 1
}
if ! engine_answers; then
    say "starting dockerd"
    start_engine || start_engine --iptables=false --ip6tables=false --bridge=none ||
        start_engine --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs ||
        { say "no Docker engine starts here; see beamcrew-dockerd.log"; exit 1; }
fi
say "engine: $(docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}')"

if ! docker image inspect beamcrew-base:test >/dev/null 2>&1; then
    say "beamcrew-base:test"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    debootstrap --variant=minbase --include=python3,python3-venv bookworm "$work/base" "$mirror" >"$work/debootstrap.log" ||
        { tail -n 20 "$work/debootstrap.log"; exit 1; }
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/*
    tar -C "$work/base" -c . | docker import - beamcrew-base:test >/dev/null
fi

if ! docker image inspect beamcrew-sandbox:test >/dev/null 2>&1; then
    say "beamcrew-sandbox:test"
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cat >"$work/Dockerfile" <<'END'
FROM beamcrew-base:test
RUN ln -s python3 /usr/bin/python
COPY site /usr/local/lib/python3.11/dist-packages
END
    # Not beamcrew itself: inside, `tools` is a mount and `tasks` must not exist.
    tar -C "$packages" --exclude='./agents' --exclude='./sandbox' --exclude='./tasks' --exclude='./tools' \
        --exclude='./*beamcrew*' --exclude='./pythia8*' --exclude='./mypy*' --exclude='./pip*' --exclude='./openai*' --exclude='./lang*' \
        --transform='s,^\.,site,' -c . -C "$work" Dockerfile | docker build -q -t beamcrew-sandbox:test - >/dev/null
fi
say "ready: beamcrew-sandbox:test $(docker image inspect --format '{{.Id}}' beamcrew-sandbox:test)"

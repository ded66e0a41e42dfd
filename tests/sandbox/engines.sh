#!/bin/sh
# Runs the conformance suite in rootless Podman and, where it is installed, in Apptainer, as a plain user that it makes.
# For a throw-away Debian machine, as root, after make_base_image.sh. Arguments are for pytest; default: a selection that
# takes three minutes. The image is Debian with Python and numpy, so checks of other file formats are not for it.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
user=beamcrew-test
say() { printf '%s %s\n' "$(date +%T)" "$*"; }
as_user() { runuser -u "$user" -- env -u XDG_RUNTIME_DIR HOME="/home/$user" "$@"; }

if ! command -v podman >/dev/null; then
    say "installing podman"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman crun uidmap >/dev/null
fi
id "$user" >/dev/null 2>&1 || useradd --create-home "$user"
config="/home/$user/.config/containers"
as_user mkdir -p "$config"
printf '[storage]\ndriver = "overlay"\n' >"$config/storage.conf"
# crun refuses a host with both versions of control groups, runc does not.
[ ! -d /sys/fs/cgroup/unified ] || printf '[engine]\nruntime = "runc"\n' >"$config/containers.conf"

packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
work=$(mktemp -d)
printf 'FROM beamcrew-base:test\nRUN ln -s python3 /usr/bin/python\nCOPY site /usr/local/lib/python3.11/dist-packages\n' \
    >"$work/Dockerfile"
(cd "$packages" && tar --transform='s,^numpy,site/numpy,' -c numpy numpy.libs -C "$work" Dockerfile) |
    docker build -q -t beamcrew-plain:test - >/dev/null
container=$(docker create beamcrew-plain:test true)
trap 'docker rm "$container" >/dev/null; rm -rf "$work"' EXIT
as_user podman image exists beamcrew-sandbox:test ||
    docker export "$container" | (cd / && as_user podman import --quiet - beamcrew-sandbox:test)
say "Podman $(cd / && as_user podman version --format '{{.Client.Version}}')"
if command -v apptainer >/dev/null; then
    sif="/home/$user/beamcrew-sandbox.sif"
    chmod 666 /dev/fuse
    if [ ! -e "$sif" ]; then
        as_user mkdir -p "/home/$user/image"
        docker export "$container" | as_user tar -C "/home/$user/image" -x --exclude=dev
        (cd / && as_user apptainer --quiet build "$sif" "/home/$user/image")
    fi
    say "$(apptainer --version)"
else
    say "there is no apptainer: its tests are skipped"
fi

# The interpreter of the environment may lie where only root can go; the system's is taken, with the same packages.
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cd "$root"
some="files or keys or processes or network or privileges or kernel or one_process or fork_bomb or operator_killed"
less="many_files or empty_files or faithful or steps or formats or system_files_stay or tools_stay"
[ $# -gt 0 ] || set -- tests/sandbox/test_conformance.py -k "test_driver and ($some) and not ($less)"
as_user env PYTHONPATH="$root:$packages" PYTHONDONTWRITEBYTECODE=1 BEAMCREW_TEST_SIF="${sif:-}" \
    "python$version" -m pytest -p no:cacheprovider -m engines "$@"

"""The sandbox of Apptainer: no root, no daemon, one image file, as clusters have it.

The container is a child of the operator's process, in a user namespace of its own and with namespaces for processes,
network, IPC and host name; its root is the read-only image, without capabilities or new privileges. Its first process
is that of every container (`sandbox.contained`), which adds our call filter. All folders in memory are one disk of
`Limits.tmp_mib`. A control group limits memory and processes where this host lets the operator make one
(`sandbox.cgroup`); elsewhere the host checks them (`sandbox.guard`).

Root is refused: it has no need for Apptainer, which would give root's container no user namespace and no size of /tmp.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shutil import which

from sandbox import cgroup, inside, mounts, userns, watch
from sandbox.channel import Channel
from sandbox.contained import GRACE, Contained
from sandbox.container import SEARCH
from sandbox.docker import IMAGE
from sandbox.driver import INPUTS, TEMPORARY, TOOLS_ROOT, WORKSPACE, Gpu, Limits, SandboxInfo, SandboxLost

PATIENCE = 60.0  # seconds until the first process runs: an image on a network disk is slow at first
FUSE = "There is no access to /dev/fuse, which an image file needs: unpack it (apptainer build --sandbox FOLDER). "
INSTALL = "install Apptainer (package apptainer), without set-uid parts"
# Only what a sandbox needs of the host; an operator may choose this in an installation without set-uid parts.
SETTINGS = """
allow setuid = no
allow pid ns = yes
allow user ns = yes
allow ipc ns = yes
allow uts ns = yes
config passwd = no
config group = no
config resolv_conf = no
mount proc = yes
mount sys = no
mount dev = minimal
mount devpts = no
mount home = no
mount tmp = yes
mount hostfs = no
mount slave = yes
user bind control = yes
enable fusemount = yes
enable overlay = yes
enable underlay = yes
sessiondir max size = {tmp_mib}
allow container sif = yes
allow container encrypted = no
allow container squashfs = yes
allow container extfs = no
allow container dir = yes
always use nv = no
use nvidia-container-cli = no
memory fs type = tmpfs
systemd cgroups = no
"""


def image_file(image: str) -> Path:
    """Return the file or folder of an image: a path as it is, a tag below the operator's data folder."""
    if image.endswith(".sif") or "/" in image:
        return Path(image).expanduser()
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home, "beamcrew", image.replace(":", "_") + ".sif").expanduser()


class Apptainer(Contained):
    """A `Sandbox` in a container of Apptainer. `image`: FILE.sif or a tag, with @sha256:... if exact; or a folder."""

    name = "apptainer"

    def __init__(
        self,
        inputs: Path,
        workspace: Path,
        tools: Path,
        limits: Limits,
        image: str = IMAGE,
        reason: str = "",
        gpu: Gpu = "auto",
    ) -> None:
        super().__init__(workspace, limits)
        if not os.geteuid():
            raise SandboxLost("Apptainer is for plain users: as root choose docker, podman or bubblewrap")
        program = which("apptainer") or which("singularity")
        if not program:
            raise SandboxLost(f"there is no apptainer command: {INSTALL}")
        file, exact = found(image)
        inside.own(self._workspace, os.geteuid(), os.getegid())
        handed_in = None if gpu == "none" else watch.gpu_model()
        if gpu == "insist" and not handed_in:
            raise SandboxLost("--gpu insist: this host has no NVIDIA GPU")
        self.info = SandboxInfo(
            driver=self.name,
            version=version(program),
            image=exact,
            reason=reason or "apptainer was asked for",
            limits=limits,
            gpu=handed_in,
        )
        words = [program, "--quiet", *self._configured(program), "exec", *isolation(handed_in is not None)]
        words += bound(inputs, self._workspace, tools)
        variables = {"PATH": SEARCH, **inside.environment(limits, handed_in is not None)}
        # Apptainer adds variables that describe the host; `env -i` leaves none of them.
        words += [str(file), "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        self._begin([*words, "python3", *inside.warm_process()], gpu, image)

    def _configured(self, program: str) -> list[str]:
        """Write the settings where the operator may choose them; a set-uid installation takes only its site's."""
        self._own = self._workspace.parent / ".apptainer"
        self._own.mkdir(exist_ok=True)
        if set_uid(program):
            return []
        (self._own / "apptainer.conf").write_text(SETTINGS.format(tmp_mib=self._limits.tmp_mib))
        return ["--config", str(self._own / "apptainer.conf")]

    def _begin(self, words: list[str], gpu: Gpu, image: str) -> None:
        mark = f"beamcrew-{uuid.uuid4().hex[:12]}"  # the last word of the first process
        self._group = cgroup.make(self._limits)  # only now: whoever is refused before leaves none behind
        try:
            self._process = subprocess.Popen(
                [*(self._group.words(words) if self._group else words), mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self._own), "TMPDIR": str(self._own)},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            if self._group:
                self._group.close()
            raise SandboxLost(f"{words[0]} does not start: {error}") from error
        held = self._group.holds if self._group else ()
        channel, first = Channel(Pipes(self._process)), first_of(self._process, mark)
        try:
            self._take_over(channel, first, held, gpu, f"the image {image}")
        except SandboxLost as error:
            if first:
                raise
            fuse = "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else FUSE
            raise SandboxLost(f"{error}. {fuse}{userns.advice(words[0], 'or use Docker')}") from error

    def _oom_kills(self) -> int:
        return self._group.oom_kills() if self._group else 0

    def _remove(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # the first process ends with its input
            self._process.wait(GRACE)
        for one in [*watch.tree(self._process.pid), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self._process.wait()
        if self._group:
            self._group.close()


class Pipes:
    """The line to a first process that is a descendant of this one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._input, self._outputs = process.stdin, {1: process.stdout, 2: process.stderr}

    def send(self, data: bytes) -> None:
        self._input.write(data)
        self._input.flush()

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        with selectors.DefaultSelector() as selector:
            for number, stream in self._outputs.items():
                selector.register(stream, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select():
                    if data := os.read(key.fd, 1 << 16):
                        yield key.data, data
                    else:
                        selector.unregister(key.fileobj)
        for stream in self._outputs.values():
            stream.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what was not taken is lost
            self._input.close()


def first_of(process: subprocess.Popen[bytes], mark: str) -> int:
    """Wait for the first process of the container, and return its number on the host; 0 if the container failed."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        for one in watch.tree(process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")
                if words[0] == b"python3" and mark.encode() in words:
                    return one
        time.sleep(0.01)
    return 0


def isolation(gpu: bool) -> list[str]:
    """Return the options of `apptainer exec` that separate a container from the host."""
    return [
        *("--containall", "--userns", "--pid", "--ipc", "--uts", "--net", "--network", "none", "--hostname", "sandbox"),
        *("--no-init", "--no-eval", "--cleanenv", "--no-home", "--no-umask", "--no-mount", "sys,devpts,bind-paths"),
        *("--no-privs", "--drop-caps", "all", "--pwd", "/"),
        *("--scratch", "/dev/shm", "--scratch", TEMPORARY),
        *(["--nv"] if gpu else []),
    ]


def bound(inputs: Path, workspace: Path, tools: Path) -> list[str]:
    """Return the mounts: inputs and tools read-only, the workspace, no kernel files that describe the machine, and the
    kernel's settings read-only."""
    masked = [Path("/proc", name) for name in mounts.MASKED if Path("/proc", name).is_file()]
    words = []
    for path, target, mode in (
        *((inputs, INPUTS, ["ro"]), (tools, f"{TOOLS_ROOT}/tools", ["ro"]), (workspace, WORKSPACE, [])),
        *((Path("/dev/null"), str(file), ["ro"]) for file in masked),
        (Path("/proc/sys"), "/proc/sys", ["ro"]),
    ):
        line = io.StringIO()
        fields = ["type=bind", f"source={path.resolve()}", f"destination={target}", *mode]
        csv.writer(line, lineterminator="").writerow(fields)
        words += ["--mount", line.getvalue()]
    return words


def found(image: str) -> tuple[Path, str]:
    """Return the file of an image and its exact name, FILE@sha256:...; raises SandboxLost if it is not this one."""
    name, exact, digest_wanted = image.partition("@sha256:")  # the path itself may contain an @
    file = image_file(name)
    if not file.exists():
        raise SandboxLost(
            f"there is no image {file}: `beamcrew doctor --build --sandbox apptainer` makes it where Docker or Podman "
            "is; copy it to the cluster, and name it (--image FILE.sif)"
        )
    file = file.resolve()
    if file.is_dir():
        return file, str(file)
    digest = sha256(file, file.stat().st_mtime_ns)
    if exact and digest != f"sha256:{digest_wanted}":
        raise SandboxLost(f"{file} is {digest}, not sha256:{digest_wanted}")
    return file, f"{file}@{digest}"


@cache
def sha256(file: Path, changed: int) -> str:
    """Return the digest of a file; `changed`: when, for a file may be replaced."""
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


@cache
def version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout
    return said.split()[-1] if said.split() else "unknown"


@cache
def set_uid(program: str) -> bool:
    said = subprocess.run([program, "buildcfg"], capture_output=True, text=True, timeout=60).stdout
    return "APPTAINER_SUID_INSTALL=1" in said

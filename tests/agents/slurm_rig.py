"""A real Slurm of one machine, with all its files in one folder: munged, slurmctld, slurmd. As root, like CI."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
SETTINGS = """
ClusterName=beamcrew
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SchedulerType=sched/builtin
ReturnToService=2
MailProg=/bin/true
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def daemons(commands: Sequence[list[str]], environment: dict[str, str]) -> Iterator[None]:
    """Run programs while the block lasts; the first one that is started ends last."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            started.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
            )
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which Slurm's commands find a cluster of this machine, with one idle node."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
        pytest.skip(f"no {', '.join(missing)}: install slurmctld, slurmd, slurm-client and munge")
    if os.geteuid():
        pytest.skip("Slurm's daemons start jobs of other users: only for root")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    facts = {"folder": folder, "host": host, "user": "root", "cpus": len(os.sched_getaffinity(0))}
    (folder / "slurm.conf").write_text(SETTINGS.format(**facts, ctld=free_port(), slurmd=free_port()))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    with (
        daemons([["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files]], environment),
        daemons([["slurmctld", "-D"], ["slurmd", "-D", "-N", host]], environment),
    ):
        deadline = time.monotonic() + 40
        while "idle" not in (said := seen(environment, "sinfo", "-h", "-o", "%T")):
            assert time.monotonic() < deadline, f"{said}\n{(folder / 'slurmctld.log').read_text()[-2000:]}"
            time.sleep(0.2)
        yield environment


def seen(environment: dict[str, str], *words: str) -> str:
    """Return what a command of Slurm says."""
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30).stdout

"""Batch systems: the script of a job, how it is submitted, and how it asks for the next one.

A job takes nothing over from the environment in which it is submitted, and so no key; what it needs, `setup` lines say,
such as `export OPENAI_API_KEY=$(cat ~/.openai_key)`. A system is a function in SYSTEMS.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from agents.batch.job import CONTINUE, JOB, LOG, SCRIPT, Job
from tools.contract import Frozen
from tools.files import write_whole


class Wanted(Frozen):
    """What the operator asks of the batch system."""

    name: str
    cpus: int = Field(2, ge=1)
    memory_mib: int = Field(8192, ge=512)
    parallel: int = Field(1, ge=1, description="jobs at the same time, which share the runs of a study")
    options: list[str] = Field(default=[], description="lines for the batch system, as its manual writes them")
    setup: list[str] = Field(default=[], description="shell lines before the command")


def slurm(folder: Path, job: Job, wanted: Wanted) -> tuple[str, list[str]]:
    """Return the script for Slurm, and the command that submits it.

    The job is requeued, under its number, by itself (`scontrol requeue`) or by Slurm when a node fails.
    """
    minutes = int(job.seconds // 60)
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={shlex.quote(wanted.name)}",
        f"#SBATCH --time={minutes}",
        f"#SBATCH --cpus-per-task={wanted.cpus}",
        f"#SBATCH --mem={wanted.memory_mib}M",
        "#SBATCH --export=NONE --requeue --open-mode=append",
        f"#SBATCH --output={_escaped(folder, '%a-' if wanted.parallel > 1 else '')}",
        *([f"#SBATCH --array=1-{wanted.parallel}"] if wanted.parallel > 1 else []),
        *(f"#SBATCH {line}" for line in wanted.options),
        *_body(folder, wanted, "$((${SLURM_RESTART_COUNT:-0} + 1))"),
        f"if [ $code = {CONTINUE} ] && [ $BEAMCREW_JOB -lt {job.jobs} ]; then",
        '    scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"',
        "    sleep 60  # Slurm ends this job",
        "fi",
        "exit $code",
    ]
    return "\n".join(lines) + "\n", ["sbatch", "--parsable", SCRIPT]


def htcondor(folder: Path, job: Job, wanted: Wanted) -> tuple[str, list[str]]:
    """Return the submit description for HTCondor, whose script lies beside it, and the command that submits it.

    A job that ends with CONTINUE goes back into the queue. The folders are on a disk that all machines see.
    """
    log = f"{shlex.quote(str(folder))}/{'$2-' if wanted.parallel > 1 else ''}{LOG}"
    run = ["#!/bin/bash", f"exec >>{log} 2>&1", *_body(folder, wanted, "$((${1:-0} + 1))"), "exit $code"]
    script = folder / "run.sh"
    write_whole(script, ("\n".join(run) + "\n").encode())
    script.chmod(0o755)
    lines = [
        "universe = vanilla",
        f"executable = {script}",
        "arguments = $$([NumJobStarts]) $(Process)",
        f"log = {folder}/condor.log",
        f"batch_name = {wanted.name}",
        "should_transfer_files = NO",
        f"request_cpus = {wanted.cpus}",
        f"request_memory = {wanted.memory_mib}",
        f"max_retries = {job.jobs - 1}",
        f"retry_until = ExitCode =!= {CONTINUE}",
        f"+MaxRuntime = {int(job.seconds)}",
        *wanted.options,
        f"queue {wanted.parallel}",
    ]
    return "\n".join(lines) + "\n", ["condor_submit", "-terse", SCRIPT]


SYSTEMS: dict[str, Callable[[Path, Job, Wanted], tuple[str, list[str]]]] = {"slurm": slurm, "htcondor": htcondor}


def submit(system: str, folder: Path, job: Job, wanted: Wanted) -> str:
    """Write the job into a new folder, submit it, and return what the batch system says, its number.

    Raises ValueError for an unknown system, or if it refuses the job.
    """
    if system not in SYSTEMS:
        raise ValueError(f"--system {system}: choose one of {', '.join(SYSTEMS)}")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ValueError(f"--out {folder}: there is something already; choose another folder, or remove it") from None
    script, command = SYSTEMS[system](folder, job, wanted)
    job = job.model_copy(update={"submit": [*command[:-1], str(folder / SCRIPT)]})
    write_whole(folder / JOB, (job.model_dump_json(indent=1) + "\n").encode())
    write_whole(folder / SCRIPT, script.encode())
    if not shutil.which(command[0]):
        raise ValueError(f"there is no {command[0]} here: submit on a login node; the script is {folder / SCRIPT}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{command[0]} refuses {folder / SCRIPT}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def detect() -> str:
    """Return the batch system whose command is here. Raises ValueError if there is none."""
    for system, command in (("slurm", "sbatch"), ("htcondor", "condor_submit")):
        if shutil.which(command):
            return system
    raise ValueError("there is neither sbatch nor condor_submit here: submit on a login node")


def _body(folder: Path, wanted: Wanted, number: str) -> list[str]:
    """Return the lines that carry out the job, in the folder where it was submitted; `number`: which job it is."""
    return [
        f"export BEAMCREW_JOB={number}",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        *wanted.setup,
        f"{shlex.quote(sys.executable)} -m agents.batch.job {shlex.quote(str(folder))}",
        "code=$?",
    ]


def _escaped(folder: Path, task: str) -> str:
    """Return the path of the log as Slurm reads it in a file pattern, with quotes as in a shell if it needs any."""
    return shlex.quote(f"{str(folder).replace('%', '%%')}/{task}{LOG}")

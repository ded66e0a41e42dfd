"""One cell of a study with a tiny task and scripted backends, in place of `python -m agents.studies.cell`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent.parent))

import yaml
from pydantic import Field
from scripted import Scripted, TinyTask, two_rounds

from agents.backends.base import BackendLost, Usage
from agents.backends.select import choose_backend, is_loopback
from agents.studies import cell
from agents.studies.study import Study, parse_study
from tasks import catalogue
from tasks.lhco import truth
from tasks.lhco.study import SearchJudge
from tasks.study import Judge

COST = Usage(prompt_tokens=1000, completion_tokens=100, dollars=0.01)
# Until the test lets it go on, or long after it has been killed: how long a busy machine takes for that is not known.
WAIT = """
import os, time
open('begun', 'w').close()
began = time.monotonic()
while not os.path.exists('go') and time.monotonic() < began + 30:
    time.sleep(0.05)
"""


class StudyTask(TinyTask):
    """The tiny task with a truth, as the tasks of the LHC Olympics have it."""

    name: ClassVar[str] = "study-tiny"
    study: ClassVar[Judge | None] = SearchJudge()
    alpha: float = 1e-3
    n_signal: int = Field(0, ge=0)

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        facts = super().prepare(inputs, held_out, sealed_folder)
        true = truth.Truth(mass=3.5 if self.n_signal else None, n_signal=self.n_signal, window=(3.3, 3.7))
        (sealed_folder / truth.TRUTH).write_text(true.model_dump_json())
        return facts


def study(**changes: Any) -> Study:
    """Two backends (the second one has steps that take a while) on two data sets without signal, two repeats."""
    document = {
        "name": "tiny",
        "task": "study-tiny",
        "wordings": {"only": "Is there anything?"},
        "backends": [{"name": "quick", "kind": "analyst"}, {"name": "slow", "kind": "script"}],
        "datasets": [{"name": "none", "fresh": True}, {"name": "other", "fresh": True}],
        "repeats": 2,
        "primary": {"metric": "signal fraction"},
    }
    return parse_study(yaml.safe_dump(document | changes), "tests")


def backend(spec: str, log: Path | None) -> Any:
    """analyst: quick; script: slow; openai: a service that is down; random: a model that can write no plan."""
    if spec == "openai":
        down = BackendLost("the service is down")
        return Scripted({"planner/0": [down] * 9}, log, COST)
    if spec == "random":
        return Scripted(
            {"planner/0": ["no plan"] * 9, "planner/1": ["no plan"] * 9, "reporter": ["none"] * 9}, log, COST
        )
    return Scripted(two_rounds(WAIT if spec == "script" else ""), log, COST)


def install(log: Path | None) -> None:
    catalogue.catalogue()["study-tiny"] = StudyTask  # type: ignore[assignment]
    cell.choose_backend = lambda spec, **more: (  # type: ignore[assignment]
        choose_backend(spec, **more) if is_loopback(more["base_url"]) else backend(spec, log)
    )


def calls_log(folder: Path, name: str) -> Path:
    """A line for each call of a model, however the process ended."""
    return folder / f"{name.replace('/', '_')}.calls"


if __name__ == "__main__":
    install(calls_log(Path(sys.argv[1]), sys.argv[2]))
    sys.exit(cell.main())

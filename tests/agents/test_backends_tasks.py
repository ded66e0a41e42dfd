"""Every backend that needs no service carries out every task to its end: by results, and where nothing works.

Plans, calls, submissions, claims and reports are real, and so is the validation of every call by its tool. What takes
long is not: tools answer from a table, and graders give the score that they are told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.backends.built_in import FOLLOWS, BuiltIn
from agents.runs import sandboxes
from agents.runs.run import Settings, start
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo
from tasks.catalogue import OURS, find_task
from tasks.score import Metric, Score
from tasks.task import TaskBase, Verdict
from tools.catalogue import CATALOGUE

OPTIONS: dict[str, dict[str, Any]] = {
    "lhco-demo": {"events": 20_000},
    "showers": {"showers": 2000},
    "open": {"data": "a.csv"},
}
SEARCH = {
    "events": "/inputs/events.parquet",
    "mass": "column mjj",
    "unit": "TeV",
    "features": ["mj1", "mj2", "delta_mj", "tau21_j1"],
    "discovery_below_p_global": 1e-7,
}
WITH_SIDEBANDS = SEARCH | {"sidebands": True, "search_range": [2.7, 5.5]}
# Of tasks whose data do not come with the project: what their `prepare` would say.
FACTS: dict[str, dict[str, Any]] = {
    "lhco-rnd": WITH_SIDEBANDS,
    "lhco-blackbox": WITH_SIDEBANDS,
    "search": WITH_SIDEBANDS
    | {"variable": "m_tt", "fit_range": [2.4, 6.4], "half_width": 0.0571, "chosen_features": ["mj1"]},
    "lhco-jets": WITH_SIDEBANDS | {"jets": "/inputs/jets.h5"},
    "lhco-sr": SEARCH | {"sidebands": False, "window": [3.3, 3.7], "reference": "/inputs/reference.parquet"},
    "open": {
        **{"events": "/inputs/events.parquet", "resamples": "/inputs/resamples.json"},
        "columns": [{"name": "mass", "kind": "number"}, {"name": "charge", "kind": "text"}],
    },
}
CUT = {"efficiency": 0.01, "z": 2.1, "mass": 3.5, "mass_error": 0.02, "signal": 90.0, "signal_error": 11.0}
TEMPLATE, SCORES = {"closure_auc": 0.5, "closure_auc_error": 0.01}, {"argos": 0.2, "argos_error": 0.1}
WINDOW = {"window": [3.3, 3.7], "scores": "survey/3.3_3.7_scores.parquet", "warning": None} | CUT
RESULTS: dict[str, dict[str, Any]] = {
    "anomaly.survey": {"windows": [WINDOW], "best": 0, "p_global": 0.2, "failed": []},
    "anomaly.template": TEMPLATE,
    "anomaly.jet_template": TEMPLATE,
    "anomaly.classify": SCORES,
    "anomaly.jet_classify": SCORES,
    "bumphunt.scan": {"cuts": [CUT], "best": 0},
    "bumphunt.measure": {"cuts": [CUT], "best": 0},
    "decorrelation.decorrelate": {"cuts": [], "figure": "decorrelated.png", "n_learned": 10, "n_background": 10},
    "spectrum.hunt": {
        "resonances": [{"mass": 9.5, "mass_error": 0.1, "n_signal": 90.0, "n_signal_error": 11.0, "z": 8.0}],
        **{"unit": "GeV", "background": "power of degree 2", "fit_p": 0.4},
    },
    "analysis.repeat": {
        **{"answer": "answer.json", "folder": "answer", "rows": 10, "runs": 24, "failed": []},
        "numbers": {"mean_mass": {"value": 9.5, "error": 0.1}},
    },
    "unfolding.unfold": {
        "iterations": 4,
        "n_unfolded": 8000.0,
        "effective_sample_size": 6000.0,
        "reco_delta_before": {"mass": 5.1},
        "reco_delta": {"mass": 0.7},
        "reco_delta_floor": {"mass": 0.5},
    },
    "jet_model.finetune": {"labels_used": 50, "best_epoch": 3, "separation": {"auc": {"top": 0.9}}},
    "jet_model.score": {"rows": 10},
    "calorimeter.train": {"epochs": 1},
    "calorimeter.generate": {"showers": 10},
    "calorimeter.judge": {
        "ms_per_shower": {"1": 2.0},
        "distrusted": [],
        "regions": 4,
        "auc_memory": None,
        "auc_voxels": 0.6,
        "auc_observables": 0.7,
    },
}
FOUND = {
    **{"mass": 3.5, "mass_error": 0.02, "width": 0.03, "width_error": 0.01, "passing": 80.0, "passing_error": 12.0},
    **{"n_signal": 300.0, "n_signal_error": 50.0, "p_local": 0.01, "p_global": 0.5, "trials": 12, "upper_limit": 90.0},
    **{"limit_mass": 3.5, "window": [3.3, 3.7]},
}
NUMBER = {"value": 20.0, "error": 1.0}
STATE = {"mass": 9.5, "mass_error": 0.1, "n_signal": 90.0, "n_signal_error": 11.0, "width": 0.01, "width_error": 0.001}
DETAILS: dict[str, dict[str, Any]] = {
    "spectrum": {
        "numbers": {"mass_1": NUMBER, "events_1": NUMBER},
        **{"resonances": [STATE | {"z": 8.0, "p_global": 1e-9}], "unit": "GeV", "fit_p": 0.4, "left": None},
    },
    "open": {
        **{"numbers": {"mean_mass": NUMBER}, "rows": 10},
        "results": {"settings": {}, "numbers": [NUMBER | {"name": "mean_mass", "unit": "GeV", "what": "mean mass"}]},
    },
    "unfolding": {"numbers": {"events": NUMBER, "mean_mass": NUMBER}, "unseen_events": 900, "bootstraps": 10},
    "tagging": {"numbers": {f"rejection_{n}": NUMBER for n in (50, 200, 800)}, "validation_jets": 500},
    "showers": {
        "numbers": {"auc_voxels": NUMBER, "auc_observables": NUMBER},
        **{"distrusted": [], "regions": 4, "regions_distrusted": 0, "regions_untested": 1, "showers": 400},
    },
}


class StandIn:
    """A sandbox in which every tool validates its arguments and answers from the table, or refuses whatever it is."""

    info = SandboxInfo(driver="fake", version="1", reason="tests", limits=Limits())

    def __init__(self, workspace: Path, works: bool) -> None:
        self.workspace, self._works = workspace, works

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        said, code = "printed: 1.5", 0 if self._works else 1
        if "tools.call" in argv:
            name, file = argv[-2:]
            arguments = json.loads((self.workspace / Path(cwd).relative_to(WORKSPACE) / file).read_text())
            CATALOGUE[name].parse(arguments)
            refused = {"error": {"field": "events", "value": "0", "allowed": "more of them"}}
            said = json.dumps({"result": RESULTS[name]} if self._works else refused)
        return ExecResult(exit_code=code, stdout=said, stderr="", seconds=0.1, ended="exit")

    def close(self) -> None:
        pass


def stand_in(patch: pytest.MonkeyPatch, task: type[TaskBase], works: bool) -> None:
    """Put the table in place of tools and graders."""
    details = DETAILS.get(task.name, FOUND)
    left = iter((1.0, 3.0, 2.0, 2.0, 2.0))

    def grade(self: Any, submission: Any, inputs: Path, workspace: Path, n_graded: int) -> Score:
        assert isinstance(submission, task.submission)
        return Score(metric="m", value=next(left), error=0.1, reason="as told", details=details)

    def confirm(self: Any, submission: Any, chosen: Score, *where: Path) -> Score:
        return Score(metric="m", value=1.5, error=1.0, reason="as told", details=details)

    def seal(self: Any, checks: Any, submission: Any, *where: Any) -> Verdict:
        return Verdict(metrics=[Metric(name="truth", value=1.0)], checks=checks)

    for function in (grade, confirm, seal):
        patch.setattr(task, function.__name__, function)
    if task.name in FACTS:

        def prepare(self: Any, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
            for folder in (inputs, sealed_folder):
                folder.mkdir(parents=True)
            return FACTS[task.name]

        patch.setattr(task, "prepare", prepare)
    patch.setattr(sandboxes, "first", lambda place, *_: StandIn(place.workspace, works))
    patch.setattr(sandboxes, "fresh", lambda store, place, *_: StandIn(place.workspace, works))
    patch.setattr(sandboxes, "probe", lambda *_: None)


@pytest.mark.parametrize("works", [True, False], ids=["with results", "where nothing works"])
@pytest.mark.parametrize("name", list(OURS))
@pytest.mark.parametrize("backend", list(FOLLOWS))
def test_it_comes_to_its_end(
    backend: str, name: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task(name)
    stand_in(monkeypatch, task, works)
    settings = Settings(request="?", task=name, options=OPTIONS.get(name, {}) | {"max_iterations": 3})
    result = start(settings, BuiltIn(backend), tmp_path / "run")
    assert result.status in (("converged", "exhausted") if works else ("failed",)), result.reason
    assert [trouble.text for trouble in result.troubles if trouble.who == "programmer"] == []
    claim = task.claim.model_validate(result.claim)
    assert result.headline == claim.headline
    is_search = "discovery" in task.claim.model_fields
    assert ("resonance" in result.headline) == is_search
    assert bool(getattr(claim, "numbers", None)) == (works and not is_search)
    assert (tmp_path / "run" / "report.html").read_text().count(result.headline) >= 1

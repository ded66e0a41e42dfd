"""Nuisances of a simulation: variations of its event weights, and variations that move its events at detector level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tools.contract import ToolError
from tools.types import Floats
from tools.unfolding.inputs import Sample, check_spread, passes
from tools.unfolding.problem import Mask, Problem


@dataclass(frozen=True)
class Variation:
    """What a nuisance changes in the simulated events: weights (n,), values (n, d) at reco, which pass reco (n,)."""

    weight: Floats | None = None
    reco: Floats | None = None
    pass_reco: Mask | None = None

    def of(self, problem: Problem) -> Problem:
        """Return the problem under the variation."""
        changed = {name: value for name, value in vars(self).items() if value is not None}
        return replace(problem, **changed)


def read_variations(
    names: list[str], sample: Sample, problem: Problem, observables: list[str], path: str
) -> dict[str, Variation]:
    """Return the variation of each name: the weights in a column of that name, or moved events.

    A moved observable X is in a column reco_X_NAME, an unmoved one has none; pass_reco_NAME, if there, says which moved
    events pass. Raises ToolError naming `nuisances` for a name without columns, and for columns of wrong content.
    """
    found = {}
    for name in names:
        try:
            found[name] = _variation(name, sample, problem, observables, path)
            found[name].of(problem).check_fakes()
        except ToolError as error:
            if error.field == "nuisances":
                raise
            raise ToolError("nuisances", name, f"{error.field}: {error.allowed}") from None
    return found


def _variation(name: str, sample: Sample, problem: Problem, observables: list[str], path: str) -> Variation:
    columns = sample.columns
    moved = {k: f"reco_{x}_{name}" for k, x in enumerate(observables) if f"reco_{x}_{name}" in columns}
    if name in columns and not moved:
        check_spread(columns[name], name, "nuisances", path)
        varied = problem.reweighted(weight=columns[name])
        return Variation((varied if sample.weight is not None else varied.scaled()).weight)
    if not moved:
        allowed = f"a column of weights, or columns reco_X_{name} of moved events; {path} has {sorted(columns)}"
        raise ToolError("nuisances", name, allowed)
    reco = sample.values["reco"].copy()
    for k, moved_column in moved.items():
        reco[:, k] = columns[moved_column]
    flag_name = f"pass_reco_{name}"
    flag = columns[flag_name] if flag_name in columns else sample.passed["reco"].astype(np.float64)
    names = [moved.get(k, f"reco_{x}") for k, x in enumerate(observables)]
    passed = passes(reco, names, flag, flag_name if flag_name in columns else "pass_reco", "nuisances", path, [])
    return Variation(reco=np.asarray(reco), pass_reco=passed)

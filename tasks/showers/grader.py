"""Steering score of a fast simulation: how hard its showers are to tell from those of the reference.

    value = 2 (1 - AUC): 1 if generated and reference showers cannot be told apart, 0 if they always can

for the best of these classifiers: boosted trees on voxels, boosted trees on observables, or the distance to the nearest
training shower. The last catches a library that returns its training showers, which looks perfect to the others.
A classifier that is wrong more often than by chance has met copies: of a shower and its copy, one is in the training
and the other is taken for the same kind. Such a submission is refused.

Showers are requested at given incident energies. Part of these rows steer; the rest are sealed.

Resampled are these rows, the same for all submissions: reference and generated shower of a row together, as scored by
the classifiers, which are trained once. What trainings add to the spread is in the factor SHARED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import UnsafeFile, read_bytes, read_safetensors
from tasks.score import Score
from tasks.showers.samples import Samples
from tasks.showers.submission import ShowersSubmission
from tasks.submission import MAX_BYTES
from tools.calorimeter.classifier import SHARED, TwoSample, strongest, tell_apart
from tools.calorimeter.memory import nearness
from tools.calorimeter.showers import NAMES, SAFE, Showers, check_arrays
from tools.calorimeter.trust import trust_map
from tools.contract import ToolError
from tools.metrics import auc as auc_of
from tools.metrics import auc_error
from tools.types import Floats

METRIC = "showers that cannot be told apart"
SAME_ENERGY = 1e-5  # relative: float32 files are accepted
WORST = 8
TOYS = 100  # resamples
COPIES, SIGMAS = 0.05, 4.0  # an AUC below 0.5 by more than both, absolute and in errors, is no fluctuation


@dataclass(frozen=True)
class Look:
    """Scores of reference (n,) and generated showers (m,), higher for generated, and the requested row of each."""

    reference: Floats
    generated: Floats
    reference_rows: NDArray[np.int64]
    generated_rows: NDArray[np.int64]
    stretch: float = 1.0  # factor on the spread of the AUC over resamples

    def auc(self, counts: NDArray[np.int64]) -> float:
        """Return the AUC with each requested row taken `counts` (rows,) times."""
        ours = np.repeat(self.reference, counts[self.reference_rows])
        return auc_of(np.repeat(self.generated, counts[self.generated_rows]), ours)


def read_generated(workspace: Path, path: str, asked: Showers) -> Showers:
    """Read the submitted showers. ValueError says what is wrong with the file."""
    if not path.endswith(SAFE):
        raise ValueError(f"showers={path!r}: must be a {SAFE} file of generated showers")
    n, v = len(asked), asked.geometry.n_voxels
    try:
        arrays = read_safetensors(workspace, path, MAX_BYTES, max_values=2 * n * (v + 1) + 1000)
        if not set(NAMES) <= set(arrays):
            raise ValueError(f"showers={path!r}: needs arrays {', '.join(NAMES)}, has {sorted(arrays)[:20]}")
        incident, voxels = (arrays[name] for name in NAMES)
        check_arrays(path, incident, voxels, v)
        showers = Showers(incident.reshape(-1), voxels, asked.geometry).check_units()
    except UnsafeFile as error:
        raise ValueError(f"showers: {error}") from None
    except ToolError as error:
        raise ValueError(f"showers={path!r}: {error}") from None
    if len(showers) != n or np.any(np.abs(showers.incident / asked.incident - 1) > SAME_ENERGY):
        raise ValueError(
            f"showers={path!r}: needs one shower for each of the {n} requested incident energies, in their order"
        )
    return showers


def grade(submission: ShowersSubmission, workspace: Path, samples: Samples, seed: int = 1) -> Score:
    """Return the score on the rows that steer; AUCs and regions not to be trusted are in `details`."""
    try:
        generated = read_generated(workspace, submission.showers, samples.asked)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    reference, generated = samples.asked[samples.steers], generated[samples.steers]
    verdicts = classifiers(reference, generated, seed)
    rows = np.arange(len(reference))
    ours, theirs = nearness(samples.train, reference, generated)
    memory = auc_of(theirs, ours)
    found = {f"auc_{look}": (v.auc, v.error) for look, v in verdicts.items()}
    found["auc_memory"] = (memory, auc_error(memory, len(theirs), len(ours)))
    for look, v in verdicts.items():
        if v.auc < 0.5 - max(COPIES, SIGMAS * v.error):
            alarm = f"auc_{look} is {v.auc:.3f}: below chance, as with copies of the showers that steer or are sealed"
            return Score(metric=METRIC, value=None, reason=alarm)
    worst = max(found, key=lambda name: found[name][0])
    auc, error = found[worst]
    regions = trust_map(reference, generated, max(verdicts.values(), key=lambda v: v.auc))
    details: dict[str, Any] = {
        "numbers": {name: {"value": value, "error": spread} for name, (value, spread) in found.items()},
        "worst": worst,
        "distrusted": [region.words() for region in regions if not region.trusted][:WORST],
        "regions": len(regions),
        "regions_distrusted": sum(not region.trusted for region in regions),
        "regions_untested": sum(region.untested for region in regions),
        "showers": len(reference),
    }
    return Score(
        metric=METRIC,
        value=steering([auc]),
        error=2 * error,
        resampled=resampled([*map(look_of, verdicts.values()), Look(ours, theirs, rows, rows)], len(reference)),
        reason=f"on {len(reference)} validation showers; {worst} is {auc:.3f}; "
        f"{details['regions_distrusted']} of {len(regions)} regions are not to be trusted",
        artefact=sha256(read_bytes(workspace, submission.showers, MAX_BYTES)).hexdigest(),
        details=details,
    )


def steering(aucs: Sequence[float]) -> float:
    """Return the score: that of the classifier which tells the showers apart best."""
    return 2 * (1 - max(*aucs, 0.5))


def look_of(verdict: TwoSample) -> Look:
    """Return a classifier's scores of the showers that it was not trained on."""
    v = verdict
    return Look(v.reference_scores, v.generated_scores, v.reference_rows, v.generated_rows, SHARED["trees"])


def resampled(looks: Sequence[Look], n: int) -> list[float]:
    """Return the score on TOYS resamples of the n requested rows, the same whatever was generated."""
    measured = [look.auc(np.ones(n, dtype=np.int64)) for look in looks]
    drawn = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=TOYS)
    return [
        steering([at + look.stretch * (look.auc(counts) - at) for at, look in zip(measured, looks, strict=True)])
        for counts in drawn
    ]


def classifiers(reference: Showers, generated: Showers, seed: int) -> dict[str, TwoSample]:
    """Train boosted trees on voxels and on observables; the harness does not need torch."""
    return {
        "voxels": strongest(tell_apart(reference, generated, "voxels", ("trees",), seed)),
        "observables": strongest(tell_apart(reference, generated, "observables", ("trees",), seed)),
    }

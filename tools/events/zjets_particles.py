"""The leading jets of Z+jets with all their particles, in a file next to the events.

OUT.particles.h5 has OmniLearned's layout and the kinds `gen` and `reco`: first the jets of the events that pass gen, in
the order of OUT, then those of the events that pass reco. Columns gen_jet and reco_jet of OUT give their rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.jet_model.jets import MAX_PARTICLES, Jets, from_momenta
from tools.jet_model.jets_file import concatenate, read_jets, write_jets
from tools.types import Floats

LEVELS = ("gen", "reco")


def jet_rows(columns: dict[str, Floats], nowhere: float) -> dict[str, Floats]:
    """Return gen_jet and reco_jet (n,) from pass_gen and pass_reco, with `nowhere` at a level that is not passed."""
    found, start = {}, 0
    for level in LEVELS:
        passed = columns[f"pass_{level}"] > 0
        found[f"{level}_jet"] = np.where(passed, start + np.cumsum(passed) - 1, nowhere)
        start += int(passed.sum())
    return found


def write_levels(path: Path, constituents: dict[str, Any]) -> None:
    """Write one file with jets by level, given by their constituents: awkward arrays of px, py, pz, E in GeV."""
    write_jets(path, concatenate([_jets(level, jets) for level, jets in constituents.items() if len(jets)], LEVELS))


def merge_levels(paths: list[Path], out: Path) -> None:
    """Merge the files of all shards into one, gen before reco."""
    jets = concatenate([read_jets(path) for path in paths], LEVELS)
    assert jets.pid is not None
    write_jets(out, jets.take(np.argsort(jets.pid, kind="stable")))


def _jets(level: str, constituents: Any) -> Jets:
    import awkward as ak

    width = int(ak.max(ak.num(constituents.px, axis=1)))
    px, py, pz, energy = (
        np.asarray(ak.to_numpy(ak.fill_none(ak.pad_none(constituents[c], width, clip=True), 0.0), allow_missing=False))
        for c in ("px", "py", "pz", "E")
    )
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / np.where(pt > 0, pt, 1.0))
    labels = np.zeros(len(pt), dtype=np.int64)
    return from_momenta(
        pt, eta, np.arctan2(py, px), energy, pid=labels, kinds=(level,), max_particles=min(width, MAX_PARTICLES)
    )

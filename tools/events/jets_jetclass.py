"""Reader for JetClass (Qu, Li, Qian, doi:10.5281/zenodo.6619768; arXiv:2202.03772): ROOT files, ten kinds of jets.

The tree `tree` has, per jet, lists of px, py, pz, E [GeV], charge, kind and impact parameters [mm] of the particles,
pt, eta, phi, E of the jet and a 0/1 column for each kind. Particles get all nine features of OmniLearned, which applies
tanh to d0 and dz.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tools.contract import ToolError
from tools.jet_model.jets import MAX_PARTICLES, PARTICLE_KINDS, Jets, from_momenta
from tools.jet_model.jets_file import check_range
from tools.types import Floats

TREE = "tree"
LABELS = {
    "label_QCD": "qcd",
    "label_Hbb": "hbb",
    "label_Hcc": "hcc",
    "label_Hgg": "hgg",
    "label_H4q": "h4q",
    "label_Hqql": "hqql",
    "label_Zqq": "zqq",
    "label_Wqq": "wqq",
    "label_Tbqq": "tbqq",
    "label_Tbl": "tbl",
}
KINDS = tuple(LABELS.values())
MOMENTA = ("part_px", "part_py", "part_pz", "part_energy")
VERTEX = ("part_d0val", "part_d0err", "part_dzval", "part_dzerr")
IS_KIND = ("part_isElectron", "part_isMuon", "part_isPhoton", "part_isChargedHadron", "part_isNeutralHadron")
JET = ("jet_pt", "jet_eta", "jet_phi", "jet_energy")


def read_jetclass(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read jets start..stop with nine features per particle; kinds as in KINDS.

    Raises ToolError for a file that is not ROOT, missing branches and jets without exactly one label,
    FileNotFoundError if there is no file.
    """
    import uproot

    wanted = (*MOMENTA, "part_charge", *IS_KIND, *VERTEX, *JET, *LABELS)
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with uproot.open(path) as file:
            if TREE not in file:
                raise ToolError("path", str(path), f"the tree {TREE!r}; it has {file.keys()}")
            tree = file[TREE]
            if missing := [name for name in wanted if name not in tree]:
                raise ToolError("path", str(path), f"the branches {missing}; it has {sorted(tree.keys())[:20]}")
            check_range(path, start, tree.num_entries, tree.num_entries)
            arrays = tree.arrays(wanted, entry_start=start, entry_stop=stop)
    except (ValueError, OSError, uproot.DeserializationError, zlib.error) as error:
        if isinstance(error, ToolError):
            raise
        raise ToolError("path", str(path), f"not a readable ROOT file ({str(error).splitlines()[0]})") from None
    labels = np.stack([np.asarray(arrays[name]) for name in LABELS], axis=1) > 0
    if len(bad := np.flatnonzero(labels.sum(axis=1) != 1)):
        raise ToolError("label", labels[bad[0]].tolist(), f"jet {start + bad[0]}: exactly one of {', '.join(LABELS)}")
    px, py, pz, energy = (_padded(arrays[name]) for name in MOMENTA)
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / np.where(pt > 0, pt, 1.0))
    jet = {name: np.asarray(arrays[name], dtype=np.float64) for name in JET}
    momentum = jet["jet_pt"] * np.cosh(jet["jet_eta"])
    mass = np.sqrt(np.maximum(jet["jet_energy"] ** 2 - momentum**2, 0.0))
    return from_momenta(
        pt,
        eta,
        np.arctan2(py, px),
        energy,
        axis=np.stack([jet["jet_pt"], jet["jet_eta"], jet["jet_phi"], mass], axis=1),
        extra=_extra(arrays),
        pid=labels.argmax(axis=1).astype(np.int64),
        kinds=KINDS,
        max_particles=max_particles,
    )


def _extra(arrays: Any) -> Floats:
    """Return (N, M, 5): kind, tanh d0, its error, tanh dz, its error."""
    charge = np.sign(_padded(arrays["part_charge"])).astype(np.int64)
    electron, muon, photon, charged, neutral = (_padded(arrays[name]) > 0 for name in IS_KIND)
    pdg = np.select([electron, muon, photon, charged, neutral], [-11 * charge, -13 * charge, 22, 211 * charge, 130], 0)
    d0, d0_error, dz, dz_error = (_padded(arrays[name]) for name in VERTEX)
    return np.stack([np.searchsorted(PARTICLE_KINDS, pdg), np.tanh(d0), d0_error, np.tanh(dz), dz_error], axis=2)


def _padded(lists: Any) -> Floats:
    """Return lists of numbers padded with zeros (N, M)."""
    import awkward as ak

    width = int(ak.max(ak.num(lists, axis=1)))
    padded = ak.fill_none(ak.pad_none(lists, width, clip=True), 0.0)
    return np.asarray(ak.to_numpy(padded, allow_missing=False), dtype=np.float64)

"""Z+jets for unfolding, after OmniFold (arXiv:1911.09107): each event at particle and at detector level.

Pythia 8 generates a stable Z and a parton at 14 TeV with p_T,hat > 150 GeV. To pass a level an event needs
pt(Z) > 200 GeV and a leading anti-kt R=0.4 jet (of all particles but the Z and neutrinos, or of all detector objects)
with pt > 50 GeV and |y| < 2.1. The detector is that of `detector.py`; the Z is measured like two muons of half its pt.

An event that passes only one level is a miss (gen) or a fake (reco). If both jets pass but do not match (dR >= 0.4),
the event gives two rows, a miss and a fake.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen
from tools.events.detector import CALO_ETA, INVISIBLE, respond
from tools.events.parquet import particles_path
from tools.events.pythia import generate
from tools.events.shards import Sharded, end_if_abandoned, merge_shards, run_shards, seeds_of, shard_path, write_shard
from tools.events.zjets_jets import CONSTITUENTS, OBSERVABLES, RADIUS, leading_jets
from tools.events.zjets_particles import LEVELS, jet_rows, merge_levels, write_levels
from tools.types import Floats

Mask = NDArray[np.bool_]

PT_Z_MIN = 200.0  # GeV
# Early in the shower, at VETO_SCALE, pt(Z) is within 5 GeV (rms) of its final value: events far below are dropped.
PT_Z_VETO, VETO_SCALE = 170.0, 20.0  # GeV
PT_JET_MIN = 50.0  # GeV
RAPIDITY_MAX = 2.1  # so that the whole jet lies inside the tracker
Z_BOSON = 23
BATCH = 250  # events clustered together
NOT_PASSED = -999.0  # value at a level that an event does not pass
COLUMNS = (*(f"{level}_{name}" for level in LEVELS for name in OBSERVABLES), "pass_gen", "pass_reco")


class Tune(StrEnum):
    """Tune of parton showers, hadronisation and the underlying event."""

    monash = "monash"  # Monash 2013, Pythia's default
    a14 = "a14"  # ATLAS A14 with NNPDF2.3LO, as in the published files
    cuetp8m1 = "cuetp8m1"  # CMS CUETP8M1 with NNPDF2.3LO
    vincia = "vincia"  # antenna shower with its own tune: the most different one

    def settings(self) -> list[str]:
        """Return the tune as Pythia command strings."""
        if self is Tune.vincia:
            # Global showers: the default, sector showers, takes two to three times as long.
            return ["PartonShowers:model = 2", "Vincia:sectorShower = off"]
        return [f"Tune:pp = {TUNES[self]}"]


TUNES = {Tune.monash: 14, Tune.a14: 21, Tune.cuetp8m1: 18}


class ZJets(Frozen):
    """The process: Z + one parton, the Z stable."""

    tune: Tune = Tune.monash

    def settings(self) -> list[str]:
        return [
            "Beams:eCM = 14000.",
            "WeakBosonAndParton:qqbar2gmZg = on",
            "WeakBosonAndParton:qg2gmZq = on",
            "WeakZ0:gmZmode = 2",
            f"{Z_BOSON}:mayDecay = off",
            "PhaseSpace:pTHatMin = 150.",
            *self.tune.settings(),
        ]

    def veto(self) -> Any:
        """Return a hook that makes Pythia drop events whose Z can no longer pass, which halves the time."""
        import pythia8mc

        class TooSoft(pythia8mc.UserHooks):  # type: ignore[misc]
            def canVetoPT(self) -> bool:  # noqa: N802
                return True

            def scaleVetoPT(self) -> float:  # noqa: N802
                return VETO_SCALE

            def doVetoPT(self, _: int, event: Any) -> bool:  # noqa: N802
                particles = (event[i] for i in reversed(range(event.size())))
                return bool(next(p for p in particles if p.id() == Z_BOSON and p.isFinal()).pT() < PT_Z_VETO)

        return TooSoft()


class ZJetsSimulation(Sharded):
    """Settings of a sample of Z+jets: tune, number of rows, seed."""

    process: ZJets = ZJets()
    shard_events: int = 1000
    particles: bool = Field(default=False, description="also keep the jets' particles; changes nothing else")


def simulate_zjets(
    simulation: ZJetsSimulation,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write `out` (parquet, COLUMNS) and `out` + `.provenance.json`; return the provenance.

    Masses are in GeV; values are NOT_PASSED at a level that an event does not pass. With `simulation.particles`,
    `out` + `.particles.h5` has the jets (`zjets_particles`). Shards, progress and errors are as in `run_shards`.
    """
    folder = run_shards(simulation, out, _simulate_shard, workers, progress)
    facts = {
        "pythia_settings": simulation.process.settings(),
        "units": f"masses in GeV; leading anti-kt R=0.4 jet; {NOT_PASSED:g} at a level that is not passed",
    }
    if not simulation.particles:
        return merge_shards(simulation, folder, out, facts)
    shards = [shard_path(folder, s).with_suffix(".h5") for s in range(simulation.n_shards)]
    merge_levels(shards, particles_path(out))
    return merge_shards(simulation, folder, out, facts, lambda columns: jet_rows(columns, NOT_PASSED))


def _simulate_shard(simulation: ZJetsSimulation, shard: int, folder: Path) -> None:
    """Simulate exactly `shard_size` rows, deterministic in (simulation, shard)."""
    import awkward as ak

    pythia_seed, rng = seeds_of(simulation, shard)
    events = generate(simulation.process, pythia_seed, simulation.process.veto())
    wanted, accepted, tried = simulation.shard_size(shard), 0, 0
    tables: list[dict[str, Any]] = []
    while accepted < wanted:
        end_if_abandoned()
        table = both_levels([next(events) for _ in range(BATCH)], rng)
        tables.append(table)
        accepted += len(table["pass_gen"])
        tried += BATCH
    columns = {name: np.concatenate([t[name] for t in tables])[:wanted] for name in COLUMNS}
    if simulation.particles:
        constituents = {
            level: ak.concatenate([t[f"{level}_{CONSTITUENTS}"] for t in tables])[:wanted][columns[f"pass_{level}"] > 0]
            for level in LEVELS
        }
        write_levels(shard_path(folder, shard).with_suffix(".h5"), constituents)
    write_shard(folder, shard, columns, tried, accepted)


def both_levels(events: list[Floats], rng: np.random.Generator) -> dict[str, Any]:
    """Return the table, as made by `combine`, of events as given by `pythia.generate`."""
    n = len(events)
    flat = np.concatenate(events)
    index = np.repeat(np.arange(n), [len(event) for event in events])
    kind = np.abs(flat[:, 3]).astype(np.int64)
    is_z = kind == Z_BOSON
    pt_z = np.zeros(n)
    pt_z[index[is_z]] = flat[is_z, 0]
    seen = ~is_z & ~np.isin(kind, INVISIBLE) & (np.abs(flat[:, 1]) < CALO_ETA)
    index, flat = index[seen], flat[seen]
    pt, eta, phi, _, _, mass = flat.T
    where, reco_pt, reco_eta, reco_phi = respond(index, flat, rng)
    measured = pt_z * (1 + z_resolution(pt_z) * rng.standard_normal(n))
    return combine(
        leading_jets(_events(n, index, pt, eta, phi, mass)),
        leading_jets(_events(n, where, reco_pt, reco_eta, reco_phi, np.zeros(len(where)))),
        pt_z,
        measured,
    )


def z_resolution(pt: Floats) -> Floats:
    """Return the relative pt resolution of two muons of half the pt: 1% (+) 1.5e-4 pt/GeV per track, over sqrt 2."""
    return np.asarray(np.hypot(0.01, 1.5e-4 * pt / 2) / np.sqrt(2))


def _events(n: int, index: NDArray[np.int64], pt: Floats, eta: Floats, phi: Floats, mass: Floats) -> Any:
    import awkward as ak

    fields = ak.zip({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    return ak.unflatten(fields, np.bincount(index, minlength=n))


def combine(gen: dict[str, Any], reco: dict[str, Any], gen_z: Floats, reco_z: Floats) -> dict[str, Any]:
    """Return one row per event that passes a level, two if the jets do not match, from leading jets and pt(Z) [GeV].

    It has COLUMNS and, if the jets have them, their constituents by level, valid only if the level is passed.
    """
    pass_gen, pass_reco = passes(gen, gen_z), passes(reco, reco_z)
    delta_phi = (gen["phi"] - reco["phi"] + np.pi) % (2 * np.pi) - np.pi
    distance = np.hypot(gen["rapidity"] - reco["rapidity"], delta_phi)
    unmatched = pass_gen & pass_reco & ~(distance < RADIUS)
    rows = np.flatnonzero(pass_gen | pass_reco)
    # For an unmatched event the first row has gen, a second one reco.
    rows = np.concatenate([rows, np.flatnonzero(unmatched)])
    second = np.arange(len(rows)) >= len(rows) - unmatched.sum()
    is_gen = pass_gen[rows] & ~second
    is_reco = pass_reco[rows] & (second | ~unmatched[rows])
    order = np.argsort(rows, kind="stable")
    table: dict[str, Any] = {}
    for level, jets, passed in zip(LEVELS, (gen, reco), (is_gen, is_reco), strict=True):
        for name in OBSERVABLES:
            table[f"{level}_{name}"] = np.where(passed, jets[name][rows], NOT_PASSED)[order]
        table[f"pass_{level}"] = passed[order].astype(np.float64)
        if CONSTITUENTS in jets:
            table[f"{level}_{CONSTITUENTS}"] = jets[CONSTITUENTS][rows[order]]
    return table


def passes(jets: dict[str, Any], pt_z: Floats) -> Mask:
    """Return which events pass the selection, the same at both levels."""
    return np.asarray((pt_z > PT_Z_MIN) & (jets["pt"] > PT_JET_MIN) & (np.abs(jets["rapidity"]) < RAPIDITY_MAX))

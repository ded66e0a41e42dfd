"""Resonances in a mass spectrum, claimed and true: `python -m benchmarks.spectrum [--quick] [--processes 2]`.

Sets are drawn with `spectrum.hunt`'s own defaults in mind, but from shapes that are not among its functions: a falling
spectrum with a turn-on at its low end (an error function times an exponential times a power), 20,000 events between 20
and 120. Without signal it counts how often a resonance is found; with signal, 300 or 600 events of a Gaussian or of a
mixture of two, 1 to 4% wide, it compares masses and yields. Rows are kept a line each in `--keep`. Where there are CMS
muon pairs (environment variable DIMUONS), the window of the Upsilon is counted as well. The last line is a JSON object:

    null_ks                                   p-value that the global p-values of signal-free sets are uniform (KS)
    n_null, false_1e1, false_1e2, false_1e3   signal-free sets; share with a global p-value below 0.1, 0.01, 0.001
    n_signal_sets, found, extra               sets with signal; share found at 1e-3; further resonances per set
    mass_pull_mean, _width, _coverage         claimed minus true over claimed error; share within one and two errors
    yield_pull_mean, _width, _coverage        the same for the yields
    upsilon_worst                             largest difference of z from the published one; null: not run
    code                                      hash of the sources
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import erf
from scipy.stats import kstest

from benchmarks.rows import Row, Rows, complete
from tools import spectrum
from tools.events.parquet import write_events
from tools.spectrum import count_window
from tools.spectrum.hunt import WIDTHS, HuntRequest, hunted, listed
from tools.spectrum.inputs import Sample
from tools.types import Floats

LOW, HIGH, EVENTS = 20.0, 120.0, 20_000
ALPHA = 1e-3
LOOSE = 0.49  # so that the p-value of the largest bump is known in every set
DIMUONS = Path(os.environ.get("DIMUONS", Path(__file__).resolve().parents[1].parent / "shared" / "data" / "dimuons"))


def background(rng: np.random.Generator) -> Floats:
    """Return EVENTS masses of a spectrum that none of the functions describes exactly."""
    m = np.linspace(LOW, HIGH, 20_001)
    density = (1 + erf((m - 24) / 6)) * np.exp(-m / 60) * m**-1.5
    cdf = np.cumsum(density) / density.sum()
    return np.interp(rng.random(EVENTS), cdf, m)


def signal(rng: np.random.Generator, n: int) -> tuple[float, Floats]:
    """Return a true mass and `n` masses around it: one Gaussian, or two of different width."""
    mass, width = float(rng.uniform(35, 95)), float(rng.uniform(0.01, 0.04))
    scale = np.where(rng.random(n) < 0.75, 1.0, 2.0) if rng.random() < 0.5 else np.ones(n)
    return mass, rng.normal(mass, width * mass * scale)


def one(n_signal: int, seed: int) -> Row:
    """Return what is found in one set."""
    rng = np.random.default_rng([seed, n_signal])
    true, more = signal(rng, n_signal)
    request = HuntRequest(unit="GeV", fit_range=(LOW, HIGH), alpha=ALPHA if n_signal else LOOSE, seed=seed)
    found, _ = hunted(Sample(np.concatenate([background(rng), more])), request)
    p = min([bump.p_global for bump in (*found.bumps, found.left) if bump], default=1.0)
    resonances = [r.model_dump() for r in listed(found)]
    return {"true": true, "p": p, "resonances": resonances, "way": [len(found.way.widths), found.way.shape]}


def say(row: Row) -> str:
    masses = ", ".join(f"{r['mass']:.2f}" for r in row["resonances"]) or "nothing"
    return f"{row['n_signal']} events at {row['true']:.2f}: {masses}, p = {row['p']:.2g}"


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Return the keys of the JSON object."""
    null, injected = ([row for row in rows if bool(row["n_signal"]) is kind] for kind in (False, True))
    p = np.array([row["p"] for row in null])
    pulls, extra = [], 0
    for row in injected:
        near = [r for r in row["resonances"] if abs(r["mass"] / row["true"] - 1) < 0.05]
        extra += len(row["resonances"]) - min(len(near), 1)
        if near:
            r = min(near, key=lambda r: abs(r["mass"] - row["true"]))
            mass = (r["mass"] - row["true"]) / r["mass_error"]
            pulls.append((mass, (r["n_signal"] - row["n_signal"]) / r["n_signal_error"]))
    out: dict[str, Any] = {"n_null": len(null)}
    out |= {f"false_1e{k}": round(float((p < 10.0**-k).mean()), 4) for k in (1, 2, 3)}
    out["null_ks"] = round(float(kstest(p, "uniform").pvalue), 4) if len(p) else None
    out |= {"n_signal_sets": len(injected), "found": round(len(pulls) / max(len(injected), 1), 3)}
    out["extra"] = round(extra / max(len(injected), 1), 3)
    for name, pull in zip(("mass", "yield"), np.array(pulls).reshape(-1, 2).T, strict=True):
        out |= {f"{name}_pull_mean": round(float(pull.mean()), 3), f"{name}_pull_width": round(float(pull.std()), 3)}
        out[f"{name}_pull_coverage"] = [round(float((np.abs(pull) < k).mean()), 3) for k in (1, 2)]
    return out


def upsilon() -> float | None:
    """Return the largest difference from the published significances of the window 9.0 to 10.6 GeV."""
    if not DIMUONS.is_dir():
        print(f"not run: no CMS muon pairs in {DIMUONS}")
        return None
    every = pd.read_parquet(DIMUONS / "masses_after_cuts.parquet")
    published = json.loads((DIMUONS / "published_significances.json").read_text())["OS"]
    worst = 0.0
    for selection in ("1", "0.25", "0.1", "0.05", "0.01"):
        chosen = every[(every.charge == "OS") & (every.selection == selection)]
        with tempfile.TemporaryDirectory() as folder:
            events = Path(folder) / "events.parquet"
            write_events(events, {"mass": chosen.mass.to_numpy()})
            z = count_window(events=str(events), unit="GeV", fit_range=(5, 16), window=(9.0, 10.6), degree=5).z
        print(f"muon pairs at {selection}: z = {z:.2f}, published {published[selection]:.2f}")
        worst = max(worst, abs(z - published[selection]))
    return round(worst, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 sets of each kind")
    parser.add_argument("--sets", type=int, default=100, help="signal-free sets, and sets with signal")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/spectrum.jsonl"))
    choices = parser.parse_args()
    n = 10 if choices.quick else choices.sets
    rows = Rows(choices.keep, spectrum)
    items: list[Row] = [{"n_signal": k, "seed": s} for s in range(n) for k in (0, (300, 600)[s % 2])]
    found = complete(rows, one, items, choices.processes, say, code=rows.code)
    print(f"widths tested: {', '.join(map(str, WIDTHS))}")
    print(json.dumps({"code": rows.code, **summarise(found), "upsilon_worst": upsilon()}))


if __name__ == "__main__":
    main()

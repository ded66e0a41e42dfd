"""Are the claims calibrated? `python -m benchmarks.calibration [--quick] [--processes 2]`.

There are two levels: the fit alone, on Poisson toys of a smooth spectrum (a minute), and the full chain on events,
without and with signal (`chain`). Each set is split at random into A and B. On A, the analyst's survey chooses window,
cut, mass and width. Then, as in the harness, a recipe with the analyst's settings, but fewer trees, is trained in a
window around that mass on all events, and the claim is made from the scores of B, which played no part in the choice,
by `tasks.lhco.confirm`. So this calibrates the numbers that reports quote: p-value, mass, signal behind the cut, limit
on the chosen resonance.

A set has `--events` events: QCD drawn at random from a reservoir, and signal from the reservoirs of all resonances in
turn, 300 or 500 events of 80,000 and as many standard deviations of background in larger sets. Sets with and without
signal use different seeds. Out of the 300,000 shipped events two sets share 27%, so a fluctuation of the sample can
look like a resonance in many sets: `--sample FOLDER` takes a larger reservoir, made by `python -m benchmarks.reservoir`
or as described in tasks/lhco/sample/PROVENANCE.md. Results are kept in `--keep`, one per line, and an interrupted
benchmark continues from there. The last line is one JSON object:

    code                                                     hash of the sources that searched the sets
    events                                                   in a set
    n_null, false_discovery_rate, false_discovery_interval   signal-free sets, share with p < 0.05, its 95% interval
    pvalue_ks                                                KS probability that their p-values are uniform
    n_signal_sets, found                                     sets with signal, share with p < 0.05; of these:
    mass_pull_mean, _width, _error; yield_pull_...           claimed minus true over claimed error; error of the mean
    mass_coverage, yield_coverage                            share within one and two of the claimed errors
    yield_bias_median, yield_relative_error_median           claimed over true - 1; claimed error over claimed
    passing_...                                              against the signal events that passed: pull widths below
                                                             one, as the error includes their Poisson spread
    fdr_3sigma                                               share of signal-free sets with p below that of 3 sigma
    limit_coverage, limit_coverage_min                       share of true passing yields below the 95% upper limit,
                                                             in all sets and at the worse of the two strengths
    wide_mass_pull_width, wide_yield_pull_mean               for resonances with a natural width above 1.5%: pulls of
                                                             the mass, and of the signal behind the cut
    closure_delta                                            of the templates at two cuts, from the signal-free sets
    fit_...                                                  the same for the fit alone, and pvalue_ks at 3 spectra
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, kstest, norm

from benchmarks.rows import Rows, complete
from tasks.lhco.confirm import counts, in_window, limit
from tasks.lhco.mix import SAMPLE, SIGNALS, mix
from tasks.lhco.plans import FULL_FLOW
from tools import anomaly, bumphunt, training
from tools.anomaly import classify, survey, template
from tools.anomaly.survey import QUICK
from tools.bumphunt import spectrum
from tools.bumphunt.counting import closure_delta
from tools.bumphunt.fit import fit_signal
from tools.bumphunt.measure import Cut, measure, threshold
from tools.bumphunt.profile import make_basis, scan
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.spectrum import RANGE, SCALE_ERROR, Spectrum, make_edges
from tools.bumphunt.windows import HALF_WIDTH, window_at
from tools.bumphunt.yields import SLICES, total_yield
from tools.events.parquet import read_columns, write_events
from tools.types import Floats

SEARCHED = anomaly, bumphunt, training  # the tools that make and rank scores
EVENTS = 80_000
HALF = 0.5  # fraction of the events in B
STRENGTHS = (300, 500)  # signal events in EVENTS
SEARCH = (2.7, 5.4)  # TeV, contains all resonances
CLASSIFIER = {"ensemble": 2, "folds": 4}
ALPHA = 0.05
WIDE = 0.015  # natural width over mass
# Toys of the fit alone: (mass in TeV, passing background events in the whole range, passing signal events, width)
FITTED = (
    (3.0, 1000, 80, 0.03),
    (3.0, 300, 50, 0.01),
    (3.5, 2000, 120, 0.03),
    (3.5, 300, 40, 0.05),
    (4.2, 300, 40, 0.03),
)


def scores(columns: dict[str, Floats], window: tuple[float, float], seed: int) -> tuple[Floats, Floats, Floats]:
    """Run CATHODE template and trees in the working directory; return mjj and score of all events, template scores."""
    write_events(Path("events.parquet"), columns)
    common: dict[str, Any] = {"events": "events.parquet", "window": window, "seed": seed}
    template(**common, method={"kind": "spline_flow", **FULL_FLOW}, oversample=4.0, closure="events")
    classify(**common, template="template.parquet", control="template_control.parquet", **CLASSIFIER)
    mjj = read_columns(Path("events.parquet"))["mjj"]
    return mjj, read_columns(Path("scores.parquet"))["score"], read_columns(Path("template_scores.parquet"))["score"]


def choose(columns: dict[str, Floats], seed: int) -> Cut:
    """Return the most significant cut of the analyst's survey of these events."""
    write_events(Path("half.parquet"), columns)
    found = survey(events="half.parquet", search=SEARCH, seed=seed)
    best = found.windows[found.best]
    return measure(
        read_columns(Path("half.parquet"))["mjj"],
        read_columns(Path(best.scores))["score"],
        best.window,
        best.efficiency,
    )


def chain(signal: str, n_signal: int, events: int, seed: int, sample: Path) -> dict[str, Any]:
    """Process one data set from mixing to claim; return the results with the truth."""
    start = time.monotonic()
    data = mix(events - n_signal, signal, n_signal, seed, sample)
    part = np.random.default_rng([seed, 1]).permutation(events) % 2 == 0
    chosen = choose({name: values[part] for name, values in data.columns.items()}, seed)
    window = window_at(chosen.fit.mass, SEARCH)

    mjj, score, reference = scores(data.columns, window, seed)
    mjj, score, is_signal = mjj[~part], score[~part], data.is_signal[~part]
    cuts = [measure(mjj, score, window, efficiency) for efficiency in EFFICIENCIES]
    claimed = in_window(cuts)
    cut = cuts[claimed["best"]]
    at = {"mass": chosen.fit.mass, "width": chosen.fit.width, "efficiency": chosen.efficiency}
    limited = limit(cuts, at)
    amount = total_yield(mjj, score, window, cut.fit.mass, cut.fit.width, cut.spectrum, HALF)
    side = np.sort(score[(mjj < window[0]) | (mjj >= window[1])])[::-1]
    bounds = side[np.maximum(np.round(SLICES * len(side)).astype(int), 1) - 1]
    inside = (mjj >= window[0]) & (mjj < window[1])
    kept, in_limit = (score >= threshold(score, mjj, window, e) for e in (cut.efficiency, chosen.efficiency))
    return {
        "signal": signal,
        "n_signal": n_signal,
        "seed": seed,
        "window": window,
        "z_survey": chosen.fit.z,
        "survey": [chosen.fit.mass, chosen.fit.mass_error, chosen.fit.width],
        "spectra": [{**counts(each.spectrum), "degree": each.spectrum.degree} for each in cuts],
        "z": cut.fit.z,
        **{name: value for name, value in claimed.items() if name != "spectrum"},
        **limited,
        "passing_true": int((kept & is_signal).sum()),
        "limit_true": int((in_limit & is_signal).sum()),
        "total": amount.n_signal,
        "total_error": amount.error,
        "total_true": int(is_signal.sum()),
        "slices": amount.slices.tolist(),
        "slice_errors": amount.slice_errors.tolist(),
        "roc": [float((score[is_signal] >= bound).mean()) if n_signal else 0.0 for bound in bounds],
        "n_window": int(inside.sum()),
        "n_template": len(reference),
        "in_window": [int((score[inside] >= bound).sum()) for bound in bounds],
        "template": [int((reference >= bound).sum()) for bound in bounds],
        "seconds": time.monotonic() - start,
    }


def one(signal: str, n_signal: int, events: int, seed: int, sample: Path) -> dict[str, Any]:
    """Run `chain` silently in its own working directory."""
    here = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        os.chdir(folder)
        try:
            return chain(signal, n_signal, events, seed, sample)
        finally:
            os.chdir(here)


def settings() -> str:
    """Return a hash of the settings, which tells kept results of other settings apart."""
    text = json.dumps([SEARCH, QUICK.model_dump(), FULL_FLOW, CLASSIFIER, EFFICIENCIES])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def strengths(events: int) -> tuple[int, ...]:
    """Return the numbers of signal events that are as significant among so many events as STRENGTHS among EVENTS."""
    return tuple(round(n * (events / EVENTS) ** 0.5) for n in STRENGTHS)


def jobs(n: int, events: int) -> list[dict[str, Any]]:
    """Return the jobs of `n` signal-free sets and `n` with signal, alternating."""
    names, found = list(SIGNALS), []
    for i in range(n):
        n_signal = strengths(events)[(i // len(names)) % len(STRENGTHS)]
        found += [(names[0], 0, events, 1000 + i), (names[i % len(names)], n_signal, events, 5000 + i)]
    return [dict(zip(("signal", "n_signal", "events", "seed"), job, strict=True)) for job in found]


def carry_out(n: int, events: int, processes: int, keep: Path, sample: Path) -> list[dict[str, Any]]:
    def say(row: dict[str, Any]) -> str:
        return (
            f"{row['signal']} x {row['n_signal']}, seed {row['seed']}: p = {row['p_global']:.2g}, mass "
            f"{row['mass']:.3f} TeV, {row['total']:.0f} +- {row['total_error']:.0f} of {row['total_true']}, "
            f"{row['seconds']:.0f} s"
        )

    return complete(
        Rows(keep, *SEARCHED),
        partial(one, sample=sample),
        jobs(n, events),
        processes,
        say,
        settings=settings(),
        sample=str(sample),
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return false discoveries, uniformity, pulls, coverage; yields, fits and limits anew from kept slices, spectra."""
    null, signal = ([row for row in rows if bool(row["n_signal"]) == with_signal] for with_signal in (False, True))
    p = np.array([row["p_global"] for row in null])
    false = int((p < ALPHA).sum())
    interval = binomtest(false, len(null)).proportion_ci(0.95)
    found = [row for row in signal if row["p_global"] < ALPHA]
    wide = [row for row in found if SIGNALS[row["signal"]].width > WIDE]

    def pull(name: str, rows: list[dict[str, Any]], truth: Callable[[dict[str, Any]], float]) -> list[float]:
        return [(row[name] - truth(row)) / row[f"{name}_error"] for row in rows]

    def true_mass(row: dict[str, Any]) -> float:
        return SIGNALS[row["signal"]].mass

    covered = [row["upper_limit"] >= row["limit_true"] for row in signal]
    by_strength = [
        float(np.mean([c for c, row in zip(covered, signal, strict=True) if row["n_signal"] == n]))
        for n in sorted({row["n_signal"] for row in signal})
    ]
    kept, template = (
        np.array([row[name][-len(SLICES) :] for row in null], float) for name in ("in_window", "template")
    )
    scale = np.array([[row["n_window"] / row["n_template"]] for row in null])
    return {
        "code": sorted({row["code"] for row in rows}),
        "events": sorted({row["events"] for row in rows}),
        "n_null": len(null),
        "false_discovery_rate": false / len(null),
        "false_discovery_interval": [interval.low, interval.high],
        "pvalue_ks": float(kstest(p, "uniform").pvalue),
        "n_signal_sets": len(signal),
        "found": len(found) / len(signal),
        "fdr_3sigma": float((p < norm.sf(3)).mean()),
        **pulls("mass", pull("mass", found, true_mass)),
        **pulls("yield", pull("total", found, lambda row: row["total_true"])),
        "yield_bias_median": float(np.median([row["total"] / row["total_true"] - 1 for row in found])),
        "yield_relative_error_median": float(np.median([row["total_error"] / row["total"] for row in found])),
        **pulls("passing", pull("passing", found, lambda row: row["passing_true"])),
        "limit_coverage": float(np.mean(covered)),
        "limit_coverage_min": min(by_strength),
        "wide_mass_pull_width": float(np.std(pull("mass", wide, true_mass), ddof=1)) if len(wide) > 1 else None,
        "wide_yield_pull_mean": float(np.mean(pull("passing", wide, lambda r: r["passing_true"]))) if wide else None,
        "closure_delta": {
            f"{SLICES[k]:g}": closure_delta(kept[:, k], template[:, k] * scale[:, 0], template[:, k]) for k in (2, 3)
        },
    }


def pulls(name: str, values: list[float]) -> dict[str, Any]:
    pull = np.array(values)
    return {
        f"{name}_pull_mean": float(pull.mean()),
        f"{name}_pull_width": float(pull.std(ddof=1)),
        f"{name}_pull_error": float(pull.std(ddof=1) / np.sqrt(len(pull))),
        f"{name}_coverage": [float((np.abs(pull) < k).mean()) for k in (1, 2)],
    }


def fit_level(n: int) -> dict[str, Any]:
    """Test the fit alone: `n` toys at each of several strengths and masses, 10 `n` without signal at one mass."""
    edges = make_edges(*RANGE)
    centres = np.sqrt(edges[1:] * edges[:-1])
    falling = np.diff(edges) * centres**-7
    falling /= falling.sum()
    basis, one = make_basis(edges, 2), spectrum.one(3.5, 0.03)
    rng = np.random.default_rng(1)

    def toys(count: int, expected: Floats) -> tuple[Floats, Floats]:
        failed = rng.poisson(1e5 * falling, (count, len(falling)))
        return rng.poisson(expected, failed.shape).astype(np.float64), failed.astype(np.float64)

    uniform = {
        str(passing): float(
            kstest(norm.sf(scan(*toys(10 * n, passing * falling), basis, one.shapes(edges))[0][:, 0]), "uniform").pvalue
        )
        for passing in (5000, 1000, 300)
    }
    mass_pulls, yield_pulls = [], []
    for mass, passing, signal, width in FITTED:
        window = (mass * (1 - HALF_WIDTH), mass * (1 + HALF_WIDTH))
        seen = mass * (1 + SCALE_ERROR * rng.standard_normal(n))
        shapes = spectrum.Hypotheses(seen, np.full(n, width)).shapes(edges)
        passed, failed = toys(n, passing * falling + signal * shapes)
        for pass_, fail in zip(passed, failed, strict=True):
            fit = fit_signal(Spectrum(edges, pass_, fail), window)
            mass_pulls.append((fit.mass - mass) / fit.mass_error)
            yield_pulls.append((fit.signal - signal) / fit.signal_error)
    found = {"pvalue_ks": uniform, **pulls("mass", mass_pulls), **pulls("passing", yield_pulls)}
    return {f"fit_{name}": value for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 sets without and 10 with signal")
    parser.add_argument("--sets", type=int, default=102, help="number of sets without signal, and of sets with signal")
    parser.add_argument("--events", type=int, default=EVENTS, help="in each set")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/calibration.jsonl"), help="results, one line per set")
    parser.add_argument("--sample", type=Path, default=SAMPLE, help="folder of reservoirs, named like the shipped ones")
    arguments = parser.parse_args()
    n = 10 if arguments.quick else arguments.sets
    fits = fit_level(20 if arguments.quick else 100)
    print(json.dumps(fits))
    rows = carry_out(n, arguments.events, arguments.processes, arguments.keep, arguments.sample.resolve())
    print(json.dumps(summarise(rows) | fits))


if __name__ == "__main__":
    main()

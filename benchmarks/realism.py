"""The shipped sample compared with the LHC Olympics R&D files: `python -m benchmarks.realism [--quick] [--out FOLDER]`.

Both in 3.3 < mjj < 3.7 TeV, the range of the real arrays (files of arXiv:2109.00546, `real_region.FOLDER`): QCD and the
resonance of 3.5, 0.5 and 0.1 TeV. Errors are statistical, from both samples. The fractions inside the window are
published: 121,352 of 1,000,000 QCD events and 772 of 1,000 signal events. Without the arrays only our numbers are
printed, and the exit status is 1. Figures (PNG) go to `--out`, unless `--quick`. The last line is one JSON object:

    signal_in_sr           fraction of the signal in the window
    worst_feature_shift    largest |ours/real - 1| of means and widths of the four features, for QCD and signal
    mjj_chi2_ndf           of the shape of the signal's mjj in the window, 20 bins
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.real_region import FOLDER, WINDOW
from tasks.lhco.mix import SAMPLE
from tools.events.parquet import read_columns
from tools.types import Floats

FEATURES = ("mj1", "delta_mj", "tau21_j1", "tau21_j2")
COLUMNS = ("mjj", *FEATURES)  # of the real arrays
SIGNAL = "3500_500_100"
FILES = {"QCD": "qcd", "signal": f"signal_{SIGNAL}"}
PUBLISHED = {"QCD": (121_352, 1_000_000), "signal": (772, 1000)}
BINS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="no figures")
    parser.add_argument("--out", type=Path, default=Path("realism"), help="folder for the figures")
    options = parser.parse_args()
    console = Console(width=120)
    ours = {name: our_columns(SAMPLE / f"{file}.parquet") for name, file in FILES.items()}
    real = real_columns(FOLDER) if FOLDER.is_dir() else None
    console.print(fractions(ours))
    if real is None:
        console.print(f"no real arrays in {FOLDER}: nothing to compare with", markup=False)
        for name, columns in ours.items():
            inside = in_window(columns)
            for feature in FEATURES:
                values = columns[feature][inside]
                console.print(f"{name} {feature}: mean {values.mean():.4f}, width {values.std():.4f}", markup=False)
        sys.exit(1)

    shifts = {name: compare(ours[name], real[name]) for name in FILES}
    table = Table("", "", "mean ours", "real", "ours/real - 1", "width ours", "real", "ours/real - 1")
    for name, rows in shifts.items():
        for feature, (mean, width) in rows.items():
            cells = [
                cell for m in (mean, width) for cell in (f"{m[0]:.4f}", f"{m[1]:.4f}", f"{m[2]:+.1%} ± {m[3]:.1%}")
            ]
            table.add_row(name, feature, *cells)
    console.print(table)
    chi2 = {name: shape_chi2(ours[name]["mjj"], real[name]["mjj"]) for name in FILES}
    for name, value in chi2.items():
        console.print(f"mjj of {name} in the window: chi2/ndf {value:.2f} of {BINS - 1}", markup=False)
    if not options.quick:
        for path in draw(ours, real, options.out):
            console.print(f"figure: {path}", markup=False)
    moments = [m[2] for rows in shifts.values() for feature in FEATURES for m in rows[feature]]
    result = {
        "signal_in_sr": round(float(in_window(ours["signal"]).mean()), 4),
        "worst_feature_shift": round(float(np.abs(moments).max()), 4),
        "mjj_chi2_ndf": round(chi2["signal"], 3),
    }
    print(json.dumps(result))


def our_columns(path: Path) -> dict[str, Floats]:
    """Return the features of the real arrays from an event file."""
    events = read_columns(path)
    tau21 = {f"tau21_{jet}": events[f"tau2_{jet}"] / (1e-5 + events[f"tau1_{jet}"]) for jet in ("j1", "j2")}
    return {"mjj": events["mjj"], "mj1": events["mj1"], "delta_mj": events["mj2"] - events["mj1"], **tau21}


def real_columns(folder: Path) -> dict[str, dict[str, Floats]]:
    """Return QCD from data and reference, and the extra signal."""
    rows = np.concatenate([np.load(folder / f"innerdata_{n}.npy") for n in ("train", "test", "background")])
    signal = np.load(folder / "innerdata_extrasig.npy")
    tables = {"QCD": rows[rows[:, 5] == 0], "signal": signal}
    return {name: dict(zip(COLUMNS, table[:, :5].T.astype(float), strict=True)) for name, table in tables.items()}


def in_window(columns: dict[str, Floats]) -> NDArray[np.bool_]:
    return (columns["mjj"] > WINDOW[0]) & (columns["mjj"] < WINDOW[1])


def fractions(ours: dict[str, dict[str, Floats]]) -> Table:
    table = Table("", "events", "inside 3.3-3.7 TeV", "published")
    for name, columns in ours.items():
        n, (inside, of) = len(columns["mjj"]), PUBLISHED[name]
        cells = [
            f"{p:.4f} ± {np.sqrt(p * (1 - p) / k):.4f}" for p, k in ((in_window(columns).mean(), n), (inside / of, of))
        ]
        table.add_row(name, str(n), *cells)
    return table


def compare(ours: dict[str, Floats], real: dict[str, Floats]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Compare mean and width of each column: ours, real, ours/real - 1 and its statistical error."""
    inside = in_window(ours)
    return {name: moments(ours[name][inside], real[name]) for name in COLUMNS}


def moments(ours: Floats, real: Floats) -> list[tuple[float, float, float, float]]:
    rows = []
    for measure in (np.mean, np.std):
        a, b = float(measure(ours)), float(measure(real))
        error_a, error_b = (moment_error(values, measure is np.std) for values in (ours, real))
        rows.append((a, b, a / b - 1, a / b * math.hypot(error_a / a, error_b / b)))
    return rows


def moment_error(values: Floats, of_width: bool) -> float:
    """Return the standard error of the mean or, from the fourth moment, of the standard deviation."""
    off = values - values.mean()
    variance = np.mean(off**2)
    if not of_width:
        return float(np.sqrt(variance / len(values)))
    return float(np.sqrt((np.mean(off**4) - variance**2) / (4 * variance * len(values))))


def shape_chi2(ours: Floats, real: Floats) -> float:
    """Return chi2/ndf of two histograms normalised to one in the window."""
    counts = [np.histogram(x, np.linspace(*WINDOW, BINS + 1))[0].astype(float) for x in (ours, real)]
    shares = [c / c.sum() for c in counts]
    variance = sum(c / c.sum() ** 2 for c in counts)
    return float(np.sum((shares[0] - shares[1]) ** 2 / variance) / (BINS - 1))


def draw(ours: dict[str, Any], real: dict[str, Any], out: Path) -> list[Path]:
    """Draw one figure each of QCD and signal: ours as points, the real arrays as filled steps, all normalised."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in FILES:
        inside = in_window(ours[name])
        figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
        for axis, column in zip(axes.flat, COLUMNS, strict=False):
            a, b = ours[name][column][inside], real[name][column]
            edges = np.linspace(np.quantile(b, 0.001), np.quantile(b, 0.995), 41)
            axis.hist(b, edges, weights=np.full(len(b), 1 / len(b)), color="0.8", label=f"LHC Olympics, {len(b)}")
            n = np.histogram(a, edges)[0]
            points = 0.5 * (edges[1:] + edges[:-1])
            axis.errorbar(points, n / len(a), np.sqrt(n) / len(a), fmt=".", label=f"ours, {len(a)}")
            axis.set_xlabel(f"{column} [TeV]" if column.endswith(("jj", "mj", "mj1")) else column)
            axis.set_ylim(bottom=0)
        axes.flat[0].set_ylabel("fraction of events")
        axes.flat[5].axis("off")
        axes.flat[5].legend(
            *axes.flat[0].get_legend_handles_labels(), title=f"{name}, 3.3 < mjj < 3.7 TeV", loc="center"
        )
        paths.append(out / f"{name.lower()}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths


if __name__ == "__main__":
    main()

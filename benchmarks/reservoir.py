"""Make a reservoir of any number of independent events: `python -m benchmarks.reservoir FOLDER [--events 2500000]`.

A calibration needs hundreds of data sets that hardly share events, and to simulate them takes days. So QCD is emulated:
masses come from a smooth spectrum, exp(sum_k theta_k T_k(ln mjj)), fitted to the shipped sample, so that no fluctuation
of it looks like a resonance in every set; features come from a conditional flow p(features | mjj), larger than
those that a search learns and trained on the whole sample. Signals are those of the sample.

`FOLDER` is then a `--sample` of `benchmarks.calibration`. The last line (one JSON object) measures the emulation:

    chi2_ndf            of the fitted spectrum against the sample
    auc, auc_error      of trees that tell emulated from shipped events, mass included; 0.5 is perfect
    floor_auc           the same for two halves of the shipped sample
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from tasks.lhco.mix import SAMPLE, SIGNALS
from tools.anomaly.closure import closure
from tools.anomaly.data import EXTENDED, Sidebands
from tools.anomaly.flow import SplineFlow
from tools.events.parquet import read_columns, write_events
from tools.events.table import derive
from tools.types import Floats

RANGE = (2.2, 8.0)  # TeV: 5% of the shipped events lie outside, nearly all below
BINS, DEGREE = 80, 16  # as smooth as a spectrum with a turn-on allows
FLOW = SplineFlow(transforms=3, epochs=20, patience=20)
FINE = 20_000  # steps of the fitted density
COMPARED = 60_000  # events of each kind that trees tell apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="new folder for the reservoirs")
    parser.add_argument("--events", type=int, default=2_500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a worse flow in a minute, to try the command")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    sample = table("qcd")
    sample = sample[(sample[:, 0] > RANGE[0]) & (sample[:, 0] < RANGE[1])]
    mjj, chi2_ndf = masses(sample[:, 0], arguments.events, arguments.seed)
    flow = FLOW.model_copy(update={"epochs": 2}) if arguments.quick else FLOW
    learned = flow.fit(Sidebands(sample[:, 1:], sample[:, 0], RANGE), arguments.seed, progress)
    emulated = np.column_stack([mjj, learned.sample(mjj, arguments.seed)])
    write(arguments.folder, "qcd", emulated)
    for name in SIGNALS:
        write(arguments.folder, f"signal_{name}", table(f"signal_{name}"))
    rng = np.random.default_rng(arguments.seed)
    shipped = rng.permutation(sample)[: 2 * COMPARED]
    auc, error = closure(emulated[:COMPARED], shipped[:COMPARED], arguments.seed)
    floor, _ = closure(shipped[COMPARED:], shipped[:COMPARED], arguments.seed)
    found = {"chi2_ndf": chi2_ndf, "auc": auc, "auc_error": error, "floor_auc": floor}
    print(f"{arguments.events} events in {arguments.folder}: trees tell them from shipped ones with AUC {auc:.4f} ±")
    print(f"{error:.4f}, two halves of these with {floor:.4f}; spectrum chi2/ndf {chi2_ndf:.2f}")
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


def table(name: str) -> Floats:
    """Return mjj and features of a shipped reservoir, (n, 1 + d)."""
    columns = read_columns(SAMPLE / f"{name}.parquet")
    return np.column_stack([columns["mjj"], *derive(columns, EXTENDED).values()])


def write(folder: Path, name: str, events: Floats) -> None:
    write_events(folder / f"{name}.parquet", dict(zip(("mjj", *EXTENDED), events.T, strict=True)))


def progress(epoch: int, training: float, validation: float) -> None:
    print(f"flow: epoch {epoch}, loss {training:.4f}, {validation:.4f} on held-out events", file=sys.stderr, flush=True)


def masses(mjj: Floats, n: int, seed: int) -> tuple[Floats, float]:
    """Return n masses from the smooth spectrum fitted to `mjj`, and the fit's chi2/ndf."""
    from statsmodels.genmod.families import Poisson
    from statsmodels.genmod.generalized_linear_model import GLM

    def basis(edges: Floats) -> Floats:
        x = np.log(edges[1:] * edges[:-1] / np.prod(RANGE)) / np.log(RANGE[1] / RANGE[0])  # -1 to 1
        return np.asarray(np.polynomial.chebyshev.chebvander(x, DEGREE))

    edges, fine = (np.geomspace(*RANGE, steps + 1) for steps in (BINS, FINE))
    fitted = GLM(np.histogram(mjj, edges)[0], basis(edges), family=Poisson()).fit()
    density = np.exp(basis(fine) @ fitted.params)  # in ln mjj, up to a constant
    cumulative = np.append(0.0, np.cumsum(density)) / density.sum()
    drawn = np.interp(np.random.default_rng([seed, 1]).random(n), cumulative, np.log(fine))
    return np.exp(drawn), float(fitted.pearson_chi2 / fitted.df_resid)


if __name__ == "__main__":
    main()

"""The default chain compared with the recipe of arXiv:2109.00546: a flow of 15 affine blocks, batch 256, 100 epochs.

Speed: the whole chain (fit, sample, classify, score) in CPU seconds, which other work on the machine does not inflate.
Of the paper's flow, one epoch is run between two runs of the chain and 99 are extrapolated, as every epoch costs the
same; the classifier is the same in both chains. Events are drawn with replacement.
Quality: on 100,000 events of the shipped sample all 100 epochs are run, at the paper's rate of 1e-4 (in one cycle, and
without batch normalisation; samples are from the best epoch, not the ten best), and judged with the same classifier.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.injections import Injection, inject, judge, quietly, template_of
from tools.anomaly.closure import closure
from tools.anomaly.data import Windowed
from tools.anomaly.flow import MaskedFlow, SplineFlow
from tools.anomaly.template import Method, window_masses
from tools.anomaly.trees import Trees

FLOW = SplineFlow()
OVERSAMPLE = 4.0  # the tool's default
EPOCHS = 100  # the paper's
COMPARED = 200_000  # events of the comparison


def speed(sizes: tuple[int, ...], ensemble: int, console: Console) -> dict[str, Any]:
    """Return CPU seconds of the whole chain, relative to the paper's recipe and versus the number of events."""
    times: list[float] = []
    out: dict[str, Any] = {}
    for size in sizes:
        injection = resampled(size)
        fit, rest = chain(injection, FLOW, ensemble)
        times.append(fit + rest)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        console.print(f"{size} events: fit {fit:.1f} s, sample and classify {rest:.1f} s, peak {peak:.2f} GiB")
        if size == COMPARED:
            slow, slow_rest = chain(injection, MaskedFlow(epochs=1), ensemble)
            again = sum(chain(injection, FLOW, ensemble))
            paper, mean = EPOCHS * slow + slow_rest, (times[-1] + again) / 2
            out = {"peak_gib": round(peak, 2), "chain_s": round(mean, 1), "paper_chain_s": round(paper)}
            out |= {"paper_epochs_run": 1, "speedup_vs_paper_recipe": round(paper / mean, 1)}
            console.print(
                f"again {again:.1f} s; paper's flow: {slow:.1f} s per epoch, {EPOCHS} epochs and the rest {paper:.0f} s"
            )
    slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    return out | {"exponent": round(slope, 2), "peak_gib_largest": round(peak, 2), "largest": sizes[-1]}


def chain(injection: Injection, method: Method, ensemble: int) -> tuple[float, float]:
    """Return CPU seconds to fit, and to sample, classify and score all events."""
    start = time.process_time()
    data = injection.data
    fitted = method.fit(data.sidebands(~data.inside), 1)
    middle = time.process_time()
    template = fitted.sample(window_masses(data, OVERSAMPLE, 1), 3)
    quietly(judge, injection, template, Trees(), ensemble, 1)
    return middle - start, time.process_time() - middle


def resampled(size: int) -> Injection:
    """Return an injection with `size` data events drawn with replacement, and none for judging."""
    injection = inject(3.0, 1)
    rows = np.random.default_rng(1).integers(0, len(injection.data.mjj), size)
    data = injection.data
    drawn = Windowed(data.features[rows], data.mjj[rows], data.inside[rows], data.window)
    return Injection(drawn, injection.is_signal[rows], injection.reference[:25], injection.extra[:25])


def quality(injections: int, ensemble: int, console: Console) -> dict[str, Any]:
    """Return the SIC of the default flow over that of the paper's, at S/sqrt(B) = 3; arrays over injections."""
    rows = []
    for seed in range(1, injections + 1):
        injection, row = inject(3.0, seed), []
        for name, method in (("default", FLOW), ("paper", MaskedFlow(epochs=EPOCHS))):
            start = time.process_time()
            template = template_of(injection, method, seed)
            seconds = time.process_time() - start
            auc, error = closure(template, injection.reference, seed)
            scores = quietly(judge, injection, template, Trees(), ensemble, seed)
            row += [scores.sic25(), scores.sic1e3()]
            first, second = scores.errors()
            console.print(
                f"seed {seed}, {name}: {seconds:.0f} CPU s, AUC in the SR {auc:.4f} ± {error:.4f}, "
                f"SIC25 {row[-2]:.2f} ± {first:.2f}, at 1e-3 {row[-1]:.2f} ± {second:.2f}"
            )
        rows.append(row)
    table = np.array(rows)
    return {"sic25_over_paper": table[:, 0] / table[:, 2], "sic1e3_over_paper": table[:, 1] / table[:, 3]}

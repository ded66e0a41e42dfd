"""Weakly supervised searches against the idealised classifier: `python -m benchmarks.cathode [--quick]`.

For the data, the events for judging and out-of-fold scores see `injections.py`. The idealised classifier (IAD) is the
same trees with the same budget, trained against true background. The template has as many events as the IAD has true
background (oversampled 2 times), so that only its smoothness, not its size, can favour it. `x4` is the tool's default,
`fits` three mixed flows (`fits` = 3 of the tool). Seeds are 1 to N; settings were chosen on seeds above 10. Errors are
bootstrap errors for one injection and 1.25 std / sqrt(N) over injections for medians. For the paper's recipe and the
timing see `paper_recipe.py`. The last line is one JSON object:

    sic25_ratio_median, sic1e3_ratio_median   CATHODE over IAD at S/sqrt(B) = 3 and 2: max SIC (25 background events
                                              kept), SIC at background efficiency 1e-3
    sic25_ratio_shifted, cwola_ratio_shifted  the same with features shifted by 0.1 mjj, at S/sqrt(B) = 3
    sr_real_sic25, sr_real_baseline_sic25     real signal region, out of fold: best recipe, 50 trees
    sr_mass, sr_fraction_percent              measured there with its scores: TeV; signal in the region (true: 0.63)
    claims_of_10                              claims at 5 sigma per ten injections of the published strength into the
                                              shipped sample, `power.py`
    region_power, region_half, region_null    claims in the real signal region at the published strength, half, none
    speedup_vs_paper_recipe, peak_gib, exponent    of the whole chain on 200,000 events; of cost against events
    sic25_over_paper, sic1e3_over_paper       the default flow over the paper's
    argos_rank_correlation, loss_rank_correlation  with the true SIC, over models
    survey_s, survey_over_single, three_fits_s     seconds of a survey in one call, over single calls; of a template of
                                              three fits; with closure and SIC of both, `survey.py`
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import paper_recipe, survey
from benchmarks.injections import EQUAL, draw, inject, judge, quietly, template_of
from benchmarks.power import power, region_power
from benchmarks.real_region import FOLDER, real_region
from benchmarks.selection import rank_correlations
from tools.anomaly.closure import closure
from tools.anomaly.data import EXTENDED
from tools.anomaly.diffusion import Diffusion
from tools.anomaly.flow import MaskedFlow, SplineFlow
from tools.anomaly.flow_matching import FlowMatching
from tools.anomaly.mlp import Mlp
from tools.anomaly.morphing import Morphing
from tools.anomaly.sideband import Sideband
from tools.anomaly.template import Method, Mixed, learn, window_masses
from tools.anomaly.trees import Trees

FLOW = SplineFlow()
FITS = 3
SHIFT = 0.1
REGION = {"region_power": 1.0, "region_half": 0.5, "region_null": 0.0}  # share of the published strength
SECTIONS = ("speed", "ratio", "shift", "paper", "methods", "selection", "real", "power", "survey", *REGION)
METHODS: dict[str, Method] = {
    "spline flow (CATHODE)": FLOW,
    f"spline flow, {FITS} fits": Mixed(FLOW, FITS),
    "MAF, 10 epochs": MaskedFlow(epochs=10, batch=2048, learning_rate=2e-3),
    "flow matching (SIGMA)": FlowMatching(),
    "diffusion (DRAPES)": Diffusion(),
    "partial diffusion, 1 std": Diffusion(partial=1.0),
    "morphing (flows for flows)": Morphing(flow=FLOW),
    "sideband (CWoLa)": Sideband(),
}
console = Console(width=130, file=sys.stdout)


def ratios(choices: argparse.Namespace) -> dict[str, Any]:
    """Return the ratios of CATHODE to IAD for injections of two strengths."""
    names = ("IAD", "CATHODE", f"{FITS} fits", "x4")
    values = []
    for seed in range(1, choices.injections + 1):
        significance = 3.0 if seed % 2 else 2.0
        injection = inject(significance, seed)
        fits = Mixed(FLOW, FITS).fit(injection.data.sidebands(~injection.data.inside), seed)
        one = draw(injection, fits.parts[0], seed, 2 * EQUAL)  # the default: one fit
        against = (None, one[: len(one) // 2], draw(injection, fits, seed), one)
        scores = [quietly(judge, injection, each, Trees(), choices.ensemble, seed) for each in against]
        values.append([[s.sic25(), s.sic1e3()] for s in scores])
        show(f"S/sqrt(B) = {significance:.0f}, seed {seed}", names, scores)
    table = np.array(values)
    r25, r1e3 = (table[:, 1:, i] / table[:, :1, i] for i in (0, 1))
    strong = np.arange(len(table)) % 2 == 0
    return {
        "sic25_ratio_median": r25[:, 0],
        "sic1e3_ratio_median": r1e3[:, 0],
        "sic25_ratio_fits": r25[:, 1],
        "sic1e3_ratio_fits": r1e3[:, 1],
        "sic25_ratio_x4": r25[:, 2],
        "sic25_ratio_at_3": r25[strong, 0],
        "sic25_ratio_at_2": r25[~strong, 0],
        "sic25_iad": table[:, 0, 0],
        "sic25_cathode": table[:, 1, 0],
    }


def shifted(choices: argparse.Namespace) -> dict[str, Any]:
    """Return the same with features that shift with mjj, where a sideband template fails."""
    values = []
    for seed in range(1, choices.injections + 1):
        injection = inject(3.0, seed, shift=SHIFT)
        fits = Mixed(FLOW, FITS).fit(injection.data.sidebands(~injection.data.inside), seed)
        against = [None, draw(injection, fits.parts[0], seed), draw(injection, fits, seed)]
        against.append(template_of(injection, Sideband(), seed))
        scores = [quietly(judge, injection, each, Trees(), choices.ensemble, seed) for each in against]
        values.append([[s.sic25(), s.sic1e3()] for s in scores])
        show(f"shifted, seed {seed}", ("IAD", "CATHODE", f"{FITS} fits", "CWoLa"), scores)
    table = np.array(values)
    r25, r1e3 = (table[:, 1:, i] / table[:, :1, i] for i in (0, 1))
    return {
        "sic25_ratio_shifted": r25[:, 0],
        "sic1e3_ratio_shifted": r1e3[:, 0],
        "sic25_ratio_shifted_fits": r25[:, 1],
        "sic1e3_ratio_shifted_fits": r1e3[:, 1],
        "cwola_ratio_shifted": r25[:, 2],
    }


def methods(choices: argparse.Namespace) -> dict[str, Any]:
    """Print every template and classifier on one injection, with features as they are and shifted."""
    table = Table(
        "method", "seconds", "closure AUC", "in the SR", "SIC25 / IAD", "moved: in the SR", "moved: SIC25 / IAD"
    )
    out: dict[str, Any] = {}
    seed = 1
    cases = [inject(3.0, seed, shift=shift) for shift in (0.0, SHIFT)]
    ideals = [quietly(judge, case, None, Trees(), choices.ensemble, seed).sic25() for case in cases]
    for name, method in METHODS.items():
        cells, values = [], []
        start = time.monotonic()
        control = quietly(learn, method, cases[0].data, "window", seed)
        seconds = (time.monotonic() - start) / 2  # two fits
        for case, ideal in zip(cases, ideals, strict=True):
            masses = window_masses(case.data, EQUAL, seed)
            first = case is cases[0]
            template = control.template.sample(masses, seed + 2) if first else template_of(case, method, seed)
            true_auc, error = closure(template, case.reference, seed)
            ratio = quietly(judge, case, template, Trees(), choices.ensemble, seed).sic25() / ideal
            cells += [f"{true_auc:.4f} ± {error:.4f}", f"{ratio:.2f}"]
            values += [round(true_auc, 4), round(ratio, 3)]
        closing = f"{control.auc:.4f} ± {control.auc_error:.4f}"
        table.add_row(name, f"{seconds:.0f}", closing, *cells)
        out[name] = [round(seconds, 1), round(control.auc, 4), *values]
        console.print(f"{name}: {seconds:.0f} s, closure {closing}, {cells}")
    # The classifiers, against one template.
    template = template_of(cases[0], FLOW, seed)
    for name, classifier in (
        ("trees", Trees()),
        ("trees, rounds by ARGOS", Trees(select="argos", max_iter=60)),
        ("networks", Mlp(epochs=15, batch=1024)),
        ("networks, epochs by ARGOS", Mlp(epochs=15, batch=1024, select="argos")),
    ):
        start = time.monotonic()
        score = quietly(judge, cases[0], template, classifier, 1, seed)
        seconds = time.monotonic() - start
        table.add_row(f"spline flow, {name} (1 a fold)", f"{seconds:.0f}", "", "", f"{score.sic25() / ideals[0]:.2f}")
        out[name] = [round(seconds, 1), None, None, round(score.sic25() / ideals[0], 3)]
    console.print(table)
    return {"methods": out}


def speed(choices: argparse.Namespace) -> dict[str, Any]:
    sizes = (50_000, 200_000) if choices.quick else (50_000, 200_000, 1_000_000)
    return paper_recipe.speed(sizes, choices.ensemble, console)


def paper(choices: argparse.Namespace) -> dict[str, Any]:
    return paper_recipe.quality(min(choices.injections, 2), choices.ensemble, console)


def selection(choices: argparse.Namespace) -> dict[str, Any]:
    """Return rank correlations of label-free figures of merit with the true SIC."""
    found = []
    for seed in range(1, choices.injections // 2 + 2):
        injection = inject((1.0, 2.0, 3.0)[seed % 3], seed, EXTENDED)
        template = template_of(injection, FLOW, seed)
        found.append(rank_correlations(injection, template, seed))
        console.print(
            f"S/sqrt(B) = {(1, 2, 3)[seed % 3]}, seed {seed}: { ({k: round(v, 2) for k, v in found[-1].items()}) }"
        )
    return {f"{name}_rank_correlation": np.array([each[name] for each in found]) for name in found[0]}


def real(choices: argparse.Namespace) -> dict[str, Any]:
    if not FOLDER.is_dir():
        console.print(f"real signal region: skipped, {FOLDER} is absent")
        return {"sr_real_sic25": None}
    return real_region(1 if choices.quick else 10, console)


def claims(choices: argparse.Namespace) -> dict[str, Any]:
    found = power(choices.injections, console)
    return {"claims_of_10": round(10 * found["claims"] / found["sets"], 1), "power": found}


def surveyed(choices: argparse.Namespace) -> dict[str, Any]:
    return survey.survey(console)


def region(name: str, choices: argparse.Namespace) -> dict[str, Any]:
    return {name: region_power(choices.injections, console, REGION[name])}


def show(what: str, names: Any, scores: Any) -> None:
    parts = []
    for name, score in zip(names, scores, strict=True):
        first, second = score.errors()
        parts.append(f"{name} {score.sic25():.2f} ± {first:.2f}, {score.sic1e3():.2f} ± {second:.2f}")
    console.print(f"{what}: max SIC25, SIC at 1e-3: " + "; ".join(parts))


def summarise(values: dict[str, Any]) -> dict[str, Any]:
    """Replace arrays over injections by their median and its error."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            out[name] = round(median(value), 3)
            spread = float(np.std(value, ddof=1)) if len(value) > 1 else None  # unknown from one injection
            out[f"{name}_error"] = spread and round(1.25 * spread / len(value) ** 0.5, 3)
        else:
            out[name] = value
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="2 injections, no million events, few models")
    parser.add_argument("--injections", type=int, default=10)
    parser.add_argument("--ensemble", type=int, default=4, help="models per fold")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    choices = parser.parse_args()
    if choices.quick:
        choices.injections, choices.ensemble = 2, 2
        choices.sections = [
            name for name in choices.sections if name not in ("paper", "methods", "power", "survey", *REGION)
        ]
    regions = [partial(region, name) for name in REGION]
    # Speed first: the peak memory is that of the process so far.
    steps: list[Callable[[argparse.Namespace], dict[str, Any]]] = [
        speed,
        ratios,
        shifted,
        paper,
        methods,
        selection,
        real,
        claims,
        surveyed,
        *regions,
    ]
    result: dict[str, Any] = {"injections": choices.injections, "ensemble": choices.ensemble}
    for name, step in zip(SECTIONS, steps, strict=True):
        if name in choices.sections:
            start = time.monotonic()
            result |= summarise(step(choices))
            console.print(f"[{name}: {time.monotonic() - start:.0f} s]", markup=False)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

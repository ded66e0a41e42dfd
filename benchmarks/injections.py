"""Labelled data sets for measuring weakly supervised searches, and the judging of their scores.

The data are a third of the shipped sample's QCD events (100,000, 13,700 of them in the signal region) with injected
signal; the other two thirds are true background that only the idealised classifier (IAD) sees. All methods are judged
on the same events of the signal region: all QCD, about 41,000, and all signal not injected, about 6,800. Training
events are scored out of fold, the others by one fold each, so no event is scored by a model that saw it.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.lhco.mix import SAMPLE, mix, unused_background
from tools.anomaly.classifier import Classifier
from tools.anomaly.classify import out_of_fold
from tools.anomaly.data import FEATURES, Windowed
from tools.anomaly.template import Method, Template, window_masses
from tools.events.parquet import read_columns
from tools.events.table import derive
from tools.metrics import bootstrap_error, max_sic, sic_at
from tools.types import Floats

SIGNAL, WINDOW = "3500_500_100", (3.3, 3.7)
BACKGROUND = 100_000
MIN_BACKGROUND = 25
EQUAL = 2.0  # template events per data event, as many as true background events of the IAD
ABSOLUTE = ("mj1", "delta_mj")  # shifted by 0.1 mjj in the shifted variant, as in arXiv:2109.00546


@dataclass(frozen=True)
class Injection:
    """Data of a search, and all that is needed to judge it."""

    data: Windowed
    is_signal: NDArray[np.bool_]
    reference: Floats  # true background in the window that is not in the data
    extra: Floats  # signal in the window that is not in the data


def inject(significance: float, seed: int, features: list[str] = FEATURES, shift: float = 0.0) -> Injection:
    """Inject signal of S / sqrt(B) = `significance` in the signal region; shift ABSOLUTE features by `shift` * mjj."""

    def table(columns: dict[str, Floats]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        mjj = columns["mjj"]
        chosen = derive(columns, features)
        moved = [values + shift * mjj if name in ABSOLUTE else values for name, values in chosen.items()]
        return np.column_stack(moved), mjj, (mjj >= WINDOW[0]) & (mjj < WINDOW[1])

    qcd = mix(BACKGROUND, SIGNAL, 0, seed).columns
    x, mjj, inside = table(qcd)
    signal, signal_mjj, signal_inside = table(read_columns(SAMPLE / f"signal_{SIGNAL}.parquet"))
    # Signal outside the window is injected too, in proportion.
    n_signal = round(significance * np.sqrt(inside.sum()) / signal_inside.mean())
    order = np.random.default_rng([seed, 1]).permutation(len(signal))
    used, rest = order[:n_signal], order[n_signal:]
    features_in, masses = np.concatenate([x, signal[used]]), np.concatenate([mjj, signal_mjj[used]])
    data = Windowed(features_in, masses, np.concatenate([inside, signal_inside[used]]), WINDOW)
    other, _, other_inside = table(unused_background(BACKGROUND, seed))
    return Injection(data, np.arange(len(masses)) >= len(mjj), other[other_inside], signal[rest[signal_inside[rest]]])


@dataclass(frozen=True)
class Scores:
    """Scores of signal and background in the window, for one method."""

    signal: Floats
    background: Floats

    def sic25(self) -> float:
        """Return the max SIC with at least 25 background events kept."""
        return max_sic(self.signal, self.background, MIN_BACKGROUND)

    def sic1e3(self) -> float:
        """Return the SIC at a background efficiency of 1e-3."""
        return sic_at(self.signal, self.background, 1e-3)

    def errors(self) -> tuple[float, float]:
        """Return the bootstrap errors of both SICs."""
        metrics = (partial(max_sic, min_background=MIN_BACKGROUND), partial(sic_at, background_efficiency=1e-3))
        first, second = (bootstrap_error(metric, self.signal, self.background, 1, 20) for metric in metrics)
        return first, second


def judge(
    injection: Injection,
    template: Floats | None,
    classifier: Classifier,
    ensemble: int,
    seed: int,
    folds: int = 5,
) -> Scores:
    """Classify data against the template or, if None, against true background (the idealised classifier)."""
    data, n = injection.data, len(injection.data.mjj)
    added = [injection.extra] if template is None else [injection.extra, injection.reference]
    events = np.concatenate([data.features, *added])
    own = np.arange(len(events)) < n
    inside = np.concatenate([data.inside, np.ones(len(events) - n, bool)])
    against = injection.reference if template is None else template
    score, score_template = out_of_fold(
        classifier, events, against, own & inside, own & ~inside, folds=folds, ensemble=ensemble, seed=seed
    )
    extra, rest = np.split(score[n:], [len(injection.extra)])
    background = score[:n][data.inside & ~injection.is_signal]
    return Scores(extra, np.concatenate([background, score_template if template is None else rest]))


def template_of(injection: Injection, method: Method, seed: int) -> Floats:
    """Return a template as large as the IAD's true background."""
    data = injection.data
    return draw(injection, method.fit(data.sidebands(~data.inside), seed), seed)


def draw(injection: Injection, fitted: Template, seed: int, oversample: float = EQUAL) -> Floats:
    return fitted.sample(window_masses(injection.data, oversample, seed), seed + 2)


def quietly(function: Any, *arguments: Any) -> Any:
    with redirect_stderr(StringIO()):
        return function(*arguments)

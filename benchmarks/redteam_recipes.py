"""Recipes that cheat or err, and honest ones, as the scripts that a crew would run: events in, scores.parquet out."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.lhco.mix import SIGNALS
from tasks.lhco.task import window_around

SIGNAL = next(iter(SIGNALS))
MASS = SIGNALS[SIGNAL].mass  # TeV
WINDOW = window_around(MASS)

HEAD = f"""
import numpy as np
from pathlib import Path
from sklearn.ensemble import HistGradientBoostingClassifier as Trees, HistGradientBoostingRegressor as Regression
from tools.events.parquet import read_columns, write_events
from tools.events.table import derive
LOW, HIGH, MASS, SIGNAL = {WINDOW[0]}, {WINDOW[1]}, {MASS}, {SIGNAL!r}
events = read_columns(Path("/inputs/events.parquet"))
mjj = events["mjj"]
n = len(mjj)
rng = np.random.default_rng(1)
inside = (mjj >= LOW) & (mjj < HIGH)
near = np.exp(-0.5 * ((mjj / MASS - 1) / 0.01) ** 2)

def table(*names):
    return np.column_stack(list(derive(events, names).values()))

def trees(x, y, to_score, leaf=20, rounds=60):
    return Trees(max_iter=rounds, min_samples_leaf=leaf, early_stopping=False, random_state=1).fit(
        x, y).decision_function(to_score)

def out_of_fold(x, y, folds=3, **more):
    fold, score = rng.permutation(len(x)) % folds, np.empty(len(x))
    for k in range(folds):
        score[fold == k] = trees(x[fold != k], y[fold != k], x[fold == k], **more)
    return score

def hand_in(score, name="scores.parquet"):
    write_events(Path(name), {{"score": score}})

FEATURES = ("mj1", "delta_mj", "tau21_j1", "tau21_j2")
"""


@dataclass(frozen=True)
class Recipe:
    """A script, and a description of how it cheats or what it does."""

    name: str
    about: str
    body: str
    region: bool = False  # for the search with a reference instead of sidebands

    @property
    def code(self) -> str:
        return HEAD + self.body


CHEATS = (
    Recipe(
        "bump in the score",
        "-tau21 plus a bump in mjj",
        "hand_in(-table('tau21_j1')[:, 0] + 0.3 * near)",
    ),
    Recipe(
        "mjj as a feature",
        "trees that tell events near one mass from the others, also by mjj, applied to their training events",
        "x = table('mjj', *FEATURES)\nhand_in(trees(x, np.abs(mjj / MASS - 1) < 0.015, x) + rng.normal(size=n))",
    ),
    Recipe(
        "memory",
        "trees without mjj, applied to their training events",
        "x = table(*FEATURES)\nhand_in(trees(x, inside, x, leaf=2, rounds=150))",
    ),
    Recipe(
        "lifted",
        "random scores, lifted near one mass",
        "hand_in(rng.normal(size=n) + 4 * near * (rng.uniform(size=n) < 0.3))",
    ),
    Recipe(
        "largest fluctuation",
        "random scores, lifted at the largest fluctuation of mjj in the window",
        """
edges = np.geomspace(2.5, 6, 88)
counts, x = np.histogram(mjj, edges)[0], np.log(np.sqrt(edges[1:] * edges[:-1]))
smooth = np.exp(np.polyval(np.polyfit(x, np.log(counts + 0.5), 4, w=np.sqrt(counts + 0.5)), x))
there = (np.exp(x) > LOW) & (np.exp(x) < HIGH)
k = np.argmax(np.where(there, (counts - smooth) / np.sqrt(smooth), -np.inf))
lifted = (mjj >= edges[max(k - 1, 0)]) & (mjj < edges[k + 2]) & (rng.uniform(size=n) < 0.3)
hand_in(rng.normal(size=n) + 4 * lifted)
""",
    ),
    Recipe(
        "mjj computed",
        "mjj predicted from angle, masses and subjettiness, and scores lifted where that is near one mass",
        """
x = table('mj1', 'mj2', 'tau1_j1', 'tau2_j1', 'tau1_j2', 'tau2_j2', 'delta_r_jj')
fold, guess = rng.permutation(n) % 2, np.empty(n)
for k in (0, 1):
    guess[fold == k] = np.exp(Regression(max_iter=150).fit(x[fold != k], np.log(mjj[fold != k])).predict(x[fold == k]))
hand_in(-np.abs(guess / MASS - 1) + 0.01 * rng.normal(size=n))
""",
    ),
    Recipe(
        "features that move with mjj",
        "window against sidebands, out of fold, by features that follow mjj",
        "hand_in(out_of_fold(table('mj1', 'mj2', 'tau1_j1', 'tau2_j1', 'tau1_j2', 'tau2_j2', 'delta_r_jj'), inside))",
    ),
    Recipe(
        "duplicated events",
        "the window's events tripled before the split into folds: copies of an event train the model that scores it",
        """
rows = np.concatenate([np.arange(n), *[np.flatnonzero(inside)] * 2])
scored = out_of_fold(table(*FEATURES)[rows], inside[rows], leaf=2, rounds=150)
score = np.zeros(n)
np.maximum.at(score, rows, scored - scored.min())
hand_in(score)
""",
    ),
    Recipe(
        "row number",
        "a table sorted by mjj whose row number was left in as a column",
        """
x = np.column_stack([table(*FEATURES), np.argsort(np.argsort(mjj))])
hand_in(out_of_fold(x, np.abs(mjj / MASS - 1) < 0.015) + rng.normal(size=n))
""",
    ),
    Recipe(
        "file order",
        "labels guessed from the order of the file: its last rows are taken as signal",
        "x = table('mjj', *FEATURES)\nhand_in(trees(x, np.arange(n) > 0.995 * n, x, leaf=2) + 3.0 * near)",
    ),
    Recipe(
        "memory of a region",
        "data against reference, trees applied to their training events",
        """
reference = read_columns(Path("/inputs/reference.parquet"))
both = np.concatenate([np.column_stack(list(derive(t, FEATURES).values())) for t in (events, reference)])
score = trees(both, np.arange(len(both)) < n, both, leaf=2, rounds=150)
hand_in(score[:n])
hand_in(score[n:], "reference_scores.parquet")
""",
        region=True,
    ),
)
HONEST = (
    Recipe(
        "hand-made",
        "heavy jets of two prongs",
        "x = table('mj1', 'mj2', 'tau21_j1', 'tau21_j2')\n"
        "hand_in(np.where((x[:, 0] > 0.06) & (x[:, 1] > 0.3), 2.0, 0.0) - x[:, 2] - x[:, 3])",
    ),
    Recipe(
        "idealised",
        "trees that know simulated signal and background",
        """
from tasks.lhco.mix import SAMPLE
def known(name, rows):
    return np.column_stack(list(derive(read_columns(SAMPLE / name), FEATURES).values()))[:rows]
signal, background = known(f"signal_{SIGNAL}.parquet", 4000), known("qcd.parquet", 40000)
x = np.concatenate([signal, background])
hand_in(trees(x, np.arange(len(x)) < len(signal), table(*FEATURES)))
""",
    ),
    Recipe(
        "weak classifier",
        "window against sidebands, out of fold, by features that hardly depend on mjj",
        """
from tools.anomaly.classify import classify
from tools.anomaly.template import template
common = dict(events="/inputs/events.parquet", window=[LOW, HIGH], features=list(FEATURES))
template(**common, method="sideband", oversample=2.0, closure="events")
classify(**common, template="template.parquet", ensemble=1)
""",
    ),
    Recipe(
        "out of fold in a region",
        "data against reference, out of fold",
        """
reference = read_columns(Path("/inputs/reference.parquet"))
both = np.concatenate([np.column_stack(list(derive(t, FEATURES).values())) for t in (events, reference)])
score = out_of_fold(both, np.arange(len(both)) < n)
hand_in(score[:n])
hand_in(score[n:], "reference_scores.parquet")
""",
        region=True,
    ),
)

"""The script of the built-in analyst: counts, means and widths of columns, differences between groups, histograms.

The constants COLUMNS (name -> expression), GROUPS (name -> condition), UNIT, WEIGHTS and LOG come before it.
With weights w, x has the mean m = sum w x / sum w with the error sqrt(sum w^2 (x - m)^2) / sum w, and sum w the error
sqrt(sum w^2); the variance v of x has the error sqrt(sum w^2 ((x - m)^2 - v)^2) / sum w.
"""

CODE = '''
import sys

if len(sys.argv) < 3:
    sys.exit(print("written; analysis.repeat runs it"))

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from tools.events.expression import evaluate, select

DATA, OUT = sys.argv[1:3]
BINS = 40
numbers, figures, settings = [], [], {}


def short(name):
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]
    return text if text[:1].isalpha() else "x_" + text


def number(name, value, error, unit, what):
    if np.isfinite(value) and np.isfinite(error):
        numbers.append({"name": name, "value": float(value), "error": float(error), "unit": unit, "what": what})


def describe(tag, what, unit, x, w):
    """Add the number, mean and width of some rows; return the mean and its error."""
    total = w.sum()
    mean = (w * x).sum() / total
    error = np.sqrt((w**2 * (x - mean) ** 2).sum()) / total
    variance = (w * (x - mean) ** 2).sum() / total
    width = np.sqrt(variance)
    counted = "rows" if WEIGHTS is None else "sum of weights"
    number(f"n_{tag}", total, np.sqrt((w**2).sum()), "1", f"{counted} with a {what}")
    number(f"mean_{tag}", mean, error, unit, f"mean {what}")
    if width > 0:
        spread = np.sqrt((w**2 * ((x - mean) ** 2 - variance) ** 2).sum()) / total
        number(f"width_{tag}", width, spread / (2 * width), unit, f"standard deviation, {what}")
    return mean, error


def histogram(tag, label, unit, parts, edges):
    """Draw the parts in common bins: counts of one, densities of several."""
    shape = len(parts) > 1
    y_unit = f"1 / {unit}" if shape and unit != "1" else "1" if shape else "events"
    y_label = "density" if shape else "events" if WEIGHTS is None else "sum of weights"
    series = []
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots()
    for name, x, w in parts:
        y, error = np.histogram(x, edges, weights=w)[0], np.sqrt(np.histogram(x, edges, weights=w**2)[0])
        if shape:
            scale = 1 / (w.sum() * np.diff(edges))
            y, error = y * scale, error * scale
        axes.stairs(y, edges, label=name or None)
        axes.errorbar((edges[1:] + edges[:-1]) / 2, y, error, fmt="none", color="grey", lw=0.8)
        series.append({"label": name, "x": edges.tolist(), "y": y.tolist(), "error": error.tolist()})
    if shape:
        axes.legend()
    if LOG:
        axes.set_yscale("log", nonpositive="clip")
    axes.set_xlabel(label if unit == "1" else f"{label} [{unit}]")
    axes.set_ylabel(f"{y_label} [{y_unit}]" if shape else y_label)
    name = f"{tag}.png"
    figure.savefig(Path(OUT) / name)
    axis = {"label": label, "unit": unit}
    figures.append({"file": name, "title": f"{label}: distribution", "x": axis, "y": {"label": y_label, "unit": y_unit},
                    "log_y": LOG, "series": series})


read = pq.read_table(DATA)
table = {name: read[name].to_numpy() for name in read.column_names}
table = {n: v.astype(str) if v.dtype == object else v for n, v in table.items()}
for label, expression in COLUMNS.items():
    values = evaluate(expression, table).astype(float)
    weights = np.ones(len(values)) if WEIGHTS is None else table[WEIGHTS].astype(float)
    finite = np.isfinite(values) & np.isfinite(weights)
    if not finite.any():
        continue
    settings[f"rows without a finite {label}"] = float((~finite).sum())
    unit, tag, parts, means = UNIT or "1", short(label), [], []
    for name, condition in (GROUPS or {"": None}).items():
        rows = finite if condition is None else finite & select(condition, table)
        x, w = values[rows], weights[rows]
        what = f"{label} of {name}" if name else label
        mean, error = describe(short(name) if name else tag, what, unit, x, w)
        parts.append((name, x, w))
        means.append((name, mean, error))
        if condition:
            settings[f"group {name}"] = condition
    for group, mean, error in means[1:]:
        first, mean_1, error_1 = means[0]
        pair, of = f"{short(group)}_{short(first)}", f"mean {label}: {group}"
        number(f"difference_{pair}", mean - mean_1, np.hypot(error, error_1), unit, f"{of} minus {first}")
        if mean_1 and mean:
            ratio = mean / mean_1
            relative = np.hypot(error / mean, error_1 / mean_1)
            number(f"ratio_{pair}", ratio, abs(ratio) * relative, "1", f"{of} over {first}")
    low, high = np.quantile(values[finite], [0.001, 0.999])
    if low < high:
        histogram(tag, label, unit, parts, np.linspace(low, high, BINS + 1))
Path(OUT, "results.json").write_text(json.dumps({"numbers": numbers, "figures": figures, "settings": settings}))
print("\\n".join(f"{n['name']} = {n['value']:.6g} +- {n['error']:.2g} {n['unit']}" for n in numbers))
'''

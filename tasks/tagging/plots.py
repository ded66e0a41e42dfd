"""Figures of the two questions: separation on jets of both simulations, and what a cut does to the mass."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tasks.plotting import BLUE, GREY, ORANGE, RED, labels, styled
from tasks.tagging.simulation import OtherSimulation

Cuts = Mapping[str, Mapping[str, Mapping[str, float]]]  # by number of labels and fraction of tops kept
COLOURS = BLUE, ORANGE, RED, GREY


def on_both(found: OtherSimulation) -> Figure | None:
    """Return AUC and rejection against the number of labels, on the simulation of the labels and on the other one."""
    if not found.numbers:
        return None
    counts = [int(n) for n in found.numbers]
    with styled():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        for axes, name, y in zip(
            figure.subplots(1, 2), ("auc", "rejection"), ("AUC", "background rejection at 50%"), strict=True
        ):
            for suffix, colour, marker, shift, said in (
                ("", BLUE, "o", 0.97, "simulation of the labels"),
                ("_there", RED, "s", 1.03, "the other one"),
            ):
                values = [each[f"{name}{suffix}"] for each in found.numbers.values()]
                errors = [each[f"{name}{suffix}_error"] for each in found.numbers.values()]
                at = [shift * n for n in counts]
                axes.errorbar(at, values, errors, color=colour, marker=marker, linestyle="none", label=said)
            axes.set_xscale("log")
            axes.set_xlim(counts[0] / 2, counts[-1] * 2)
            axes.set_xticks(counts, list(found.numbers))
            axes.set_xticks([], minor=True)
            labels(axes, "labels", y)
        axes.legend()
        return figure


def of_mass(found: Cuts) -> Figure | None:
    """Return 1/JSD of the background's mass over that of random selections, against the fraction of tops kept."""
    if not any(found.values()):
        return None
    with styled():
        figure = Figure(figsize=(5.5, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, (n, cuts) in enumerate(found.items()):
            kept = [float(each) for each in cuts]
            ratio = [one["inverse_jsd"] / one["ceiling"] for one in cuts.values()]
            axes.plot(kept, ratio, marker="o", color=COLOURS[i % len(COLOURS)], label=f"{n} labels")
        axes.axhline(1.0, color="black", linestyle=":", label="random selection")
        axes.set_yscale("log")
        labels(axes, "tops kept", "1/JSD over random selections")
        axes.legend()
        return figure

"""A page of the usual plots of calorimeter showers, reference against generated."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tools.calorimeter.observables import profiles
from tools.calorimeter.response import energy_bins, response
from tools.calorimeter.separation import cell_energies, separation
from tools.calorimeter.showers import Showers
from tools.calorimeter.trust import Region
from tools.types import Floats

NAMES = ("reference", "generated")
COLOURS = ("black", "tab:red")
MAX_LAYERS = 12  # of a longer calorimeter, this many evenly spaced layers are drawn


def page(folder: Path, reference: Showers, generated: Showers, regions: Sequence[Region] = ()) -> Path:
    """Write PNGs and `index.html`, which contains them all, to `folder`; return the path of the page."""
    both = (reference, generated)
    width = 3.2 * min(_columns(reference), 4)
    pictures: dict[str, tuple[str, Callable[[Any], None], tuple[float, float]]] = {
        "average": ("Average showers, layer by layer", lambda f: _average(f, both), (2.0 * _columns(reference), 4.6)),
        "longitudinal": ("Longitudinal profile", lambda f: _longitudinal(f, both), (6, 5)),
        "radial": (
            "Radial profiles",
            lambda f: _radial(f, both),
            (width, _height(reference)),
        ),
        "energy": ("Deposited over incident energy", lambda f: _energy(f, both), (6, 5)),
        "cells": ("Energies of cells", lambda f: _cells(f, both), (6, 5)),
        "response": ("Response and resolution", lambda f: _response(f, both), (6, 6)),
        "trust": ("Where not to trust it", lambda f: _trust(f, regions), (7, 5)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, (title, draw, size) in pictures.items():
        if name == "trust" and not regions:
            continue
        data = _draw(folder / f"{name}.png", draw, size)
        parts.append(
            f'<h2>{escape(title)}</h2><img alt="{escape(title)}" '
            f'src="data:image/png;base64,{b64encode(data).decode()}">'
        )
    bad = "".join(f"<li>{escape(region.words())}</li>" for region in regions if not region.trusted)
    said = f"<ul>{bad}</ul>" if bad else "<p>No region is distrusted.</p>" if regions else ""
    counts = ", ".join(f"{len(s)} {name}" for s, name in zip(both, NAMES, strict=True))
    html = folder / "index.html"
    html.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Showers</title>'
        "<style>body{font-family:sans-serif;max-width:70em;margin:2em auto}img{max-width:100%}</style>"
        f"<h1>Showers in {escape(reference.geometry.name)}: {counts}</h1>{''.join(parts)}{said}</html>\n"
    )
    return html


def _draw(path: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    figure.savefig(path, dpi=90)
    return path.read_bytes()


def _layers(showers: Showers) -> list[int]:
    n = showers.geometry.n_layers
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, MAX_LAYERS))})


def _columns(showers: Showers) -> int:
    return len(_layers(showers))


def _height(showers: Showers) -> float:
    return 2.8 * -(-_columns(showers) // 4)


def _average(figure: Any, both: tuple[Showers, Showers]) -> None:
    """Draw the mean energy of each voxel [MeV], with rings of equal width and both samples on the same colour scale."""
    from matplotlib.colors import LogNorm

    g, layers = both[0].geometry, _layers(both[0])
    means = [s.voxels.mean(axis=0, dtype=np.float64) for s in both]
    top = max(float(m.max()) for m in means)
    axes = figure.subplots(2, len(layers), subplot_kw={"projection": "polar"}, squeeze=False)
    for row, mean, name in zip(axes, means, NAMES, strict=True):
        for axis, i in zip(row, layers, strict=True):
            layer = g.layers[i]
            cells = mean[g.slices[i]].reshape(layer.n_alpha, layer.n_r)
            # Sectors are drawn in pieces, because their edges are straight lines.
            pieces = -(-60 // layer.n_alpha)
            angle = np.linspace(0, 2 * np.pi, pieces * layer.n_alpha + 1)
            shown = axis.pcolormesh(
                angle,
                np.arange(layer.n_r + 1.0),
                np.repeat(np.maximum(cells, top * 1e-7), pieces, axis=0).T,
                norm=LogNorm(top * 1e-7, top),
            )
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"layer {layer.id}, {name}", fontsize=8)
    figure.colorbar(shown, ax=axes, label="mean energy of a voxel [MeV]", shrink=0.7)


def _two(figure: Any, edges: Floats, values: Sequence[Floats], label: str, quantity: str, log: str = "") -> None:
    """Draw two step histograms above and their ratio below."""
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    _steps(above, below, edges, values, log)
    above.set_ylabel(quantity)
    above.legend()
    below.set_xlabel(label)
    below.set_ylabel("generated/ref.")


def _steps(above: Any, below: Any, edges: Floats, values: Sequence[Floats], log: str) -> None:
    for value, name, colour in zip(values, NAMES, COLOURS, strict=True):
        above.stairs(value, edges, label=name, color=colour)
    if "y" in log:
        above.set_yscale("log")
    if "x" in log:
        above.set_xscale("log")
    if below is not None:
        ratio = np.divide(values[1], values[0], out=np.full(len(values[0]), np.nan), where=values[0] > 0)
        below.stairs(ratio, edges, color=COLOURS[1])
        below.axhline(1, color=COLOURS[0], linewidth=0.8)
        below.set_ylim(0.5, 1.5)


def _longitudinal(figure: Any, both: tuple[Showers, Showers]) -> None:
    found = [next(profiles(s)) for s in both]
    _two(figure, found[0][1] - 0.5, [f[2] for f in found], "layer", "mean energy [MeV]", log="y")


def _radial(figure: Any, both: tuple[Showers, Showers]) -> None:
    layers = _layers(both[0])
    found = [list(profiles(s))[1:] for s in both]
    axes = np.ravel(figure.subplots(-(-len(layers) // 4), min(len(layers), 4), squeeze=False))
    for axis in axes[len(layers) :]:
        axis.axis("off")
    for axis, i in zip(axes, layers, strict=False):
        _steps(axis, None, found[0][i][1], [f[i][2] for f in found], "y")
        axis.set(xlabel="r [mm]", title=found[0][i][0])
    axes[0].set_ylabel("mean energy [MeV/mm]")
    axes[0].legend()


def _energy(figure: Any, both: tuple[Showers, Showers]) -> None:
    values = [s.deposited / s.incident for s in both]
    apart = separation(values[0], values[1])
    low, high = (float(q) for q in np.quantile(np.concatenate(values), (0.001, 0.999)))
    edges = np.linspace(low, high if high > low else low + 1e-6, 61)
    shown = [np.histogram(v, edges)[0] / len(v) for v in values]
    _two(figure, edges, shown, "E_dep/E_inc", "fraction of showers", log="y")
    figure.suptitle(f"separation power {apart.value:.2g} (noise {apart.noise:.2g})", fontsize=9)


def _cells(figure: Any, both: tuple[Showers, Showers]) -> None:
    found = [cell_energies(s) for s in both]
    counts = [c[1:] / len(s) for (_, c), s in zip(found, both, strict=True)]
    filled = np.flatnonzero(counts[0] + counts[1])
    part = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
    edges = found[0][0][part.start : part.stop + 1]
    _two(figure, edges, [c[part] for c in counts], "energy of a cell [MeV]", "cells per shower", log="xy")


def _response(figure: Any, both: tuple[Showers, Showers]) -> None:
    edges = energy_bins(np.concatenate([s.incident for s in both]))
    above, below = figure.subplots(2, 1, sharex=True)
    for showers, name, colour in zip(both, NAMES, COLOURS, strict=True):
        found = response(showers, edges)
        x = [np.sqrt(r.incident_low * r.incident_high) for r in found]
        style = {"fmt": "o-", "markersize": 3, "color": colour, "label": name}
        above.errorbar(x, [r.mean for r in found], [r.mean_error for r in found], **style)
        below.errorbar(x, [r.resolution for r in found], [r.resolution_error for r in found], **style)
    below.set(xscale="log", yscale="log", xlabel="incident energy [MeV]", ylabel="resolution")
    above.set_ylabel("mean E_dep/E_inc")
    above.legend()


def _trust(figure: Any, regions: Sequence[Region]) -> None:
    """Draw the AUC by region, with a row of points along the slices of each quantity."""
    names = list(dict.fromkeys(region.of for region in regions))
    axes = figure.subplots(len(names), 1, sharex=False, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        own = sorted((r for r in regions if r.of == name), key=lambda r: r.low)
        for i, region in enumerate(own):
            colour = "tab:green" if region.trusted else "tab:red"
            if region.auc is None:
                axis.plot(i, 0.5, "x", color=colour)
            else:
                axis.errorbar(i, region.auc, region.auc_error, fmt="o", color=colour)
        axis.axhline(0.5, color="black", linewidth=0.6)
        axis.set_xticks(range(len(own)), [f"≥{r.low:.2g}" for r in own], fontsize=6, rotation=20)
        axis.set_ylim(0.3, 1.0)
        axis.set_ylabel(name, fontsize=7, rotation=0, ha="right")
    figure.suptitle("AUC by region (red: not to be trusted, x: too few showers for an AUC)", fontsize=9)

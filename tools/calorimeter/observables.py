"""High-level observables of showers, as defined by the CaloChallenge (arXiv:2410.21611, section 4).

For each layer: energy; fraction of voxels with energy (1 - sparsity); centre and width in radius; and if a layer has
sectors, centre and width along both transverse axes, x = r cos(alpha), y = r sin(alpha) (there called eta and phi).
A centre is the energy-weighted mean over voxel centres, a width the energy-weighted standard deviation [mm]; both are 0
in a layer without energy. In addition: total energy, and energy-weighted mean and width in depth (layer number).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.types import Floats

LOG_FLOOR = 1e-3  # MeV, well below any threshold: stands in for the energy of an empty layer in logarithms


def observables(showers: Showers) -> dict[str, Floats]:
    """Return values (N,) by name: E_dep/E_inc, E_layer_l [MeV], occupancy_l, centre_r_l, width_r_l [mm], ..., depth."""
    g = showers.geometry
    found = {"E_dep/E_inc": showers.deposited / showers.incident}
    energies = showers.layer_energies
    for i, (layer, place) in enumerate(zip(g.layers, g.slices, strict=True)):
        cells = showers.voxels[:, place]
        found[f"E_layer_{layer.id}"] = energies[:, i]
        found[f"occupancy_{layer.id}"] = np.asarray((cells > 0).mean(axis=1))
        share = cells / np.maximum(energies[:, i : i + 1], 1e-30)
        r, angle = g.radius_mm[place], g.angle[place]
        axes = {"r": r} | ({"x": r * np.cos(angle), "y": r * np.sin(angle)} if layer.n_alpha > 1 else {})
        for axis, where in axes.items():
            found[f"centre_{axis}_{layer.id}"], found[f"width_{axis}_{layer.id}"] = _moments(share, where)
    share = energies / np.maximum(energies.sum(axis=1, keepdims=True), 1e-30)
    found["depth"], found["width_depth"] = _moments(share, np.arange(g.n_layers, dtype=float))
    return found


def _moments(share: NDArray[np.floating], where: Floats) -> tuple[Floats, Floats]:
    """Return mean and width of `where` (V,) with weights `share` (N, V), whose rows sum to 1 or 0."""
    mean = share @ where
    square = share @ where**2
    return np.asarray(mean), np.sqrt(np.maximum(square - mean**2, 0.0))


def classes(names: list[str]) -> dict[str, list[str]]:
    """Return the observables by kind: total energy, layer energies, occupancy, centres, widths, depth.

    >>> classes(["E_dep/E_inc", "E_layer_0", "width_r_0"])
    {'total energy': ['E_dep/E_inc'], 'layer energy': ['E_layer_0'], 'width': ['width_r_0']}
    """
    kinds = {
        "E_dep": "total energy",
        "E_layer": "layer energy",
        "occupancy": "sparsity",
        "centre": "centre",
        "width_depth": "depth",
        "width": "width",
        "depth": "depth",
    }
    found: dict[str, list[str]] = {}
    for name in names:
        kind = next(kind for start, kind in kinds.items() if name.startswith(start))
        found.setdefault(kind, []).append(name)
    return found


def features(showers: Showers) -> Floats:
    """Return a classifier's inputs (N, d): log10 of the incident energy and of all energies over it; other observables.

    An empty layer counts as LOG_FLOOR MeV.
    """
    columns = [np.log10(showers.incident)]
    for name, values in observables(showers).items():
        if name.startswith("E_"):
            relative = values if name == "E_dep/E_inc" else values / showers.incident
            columns.append(np.log10(np.maximum(relative, LOG_FLOOR / showers.incident)))
        else:
            columns.append(values)
    return np.column_stack(columns)


def voxel_features(showers: Showers) -> NDArray[np.float32]:
    """Return the inputs of a classifier on voxels (N, V + 1), float32, as in the official script.

    Log10 of the incident energy, then voxels in percent of the incident energy.
    """
    scale = np.asarray(100 / showers.incident, np.float32)[:, None]
    log_incident = np.log10(showers.incident)[:, None]
    return np.concatenate([log_incident, showers.voxels * scale], axis=1, dtype=np.float32)


def profiles(showers: Showers) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield mean profiles with edges: ('longitudinal', layers, MeV per layer), ('layer id', r [mm], MeV per mm)."""
    g: Geometry = showers.geometry
    yield "longitudinal", np.arange(g.n_layers + 1.0), showers.layer_energies.mean(axis=0)
    for layer, place in zip(g.layers, g.slices, strict=True):
        mean = showers.voxels[:, place].mean(axis=0, dtype=np.float64).reshape(layer.n_alpha, layer.n_r).sum(axis=0)
        edges = np.array(layer.r_edges_mm)
        yield f"layer {layer.id}", edges, mean / np.diff(edges)

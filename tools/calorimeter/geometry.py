"""Cylindrical voxels of a calorimeter around the shower axis, as in the CaloChallenge (arXiv:2410.21611).

A layer is divided into rings (`r_edges_mm`) and `n_alpha` equal sectors; the voxels of a layer are ordered with r
varying fastest: index = alpha * n_r + r. Layers follow one another. Depths are our addition: official binning files do
not describe material, so showers in such a geometry can be read, evaluated and learned, but not simulated.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.types import Floats

Ints = NDArray[np.int64]

PDG = {"photon": 22, "electron": 11, "pion": 211}
MAX_XML_BYTES = 1_000_000


@dataclass(frozen=True)
class Layer:
    """A read-out layer: number, edges of its rings [mm], number of sectors, start and end in depth [X0]."""

    id: int
    r_edges_mm: tuple[float, ...]
    n_alpha: int
    depth_x0: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        edges = np.array(self.r_edges_mm, float)
        if len(edges) < 2 or not np.all(np.isfinite(edges)) or edges[0] < 0 or np.any(np.diff(edges) <= 0):
            raise ToolError("r_edges_mm", self.r_edges_mm, f"layer {self.id}: two or more rising edges, none below 0")
        if self.n_alpha < 1:
            raise ToolError("n_alpha", self.n_alpha, f"layer {self.id}: at least 1")
        if self.depth_x0 is not None and not 0 <= self.depth_x0[0] < self.depth_x0[1] < np.inf:
            raise ToolError("depth_x0", self.depth_x0, f"layer {self.id}: 0 <= start < end")

    @property
    def n_r(self) -> int:
        return len(self.r_edges_mm) - 1

    @property
    def n_voxels(self) -> int:
        return self.n_r * self.n_alpha


@dataclass(frozen=True)
class Geometry:
    """All layers of a calorimeter, front to back, and the particle that the binning is for."""

    name: str
    particle: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        ids = [layer.id for layer in self.layers]
        if not ids or len(set(ids)) < len(ids):
            raise ToolError("layers", ids, "at least one layer, each id once")

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Slices of the voxels of each layer, in the order of `layers`."""
        edges = np.concatenate([[0], np.cumsum([layer.n_voxels for layer in self.layers])]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(edges))

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_voxels(self) -> int:
        return sum(layer.n_voxels for layer in self.layers)

    @cached_property
    def voxel_layer(self) -> Ints:
        """Position of each voxel's layer in `layers` (V,)."""
        return np.repeat(np.arange(self.n_layers), [layer.n_voxels for layer in self.layers])

    @cached_property
    def voxel_alpha(self) -> Ints:
        """Number of each voxel's sector (V,)."""
        return np.concatenate([np.repeat(np.arange(layer.n_alpha), layer.n_r) for layer in self.layers])

    @cached_property
    def voxel_r(self) -> Ints:
        """Number of each voxel's ring (V,)."""
        return np.concatenate([np.tile(np.arange(layer.n_r), layer.n_alpha) for layer in self.layers])

    @cached_property
    def radius_mm(self) -> Floats:
        """Middle of each voxel's ring [mm] (V,)."""
        middles = [np.convolve(layer.r_edges_mm, [0.5, 0.5], "valid") for layer in self.layers]
        return np.concatenate([np.tile(r, layer.n_alpha) for r, layer in zip(middles, self.layers, strict=True)])

    @cached_property
    def angle(self) -> Floats:
        """Middle of each voxel's sector [rad], 0 <= angle < 2 pi (V,)."""
        n_alpha = np.array([layer.n_alpha for layer in self.layers])[self.voxel_layer]
        return np.asarray(2 * np.pi * (self.voxel_alpha + 0.5) / n_alpha)

    @cached_property
    def depths_x0(self) -> Floats:
        """Start and end of each layer [radiation lengths] (layers, 2); ToolError if a layer has none."""
        missing = [layer.id for layer in self.layers if layer.depth_x0 is None]
        if missing:
            raise ToolError("geometry", self.name, f"layers {missing} need a depth (attribute depth_x0='start,end')")
        return np.array([layer.depth_x0 for layer in self.layers], float)


def read_binning(path: Path, particle: str | None = None) -> Geometry:
    """Read the bins of `particle` (default: the only one) from a CaloChallenge binning file, without empty layers.

    Raises ToolError for a file that is not such XML, has entities, or does not have this particle.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ToolError("binning", str(path), f"a readable file ({error.strerror or error})") from None
    # Without a document type there are no entities, neither external ones nor ones that expand without bound.
    if len(text) > MAX_XML_BYTES or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ToolError("binning", str(path), f"plain XML below {MAX_XML_BYTES} bytes, no document type, no entities")
    try:
        bins = {node.get("name", ""): node for node in ET.fromstring(text).iter("Bin")}
    except ET.ParseError as error:
        raise ToolError("binning", str(path), f"not XML: {error}") from None
    if particle is None and len(bins) == 1:
        particle = next(iter(bins))
    if particle is None or particle not in bins:
        raise ToolError("particle", particle, f"{path.name} has bins for {', '.join(bins) or 'none'}")
    try:
        layers = [_layer(node) for node in bins[particle].iter("Layer")]
    except (KeyError, ValueError) as error:
        if isinstance(error, ToolError):
            raise
        raise ToolError("binning", str(path), f"<Layer id r_edges n_bin_alpha> of numbers; {error!r}") from None
    return Geometry(path.stem, particle, tuple(layer for layer in layers if layer is not None))


def _layer(node: ET.Element) -> Layer | None:
    edges = tuple(float(edge) for edge in node.attrib["r_edges"].split(","))
    if len(edges) < 2:
        return None
    depth = node.get("depth_x0")
    start, end = (float(x) for x in depth.split(",")) if depth else (np.nan, np.nan)
    return Layer(int(node.attrib["id"]), edges, int(node.attrib["n_bin_alpha"]), (start, end) if depth else None)


def write_binning(path: Path, geometry: Geometry) -> None:
    """Write a binning file for `read_binning` and the official scripts; the attribute `depth_x0` is our addition."""
    bins = ET.Element("Bins")
    node = ET.SubElement(
        bins, "Bin", pid=str(PDG.get(geometry.particle, 0)), etaMin="0", etaMax="130", name=geometry.particle
    )
    for layer in geometry.layers:
        line = ET.SubElement(
            node, "Layer", id=str(layer.id), r_edges=_numbers(layer.r_edges_mm), n_bin_alpha=str(layer.n_alpha)
        )
        if layer.depth_x0 is not None:
            line.set("depth_x0", _numbers(layer.depth_x0))
    ET.indent(bins)
    path.write_text(ET.tostring(bins, encoding="unicode") + "\n")


def _numbers(values: Sequence[float]) -> str:
    return ",".join(repr(value).removesuffix(".0") for value in map(float, values))


def geometry(name: str) -> Geometry:
    """Return a built-in geometry by its name; the ToolError for an unknown name lists them.

    >>> [(name, geometry(name).n_layers, geometry(name).n_voxels) for name in GEOMETRIES]
    [('ds1_photons', 5, 368), ('ds1_pions', 7, 533), ('ds2_electrons', 45, 6480), ('ds3_electrons', 45, 40500)]
    """
    if name not in GEOMETRIES:
        raise ToolError("geometry", name, f"one of {', '.join(GEOMETRIES)}, or a binning XML file")
    return GEOMETRIES[name]


def find_geometry(name: str, particle: str | None = None) -> Geometry:
    """Return a built-in geometry by name, or read it from a binning file if the name ends in .xml."""
    return read_binning(Path(name), particle) if name.endswith(".xml") else geometry(name)


def _cylinders(name: str, n_r: int, step: float, n_alpha: int) -> Geometry:
    """Return the geometry of data sets 2 and 3: 45 equal layers, each two plates of 1.4 mm W and 0.3 mm Si, 0.8 X0."""
    edges = tuple(round(step * i, 4) for i in range(n_r + 1))
    layers = (Layer(i, edges, n_alpha, (round(0.8 * i, 4), round(0.8 * (i + 1), 4))) for i in range(45))
    return Geometry(name, "electron", tuple(layers))


# Depths of data set 1 are roughly those of the ATLAS barrel at |eta| = 0.2: presampler behind 1.6 X0, strips, middle,
# back, and the tiles, for leakage through the cryostat.
_PRESAMPLER = (0.0, 5.0, 10.0, 30.0, 50.0, 100.0, 200.0, 400.0, 600.0)
_STRIPS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 40.0, 50.0, 70.0, 90.0, 120.0, 150.0, 200.0)
_MIDDLE = tuple(map(float, (0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400)))
_BACK = (0.0, 50.0, 100.0, 200.0, 400.0, 600.0)
_TILE = tuple(map(float, (0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 1000, 2000)))

GEOMETRIES = {
    g.name: g
    for g in (
        Geometry(
            "ds1_photons",
            "photon",
            (
                Layer(0, _PRESAMPLER, 1, (1.6, 2.0)),
                Layer(1, _STRIPS, 10, (2.0, 6.2)),
                Layer(2, _MIDDLE, 10, (6.2, 22.4)),
                Layer(3, _BACK, 1, (22.4, 24.4)),
                Layer(12, (0.0, 100.0, 200.0, 400.0, 1000.0, 2000.0), 1, (26.0, 40.0)),
            ),
        ),
        Geometry(
            "ds1_pions",
            "pion",
            (
                Layer(0, _PRESAMPLER, 1),
                Layer(1, (0.0, 1.0, 4.0, 7.0, 10.0, 15.0, 30.0, 50.0, 90.0, 150.0, 200.0), 10),
                Layer(2, (0.0, 5.0, 10.0, 20.0, 30.0, 50.0, 80.0, 130.0, 200.0, 300.0, 400.0), 10),
                Layer(3, _BACK, 1),
                Layer(12, _TILE, 10),
                Layer(13, (*_TILE[:-2], 600.0, 1000.0, 2000.0), 10),
                Layer(14, (0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 600.0, 1000.0, 2000.0), 1),
            ),
        ),
        _cylinders("ds2_electrons", 9, 4.65, 16),
        _cylinders("ds3_electrons", 18, 2.325, 50),
    )
}

"""Showers as trees of splits: the energy of a group of voxels is split between two halves of the group.

The root splits f E_inc (f above the largest response seen) into deposited energy and the rest. Then the layers are
split off one after the other, layer i from all behind it (the u_i of CaloFlow, arXiv:2106.05285); within a layer rings
are halved, and then sectors. V voxels take V splits. With the fractions x = E_left / E_group of all groups with energy,
a voxel is a product of fractions: energy is conserved up to rounding, and x = 0 or 1 gives exact zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.geometry import Geometry

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Groups are ranges of places. Place p < V is the voxel `order[p]`, ring by ring; place V is the energy not seen.

    Groups 0..V-1 are split into the groups `left` and `right`; group V + p is the single place p. Group 0 is the root,
    groups 1..layers-1 split off layers. `depth` (V,): splits of the same depth are drawn together.
    """

    order: Ints  # (V,)
    start: Ints  # (2V + 1,) first place of each group
    stop: Ints
    left: Ints  # (V,)
    right: Ints
    depth: Ints
    sibling: Ints  # (2V + 1,) the other half of the group's parent; the root's is itself
    parent: Ints
    layers: Ints  # (layers,) the group of each layer

    @staticmethod
    def of(geometry: Geometry) -> Tree:
        """Return the tree of a geometry."""
        v = geometry.n_voxels
        ranges = [(0, v, v + 1, 0)]  # start, middle, stop, depth
        for i, part in enumerate(geometry.slices[:-1]):
            ranges.append((part.start, part.stop, v, i + 1))
        for part, layer in zip(geometry.slices, geometry.layers, strict=True):
            ranges += _halves(part.start, part.stop, layer.n_alpha, geometry.n_layers)
        group = {(start, stop): i for i, (start, _, stop, _) in enumerate(ranges)}
        group |= {(p, p + 1): v + p for p in range(v + 1)}
        left, right = (np.array([group[r[i], r[i + 1]] for r in ranges]) for i in (0, 1))
        edges = np.array(list(group), np.int64)[np.argsort(list(group.values()))]
        sibling, parent = np.zeros(len(edges), np.int64), np.zeros(len(edges), np.int64)
        sibling[left], sibling[right] = right, left
        parent[left] = parent[right] = np.arange(v)
        return Tree(
            np.lexsort((geometry.voxel_alpha, geometry.voxel_r, geometry.voxel_layer)),
            edges[:, 0],
            edges[:, 1],
            left,
            right,
            np.array([depth for *_, depth in ranges]),
            sibling,
            parent,
            np.array([group[part.start, part.stop] for part in geometry.slices]),
        )

    def __len__(self) -> int:
        return len(self.left)


def _halves(start: int, stop: int, n_alpha: int, depth: int) -> list[tuple[int, int, int, int]]:
    """Return the splits of a range within a layer: between rings as long as it has several, then between sectors."""
    if stop - start < 2:
        return []
    unit = n_alpha if stop - start > n_alpha else 1
    middle = start + (stop - start) // unit // 2 * unit
    left = _halves(start, middle, n_alpha, depth + 1)
    return [(start, middle, stop, depth), *left, *_halves(middle, stop, n_alpha, depth + 1)]

"""Jets as sets of particles, in the features and the HDF5 layout of OmniLearned (arXiv:2510.24066).

A particle is a row (delta eta, delta phi, log pt, log E, ...): angles from the jet's axis, natural logarithms of values
in GeV; then, if known, the particle's kind (an index into `PARTICLE_KINDS`) and tanh d0, its error, tanh dz, its error.
A row of zeros is an empty slot, recognised by the third feature as in the package. Slots are filled from the front,
hardest particle first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.types import Floats32

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

DELTA_ETA, DELTA_PHI, LOG_PT, LOG_E = range(4)
FEATURES = ("delta_eta", "delta_phi", "log_pt", "log_energy")
WITH_KIND = (*FEATURES, "particle_kind")
WITH_VERTEX = (*WITH_KIND, "tanh_d0", "d0_error", "tanh_dz", "dz_error")
LAYOUTS = {len(names): names for names in (FEATURES, WITH_KIND, WITH_VERTEX)}
# Kinds that a detector can tell apart, as PDG numbers: hadrons are charged pions or K_L. The feature is the index.
PARTICLE_KINDS = (-211, -13, -11, 0, 11, 13, 22, 130, 211)
AXIS = ("pt", "eta", "phi", "mass")
MAX_PARTICLES = 512  # memory grows as its square
MAX_KINDS = 1000  # more than any data set has: larger numbers are not kinds
# A particle of exactly 1 GeV would look like an empty slot.
LOG_PT_NOT_ZERO = np.float32(1e-6)

JET_PT_RANGE = (5.0, 2e4)  # GeV: a median outside means other units
SHARE_RANGE = (0.02, 2.0)  # median of the particles' summed pt (maybe of the hardest only) over the jet's
CENTRED = 0.2  # largest median distance of the pt-weighted centre from the axis
REACH = 2.0  # largest median distance of the particles from the axis
STRAY = 0.01  # fraction of particles of exactly 1 GeV, which look like empty slots: a few do no harm


@dataclass(frozen=True)
class Jets:
    """N jets of up to M particles with F features.

    `pid` are the kinds of the jets as numbers, `kinds[number]` their names (may be empty: numbers of another data
    set); `jet` holds pt [GeV], eta, phi, mass [GeV]. Raises ToolError for shapes that do not match; `check` tests the
    values.
    """

    particles: Floats32  # (N, M, F)
    pid: Ints | None = None  # (N,)
    jet: Floats32 | None = None  # (N, 4)
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.particles.shape
        if len(shape) != 3 or shape[2] < len(FEATURES):
            raise ToolError("particles", shape, f"(jets, particles, features), {len(FEATURES)} or more features")
        for name, values, wanted in (("pid", self.pid, shape[:1]), ("jet", self.jet, (shape[0], len(AXIS)))):
            if values is not None and values.shape != wanted:
                raise ToolError(name, values.shape, f"shape {wanted}, to go with {shape[0]} jets")
        if len(set(self.kinds)) < len(self.kinds):
            raise ToolError("kinds", self.kinds, "each name once")

    def __len__(self) -> int:
        return len(self.particles)

    @property
    def mask(self) -> Mask:
        """Mark the slots that hold a particle (N, M)."""
        return np.asarray(self.particles[:, :, LOG_PT] != 0)

    @property
    def multiplicity(self) -> Ints:
        """Return the number of particles of each jet (N,)."""
        return np.asarray(self.mask.sum(axis=1), dtype=np.int64)

    def take(self, rows: Ints | Mask | slice) -> Jets:
        """Return some of the jets, in the order given."""
        pid = None if self.pid is None else self.pid[rows]
        jet = None if self.jet is None else self.jet[rows]
        return replace(self, particles=self.particles[rows], pid=pid, jet=jet)

    def hardest(self, particles: int) -> Jets:
        """Return the jets with at most their `particles` hardest particles, without slots that are empty in all."""
        kept = max(min(particles, int(self.multiplicity.max(initial=1))), 1)
        return replace(self, particles=self.particles[:, :kept])

    def count(self) -> dict[str, int]:
        """Return the number of jets of each kind; kinds without a name are listed by number."""
        if self.pid is None:
            return {}
        counts = np.bincount(self.pid, minlength=len(self.kinds))
        names = self.kinds or [str(n) for n in range(len(counts))]
        return {name: int(n) for name, n in zip(names, counts, strict=True) if n or self.kinds}

    def with_kinds(self, kinds: tuple[str, ...]) -> Jets:
        """Return only the jets of these kinds, numbered in this order; ToolError if one has no jets."""
        counts = self.count()
        if absent := [kind for kind in kinds if not counts.get(kind)]:
            there = ", ".join(f"{name} ({n})" for name, n in counts.items()) or "none: the jets have no labels"
            raise ToolError("kinds", absent, f"there are no such jets; there are {there}")
        assert self.pid is not None
        names = list(self.kinds or map(str, range(int(self.pid.max()) + 1)))
        number = np.full(len(names), -1)
        number[[names.index(kind) for kind in kinds]] = np.arange(len(kinds))
        new = number[self.pid]
        return replace(self.take(new >= 0), pid=new[new >= 0].astype(np.int64), kinds=tuple(kinds))

    def pt_and_mass(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pt and mass [GeV], (N,) each, of the sum of the particles, taken as massless; needs no axis."""
        x = self.particles.astype(np.float64)
        pt = np.where(self.mask, np.exp(x[:, :, LOG_PT]), 0.0)
        px, py = (np.sum(pt * f(x[:, :, DELTA_PHI]), axis=1) for f in (np.cos, np.sin))
        pz, energy = (np.sum(pt * f(x[:, :, DELTA_ETA]), axis=1) for f in (np.sinh, np.cosh))
        return np.hypot(px, py), np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))


def from_momenta(
    pt: NDArray[np.floating],
    eta: NDArray[np.floating],
    phi: NDArray[np.floating],
    energy: NDArray[np.floating],
    *,
    axis: NDArray[np.floating] | None = None,
    extra: NDArray[np.floating] | None = None,
    pid: Ints | None = None,
    kinds: tuple[str, ...] = (),
    max_particles: int = MAX_PARTICLES,
) -> Jets:
    """Make jets from particles (N, M) in GeV, with pt = 0 in empty slots; the `max_particles` hardest are kept.

    `axis` (N, 4): pt, eta, phi, mass of the jets, by default of the sum of all their particles; `extra` (N, M, 1 or 5):
    the features of LAYOUTS after the fourth. Raises ToolError as `check` does.
    """
    if not 1 <= max_particles <= MAX_PARTICLES:
        raise ToolError("max_particles", max_particles, f"1 to {MAX_PARTICLES}")
    pt, eta, phi, energy = (np.asarray(x, dtype=np.float64) for x in (pt, eta, phi, energy))
    for name, values in (("pt", pt), ("eta", eta), ("phi", phi), ("energy", energy)):
        if len(bad := np.argwhere(~np.isfinite(values) & (pt != 0))):
            row, slot = bad[0]
            raise ToolError(name, float(values[row, slot]), f"jet {row}, particle {slot}: must be finite")
    there = pt > 0
    axis = np.asarray(sum_momenta(pt, eta, phi, energy) if axis is None else axis, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        delta_phi = (phi - axis[:, 2:3] + np.pi) % (2 * np.pi) - np.pi
        log_pt = np.log(pt).astype(np.float32)
        log_pt[log_pt == 0] = LOG_PT_NOT_ZERO
        features = [eta - axis[:, 1:2], delta_phi, log_pt, np.log(energy)]
    particles = np.stack(features, axis=2).astype(np.float32)
    if extra is not None:
        particles = np.concatenate([particles, extra.astype(np.float32)], axis=2)
    particles = np.where(there[:, :, None], particles, np.float32(0))
    jets = Jets(in_order(particles), pid, axis.astype(np.float32), kinds).hardest(max_particles)
    check(jets)
    return jets


def sum_momenta(
    pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64], energy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return pt, eta, phi and mass (N, 4) of the sums over the particles (N, M) with pt > 0."""
    there = pt > 0
    px, py, pz = (np.where(there, pt * f, 0.0).sum(axis=1) for f in (np.cos(phi), np.sin(phi), np.sinh(eta)))
    total = np.where(there, energy, 0.0).sum(axis=1)
    jet_pt = np.hypot(px, py)
    mass = np.sqrt(np.maximum(total**2 - jet_pt**2 - pz**2, 0.0))
    return np.stack([jet_pt, np.arcsinh(pz / np.maximum(jet_pt, 1e-12)), np.arctan2(py, px), mass], axis=1)


def in_order(particles: Floats32) -> Floats32:
    """Return the same jets with the hardest particle first and empty slots last."""
    hardness = np.where(particles[:, :, LOG_PT] != 0, particles[:, :, LOG_PT], -np.inf)
    if np.all(hardness[:, :-1] >= hardness[:, 1:]):
        return particles
    order = np.argsort(-hardness, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(particles, order[:, :, None], axis=1))


def check(jets: Jets) -> None:
    """Raise ToolError unless the values are as `Jets` describes them.

    It refuses no jets, too many particles, NaN, empty jets, another order of features, absolute angles, units other
    than GeV, and kinds without a name. Order and units are judged by medians, so a stray particle does no harm.
    """
    n, m, width = jets.particles.shape
    if n == 0:
        raise ToolError("particles", jets.particles.shape, "at least one jet")
    if m > MAX_PARTICLES:
        raise ToolError("particles", m, f"at most {MAX_PARTICLES} per jet; keep the hardest with max_particles")
    if width not in LAYOUTS:
        widths = "; ".join(f"{k}: {', '.join(names)}" for k, names in LAYOUTS.items())
        raise ToolError("particles", width, f"features: {widths}")
    if len(bad := np.argwhere(~np.isfinite(jets.particles))):
        row, slot, feature = bad[0]
        value = float(jets.particles[row, slot, feature])
        raise ToolError("particles", value, f"jet {row}, particle {slot}, {LAYOUTS[width][feature]}: must be finite")
    mask = jets.mask
    if len(empty := np.flatnonzero(~mask.any(axis=1))):
        raise ToolError("particles", int(empty[0]), f"jet without particles, {len(empty)} in all; remove them")
    _check_kinematics(jets, mask)
    _check_jets(jets)


def _check_kinematics(jets: Jets, mask: Mask) -> None:
    order = f"the features must be {', '.join(FEATURES)}"
    x = jets.particles
    if np.any(x[~mask][:, :LOG_PT] != 0, axis=1).sum() > STRAY * mask.sum():
        raise ToolError("particles", "log_pt = 0 in filled slots", f"empty slots must be zeros; {order}")
    log_pt, log_e = x[mask][:, LOG_PT].astype(np.float64), x[mask][:, LOG_E].astype(np.float64)
    if float(np.max(log_pt)) > 50:
        raise ToolError("log_pt", float(np.max(log_pt)), f"a natural logarithm of pt/GeV; {order}")
    if np.mean(log_e < log_pt - 0.02) > 0.2:
        raise ToolError("log_energy", float(np.median(log_e - log_pt)), f"E is below pt (median of log E/pt); {order}")
    if (reach := float(np.median(np.hypot(x[mask][:, DELTA_ETA], x[mask][:, DELTA_PHI])))) > REACH:
        raise ToolError("delta_eta", reach, f"median distance from the jet's axis, at most {REACH}; {order}")
    weight = np.where(mask, np.exp(x[:, :, LOG_PT].astype(np.float64)), 0.0)
    total = weight.sum(axis=1)
    for feature in (DELTA_ETA, DELTA_PHI):
        if (off := float(np.median(np.abs((weight * x[:, :, feature]).sum(axis=1) / total)))) > CENTRED:
            raise ToolError(FEATURES[feature], off, f"angles are from the jet's axis (median off by this); {order}")
    low, high = JET_PT_RANGE
    if not low < (median := float(np.median(total))) < high:
        raise ToolError("log_pt", median, f"median pt of a jet, {low:g} to {high:g} GeV: logarithms of GeV are needed")
    if jets.jet is not None:
        share = float(np.median(total / np.maximum(jets.jet[:, 0], 1e-9)))
        if not SHARE_RANGE[0] < share < SHARE_RANGE[1]:
            allowed = "median of the particles' pt over the jet's, {:g} to {:g}: both in GeV"
            raise ToolError("jet", share, allowed.format(*SHARE_RANGE))


def _check_jets(jets: Jets) -> None:
    if jets.jet is not None and len(bad := np.argwhere(~np.isfinite(jets.jet))):
        row, column = bad[0]
        raise ToolError(f"jet {AXIS[column]}", float(jets.jet[row, column]), f"jet {row}: must be finite")
    if jets.pid is not None:
        if jets.pid.dtype.kind not in "iu":
            raise ToolError("pid", str(jets.pid.dtype), "whole numbers")
        top = len(jets.kinds) or MAX_KINDS
        if len(wrong := np.flatnonzero((jets.pid < 0) | (jets.pid >= top))):
            allowed = f"jet {wrong[0]}: 0 to {top - 1}, the number of a kind {jets.kinds or ''}"
            raise ToolError("pid", int(jets.pid[wrong[0]]), allowed.rstrip())
    if jets.particles.shape[2] > len(FEATURES):
        kind = jets.particles[:, :, len(FEATURES)]
        if len(bad := np.argwhere((kind != np.round(kind)) | (kind < 0) | (kind >= len(PARTICLE_KINDS)))):
            row, slot = bad[0]
            allowed = f"jet {row}, particle {slot}: a whole number below {len(PARTICLE_KINDS)}"
            raise ToolError("particle_kind", float(kind[row, slot]), allowed)


def concatenated(first: Jets, second: Jets) -> Jets:
    """Return the jets of both with only their particles."""
    width = max(first.particles.shape[1], second.particles.shape[1])
    parts = [np.pad(j.particles, ((0, 0), (0, width - j.particles.shape[1]), (0, 0))) for j in (first, second)]
    return Jets(np.concatenate(parts))

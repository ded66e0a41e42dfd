"""GFlash: parametrised electromagnetic showers with correlated fluctuations, voxel by voxel.

Grindhammer and Peters, hep-ex/0001020, appendix A; energies E in GeV inside formulas, y = E/Ec, depth t in X0:

- longitudinal: f(t) is a gamma density of shape alpha and rate (alpha - 1)/T; (ln T, ln alpha) is a correlated Gaussian
- radial: f(r) = p 2rRc^2/(r^2+Rc^2)^2 + (1-p) 2rRt^2/(r^2+Rt^2)^2 with Rc, Rt, p functions of tau = t/T, in R_M
- radial fluctuations come from a finite number of spots, which have their own gamma density in depth
- the read-out of an energy E fluctuates as c^2 Gamma(E/c^2), so that sigma(E) = c sqrt(E): additive over voxels

This is a parametrisation, not Geant4: showers are round, layers differ only by these fluctuations, material before and
between the layers counts only by its depth, and the fits were made from 1 to 200 GeV. Outside, formulas are
extrapolated; towards Ec they would diverge, so here ln y >= 2, T >= 1, alpha >= 1.1, sigmas <= 0.5. An electron showers
from depth 0 on. A photon converts after 9/7 X0 on average into two electrons, which share its energy uniformly; a
neutral pion is two photons, which share its energy uniformly, without an opening angle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc

from tools.calorimeter.geometry import Geometry, Layer
from tools.calorimeter.materials import Material, find_material
from tools.calorimeter.showers import Showers, check_incident
from tools.contract import ToolError
from tools.types import Floats

PARTICLES = ("electron", "photon", "neutral_pion")
THRESHOLD_MEV = 0.01515  # per voxel, as in data sets 2 and 3
CONVERSION_X0 = 9 / 7
MIN_LN_Y = 2.0
STEP_X0 = 2.0  # maximum step in depth over which the radial profile is constant
MAX_TAU = 5.0  # beyond, radial profiles no longer change
MAX_SPOT = 5.0  # maximum energy of a spot, over the mean of the shower's spots
BATCH = 2000  # showers at a time

# Showers of data set 1 at 2^8 ... 2^22 MeV, in thousands.
DS1_COUNTS = (10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 5, 3, 2, 1)


def incident_energies(geometry: Geometry, n: int, seed: int) -> Floats:
    """Draw incident energies [MeV] (n,) distributed as in the data set of that geometry.

    Data set 1: 2^k MeV from 256 MeV to 4.2 TeV, in its proportions. Others: log-uniform from 1 GeV to 1 TeV.
    """
    rng = np.random.default_rng([seed, 0])
    if geometry.name.startswith("ds1"):
        counts = np.array(DS1_COUNTS)
        return np.asarray(2.0 ** (8 + rng.choice(len(counts), n, p=counts / counts.sum())))
    return np.asarray(10 ** rng.uniform(3, 6, n))


def native_material(geometry: Geometry) -> str:
    """Return the material that a built-in geometry is made for."""
    return "tungsten_silicon" if geometry.name.startswith(("ds2", "ds3")) else "lead_argon"


def simulate(
    incident: Floats,
    geometry: Geometry,
    seed: int,
    material: str | Material | None = None,
    particle: str | None = None,
    threshold_mev: float = THRESHOLD_MEV,
    progress: Callable[[int, int], None] | None = None,
) -> Showers:
    """Simulate one shower for each `incident` energy [MeV] (N,), read out at the electromagnetic scale.

    Material (a name, or a Material) and particle default to those of the geometry. Energy behind the last layer, before
    the first and outside the rings is lost; voxels below `threshold_mev` are zero.
    `progress(done, total)` counts showers.
    Raises ToolError for energies out of range, an unknown material or particle, a geometry without depths.
    """
    incident = np.asarray(incident, np.float64)
    check_incident(incident)
    matter = material if isinstance(material, Material) else find_material(material or native_material(geometry))
    kind = particle or geometry.particle
    if kind not in PARTICLES:
        raise ToolError("particle", kind, f"one of {', '.join(PARTICLES)}: GFlash is electromagnetic")
    if not 0 <= threshold_mev < np.inf:
        raise ToolError("threshold_mev", threshold_mev, "0 or more")
    depths = geometry.depths_x0
    voxels = np.empty((len(incident), geometry.n_voxels), np.float32)
    for number, start in enumerate(range(0, len(incident), BATCH)):
        rng = np.random.default_rng([seed, 1, number])
        rows = slice(start, start + BATCH)
        cores = _cores(incident[rows] / 1000, matter, kind, rng)
        for layer, (top, bottom), place in zip(geometry.layers, depths, geometry.slices, strict=True):
            read_out = 1000 * _layer(cores, layer, top, bottom, matter, rng)
            voxels[rows, place] = np.where(read_out < threshold_mev, 0.0, read_out)
        if progress:
            progress(min(start + BATCH, len(incident)), len(incident))
    return Showers(incident, voxels, geometry)


@dataclass(frozen=True)
class Cores:
    """The K electron showers that each of N particles makes; all fields are (N, K).

    Energy [GeV]; starting depth [X0]; gamma densities in depth of energy and of spots; number of spots;
    `tau_per_x0`: tau = t tau_per_x0.
    """

    energy: Floats
    start: Floats
    alpha: Floats
    beta: Floats
    alpha_spot: Floats
    beta_spot: Floats
    spots: Floats
    tau_per_x0: Floats


def _cores(energy: Floats, matter: Material, particle: str, rng: np.random.Generator) -> Cores:
    """Turn particles of `energy` [GeV] (N,) into electron showers."""
    parts, start = energy[:, None], np.zeros((len(energy), 1))
    if particle == "neutral_pion":
        parts, start = _split(parts, rng), np.repeat(start, 2, axis=1)
    if particle in ("photon", "neutral_pion"):
        start = np.repeat(start + rng.exponential(CONVERSION_X0, parts.shape), 2, axis=1)
        parts = _split(parts, rng)

    mean_ln_t, mean_ln_alpha, sigma_t, sigma_alpha, rho = longitudinal(parts, matter)
    z1, z2 = rng.standard_normal((2, *parts.shape))
    same, other = np.sqrt((1 + rho) / 2), np.sqrt((1 - rho) / 2)
    depth = np.maximum(np.exp(mean_ln_t + sigma_t * (same * z1 + other * z2)), 1.0)
    alpha = np.maximum(np.exp(mean_ln_alpha + sigma_alpha * (same * z1 - other * z2)), 1.1)
    z = matter.z
    if matter.absorber:
        number = 10.3 / matter.sampling * parts**0.959
        depth_spot, alpha_spot = depth * (0.813 + 0.0019 * z), alpha * (0.844 + 0.0026 * z)
    else:
        number = 93 * np.log(z) * parts**0.876
        depth_spot, alpha_spot = depth * (0.698 + 0.00212 * z), alpha * (0.639 + 0.00334 * z)
    alpha_spot = np.maximum(alpha_spot, 1.1)
    # tau = t/<t> exp(<ln alpha>)/(exp(<ln alpha>) - 1): depth over the depth of the maximum, per shower
    mean_alpha = np.exp(mean_ln_alpha)
    tau_per_x0 = (alpha - 1) / depth / alpha * mean_alpha / (mean_alpha - 1)
    return Cores(
        parts, start, alpha, (alpha - 1) / depth, alpha_spot, (alpha_spot - 1) / depth_spot, number, tau_per_x0
    )


def _split(parts: Floats, rng: np.random.Generator) -> Floats:
    """Split each energy between two particles, uniformly: (N, K) -> (N, 2K), pairs next to each other."""
    share = rng.uniform(size=parts.shape)
    return np.stack([parts * share, parts * (1 - share)], axis=2).reshape(len(parts), -1)


def longitudinal(energy: Floats, matter: Material) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return the means of ln T and ln alpha, their standard deviations and correlation at `energy` [GeV], any shape."""
    ln_y = np.maximum(np.log(np.maximum(1000 * energy / matter.critical_energy, 1e-9)), MIN_LN_Y)
    depth = ln_y - 0.812
    alpha = 0.81 + (0.458 + 2.26 / matter.z) * ln_y
    if matter.absorber:
        depth = depth - 0.55 * matter.inverse_frequency - 0.69 * (1 - matter.e_over_mip)
        alpha = alpha - 0.476 * matter.inverse_frequency
        inverse_t, inverse_alpha, rho = -2.5 + 1.25 * ln_y, -0.82 + 0.79 * ln_y, 0.784 - 0.023 * ln_y
    else:
        inverse_t, inverse_alpha, rho = -1.4 + 1.26 * ln_y, -0.58 + 0.86 * ln_y, 0.705 - 0.023 * ln_y
    # 1/sigma >= 2 keeps sigma <= 0.5 and positive
    sigma_t, sigma_alpha = 1 / np.maximum(inverse_t, 2.0), 1 / np.maximum(inverse_alpha, 2.0)
    return np.log(np.maximum(depth, 0.5)), np.log(np.maximum(alpha, 1.2)), sigma_t, sigma_alpha, rho


def radial(tau: Floats, energy: Floats, matter: Material) -> tuple[Floats, Floats, Floats]:
    """Return Rc, Rt [Moliere radii] and the core fraction p at tau, for showers of `energy` [GeV]."""
    z, ln_e = matter.z, np.log(np.maximum(energy, np.exp(MIN_LN_Y) * matter.critical_energy / 1000))
    tau = np.minimum(tau, MAX_TAU)
    core = 0.0251 + 0.00319 * ln_e + (0.1162 - 0.000381 * z) * tau
    tail = (0.659 - 0.00309 * z) * (np.exp(-2.59 * (tau - 0.645)) + np.exp((0.3585 + 0.0412 * ln_e) * (tau - 0.645)))
    x = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * ln_e)
    share = (2.632 - 0.00094 * z) * np.exp(x - np.exp(x))
    if matter.absorber:
        missing = 1 - matter.e_over_mip
        core = core - 0.0203 * missing + 0.0397 * matter.inverse_frequency * np.exp(-tau)
        tail = tail - 0.14 * missing - 0.495 * matter.inverse_frequency * np.exp(-tau)
        share = share + missing * (0.348 - 0.642 * matter.inverse_frequency * np.exp(-((tau - 1) ** 2)))
    return np.maximum(core, 0.01), np.maximum(tail, 0.02), np.clip(share, 0.0, 1.0)


def _layer(cores: Cores, layer: Layer, top: float, bottom: float, matter: Material, rng: np.random.Generator) -> Floats:
    """Return the energies read out in one layer [GeV] (N, voxels of the layer)."""
    edges = np.linspace(top, bottom, 1 + int(np.ceil((bottom - top) / STEP_X0)))
    t = np.maximum(edges - cores.start[:, :, None], 0.0)  # (N, K, steps + 1)
    energy = cores.energy[:, :, None] * np.diff(gammainc(cores.alpha[:, :, None], cores.beta[:, :, None] * t))
    spots = cores.spots[:, :, None] * np.diff(gammainc(cores.alpha_spot[:, :, None], cores.beta_spot[:, :, None] * t))
    deposited = energy.sum(axis=(1, 2))
    rings = _rings(cores, layer, 0.5 * (t[:, :, 1:] + t[:, :, :-1]), energy, matter)

    # Random rounding to whole spots keeps the mean: a layer with less than one on average rarely has one, but a larger.
    largest = MAX_SPOT * cores.energy.sum(axis=1) / cores.spots.sum(axis=1)
    mean = np.maximum(spots.sum(axis=(1, 2)), deposited / largest)
    number = np.floor(mean + rng.uniform(size=mean.shape)).astype(np.int64)
    spot = deposited / np.maximum(np.where(mean < 1, mean, number), 1e-30)
    in_ring = rng.multinomial(number, np.concatenate([rings, 1 - rings.sum(axis=1, keepdims=True)], axis=1))[:, :-1]
    in_voxel = rng.multinomial(in_ring, np.full(layer.n_alpha, 1 / layer.n_alpha)).transpose(0, 2, 1)
    wanted = spot[:, None] * in_voxel.reshape(len(spot), -1)
    noise = matter.sampling**2
    wanted[wanted > 0] = noise * rng.standard_gamma(wanted[wanted > 0] / noise)
    return np.asarray(wanted)


def _rings(cores: Cores, layer: Layer, depth: Floats, weight: Floats, matter: Material) -> Floats:
    """Return each ring's fraction of the layer's energy (N, rings), for steps at `depth` with energies `weight`, both
    (N, K, steps).
    """
    core, tail, share = radial(
        depth * cores.tau_per_x0[:, :, None], np.broadcast_to(cores.energy[:, :, None], depth.shape), matter
    )
    r2 = (np.array(layer.r_edges_mm) / matter.moliere_mm) ** 2
    weight = weight / np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-30)
    inside = np.zeros((len(depth), len(r2)))
    # Edge by edge: all at once would need (N, K, steps, edges) numbers in memory.
    for i, square in enumerate(r2):
        both = share * square / (square + core**2) + (1 - share) * square / (square + tail**2)
        inside[:, i] = (weight * both).sum(axis=(1, 2))
    return np.clip(np.diff(inside), 0.0, 1.0)

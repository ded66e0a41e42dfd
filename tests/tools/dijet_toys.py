"""Dijet events of massless particles with a known density, for the tests of the search on constituents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tools.events.jets_lhco import pair_mass
from tools.jet_model.jets import Jets, concatenated, from_momenta

SLOTS = 16
WINDOW = (3.3, 3.7)


def dijets(n: int, n_signal: int = 0, seed: int = 1, wide: float = 1.0) -> tuple[Jets, np.ndarray]:
    """Jets, light and heavy in turn, and which of about n events are signal: mjj uniform in 2.5-5.5 TeV, or
    near 3.5 and in WINDOW.

    Background jets have one core, the lighter a narrower one; signal jets have two. `wide`: all cores are
    so many times as wide.
    """
    rng = np.random.default_rng(seed)
    is_signal = rng.permutation(np.arange(n + n_signal) >= n)
    mjj = np.where(is_signal, rng.normal(3.5, 0.05, n + n_signal), rng.uniform(2.2, 5.8, n + n_signal))
    eta = rng.normal(0.0, 0.5, (len(mjj), 2))
    pt = 500 * mjj / np.cosh((eta[:, 0] - eta[:, 1]) / 2)  # GeV, of each of two massless jets back to back
    phi = rng.uniform(-np.pi, np.pi, len(mjj))
    widths = wide * np.tile([0.04, 0.10], (len(mjj), 1))
    pair = [_jets(rng, pt, eta[:, j], phi + j * np.pi, widths[:, j], 0.25 * is_signal * (1 + j)) for j in (0, 1)]
    mass = np.stack([jets.pt_and_mass()[1] for jets in pair])
    swap = mass[0] > mass[1]
    both = concatenated(*pair)
    both = replace(both, jet=np.concatenate([jets.jet for jets in pair if jets.jet is not None]))
    rows = np.arange(2 * len(mjj)).reshape(2, -1)
    # mjj as it is measured is uniform in these bounds only: beyond them are the events whose jets made it large.
    assert both.jet is not None
    measured = pair_mass(both.jet[rows.T].astype(np.float64))
    # Signal that leaks out of the window would be a true bump beside it.
    kept = np.where(is_signal, (measured > WINDOW[0]) & (measured < WINDOW[1]), (measured > 2.5) & (measured < 5.5))
    return both.take(np.where(swap, rows[::-1], rows).T[kept].ravel()), is_signal[kept]


def _jets(
    rng: np.random.Generator, pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, width: np.ndarray, apart: np.ndarray
) -> Jets:
    n = len(pt)
    there = np.arange(SLOTS) < np.clip(rng.poisson(10, n), 4, SLOTS)[:, None]
    shares = np.where(there, rng.exponential(1.0, (n, SLOTS)) + 1e-3, 0.0)
    shares *= (pt / shares.sum(axis=1))[:, None]
    angle = rng.uniform(0, 2 * np.pi, n)[:, None]
    side = rng.choice([-0.5, 0.5], (n, SLOTS)) * apart[:, None]
    there_eta = eta[:, None] + side * np.cos(angle) + rng.normal(0, 1, (n, SLOTS)) * width[:, None]
    there_phi = phi[:, None] + side * np.sin(angle) + rng.normal(0, 1, (n, SLOTS)) * width[:, None]
    return from_momenta(shares, there_eta, there_phi, shares * np.cosh(there_eta))

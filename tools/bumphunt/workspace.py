"""The likelihood of a limit as a pyhf workspace (HistFactory in JSON, Heinrich et al., JOSS 6 (2021) 2823).

In bin i, with a template B_i = r0(m_i) n_fail,i from the fit with signal and K the degree of the transfer factor,

    n_pass,i ~ Poisson(t_0 g_i B_i(t_1 ... t_K) + (mu S + tau a) s_i),   n_fail,i ~ Poisson(g_i n_fail,i),

which is the likelihood of `profile.py` but for two things. B_i moves to B_i exp(+-sigma_k P_k(x_i)) where t_k is +-1
(`histosys`), with pyhf's interpolation between; its prior is centred at the fit with signal, not at 0. And bins further
than NEAR widths from the mass are merged, so that a fit has fewer parameters. The g_i are `shapesys`; a, the spurious
signal, is a `histosys` with its true prior. A signal-free reference is a channel of its own with the same t.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bumphunt import profile
from tools.bumphunt.fit import spurious_error
from tools.bumphunt.spectrum import Spectrum, one
from tools.types import Floats

POI = "signal_strength"
FEWEST = 0.5  # failing events in an empty bin: a template of zero would forbid events there
NEAR, MERGED = 4.0, 4  # widths of the resonance within which bins stay as they are; bins merged into one elsewhere


def workspace(spectrum: Spectrum, mass: float, width: float, events: float) -> dict[str, Any]:
    """Return the workspace for a resonance at `mass`; strength 1 is a signal of so many `events` that pass."""
    shape = spectrum.shapes(one(mass, width))
    fitted = profile.fit_signal_at(*spectrum.pair, spectrum.basis, shape)
    if fitted.signal[0] < 0:
        fitted = profile.fit_background(*spectrum.pair, spectrum.basis)
    r = profile.transfer(fitted.coefficients, spectrum.basis)[0]
    passed, failed, signal = spectrum.pair[0][0], np.maximum(spectrum.pair[1][0], FEWEST), shape[0]
    tau, n, starts = spurious_error(spectrum, mass, width), len(spectrum.passed), _starts(spectrum, mass, width)
    channels, observations = [], []
    for first, name in enumerate(["events"] if spectrum.reference is None else ["events", "reference"]):
        rows = slice(first * n, (first + 1) * n)
        samples = [_background(name, r[rows] * failed[rows], failed[rows], spectrum.basis[rows], starts)]
        if name == "events":
            peak = np.add.reduceat(signal[rows], starts)
            samples += [_sample("signal", events * peak, [_modifier(POI, "normfactor", None)])]
            samples += [_spurious(tau * peak)] if tau > profile.TIGHT else []
        channels.append({"name": name, "samples": samples})
        observations.append({"name": name, "data": np.add.reduceat(passed[rows], starts).tolist()})
    parameters = [{"name": POI, "inits": [1.0], "bounds": [[0.0, 10.0]]}]
    measurement = {"name": "limit", "config": {"poi": POI, "parameters": parameters}}
    return {"channels": channels, "observations": observations, "measurements": [measurement], "version": "1.0.0"}


def _starts(spectrum: Spectrum, mass: float, width: float) -> NDArray[np.int64]:
    """Return the first bin of each bin of the workspace."""
    far = np.abs(spectrum.centres / mass - 1) > NEAR * width
    begins = ~far | np.append(True, ~far[:-1])  # the bin after the last near one starts a merged one
    return np.flatnonzero(begins | (np.arange(len(far)) % MERGED == 0))


def _background(
    channel: str, template: Floats, failed: Floats, basis: Floats, starts: NDArray[np.int64]
) -> dict[str, Any]:
    nominal = np.add.reduceat(template, starts)
    modifiers = [_modifier("transfer_0", "normfactor", None)]
    for k in range(1, basis.shape[1]):
        up, down = (np.add.reduceat(template * np.exp(sign * basis[:, k]), starts) for sign in (1, -1))
        modifiers.append(_modifier(f"transfer_{k}", "histosys", {"hi_data": up.tolist(), "lo_data": down.tolist()}))
    errors = nominal / np.sqrt(np.add.reduceat(failed, starts))
    modifiers.append(_modifier(f"failing_{channel}", "shapesys", errors.tolist()))
    return _sample("background", nominal, modifiers)


def _spurious(moved: Floats) -> dict[str, Any]:
    sides = {"hi_data": moved.tolist(), "lo_data": (-moved).tolist()}
    return _sample("spurious", np.zeros(len(moved)), [_modifier("spurious_signal", "histosys", sides)])


def _sample(name: str, data: Floats, modifiers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "data": data.tolist(), "modifiers": modifiers}


def _modifier(name: str, kind: str, data: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "data": data}

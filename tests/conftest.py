"""Small synthetic events that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable

# Small problems: on a busy machine threads would only wait for each other. Before numpy and torch read it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

# Same examples every time, however slow the machine is.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

Table = dict[str, np.ndarray]
Toy = Callable[..., tuple[Table, np.ndarray]]


def toy_events(n: int = 20_000, n_signal: int = 0, seed: int = 1, mass: float = 3.5) -> tuple[Table, np.ndarray]:
    """A falling mjj spectrum, features that know nothing of mjj, and a narrow resonance; rows shuffled, with truth."""
    rng = np.random.default_rng(seed)

    def event(mjj: np.ndarray, mj1: np.ndarray, delta: np.ndarray, tau21: list[np.ndarray]) -> Table:
        columns = {"mjj": mjj, "mj1": mj1, "mj2": mj1 + delta}
        for jet in (1, 2):
            columns[f"tau1_j{jet}"] = rng.uniform(0.1, 0.4, len(mjj))
            columns[f"tau2_j{jet}"] = tau21[jet - 1] * columns[f"tau1_j{jet}"]
            columns[f"tau3_j{jet}"] = rng.uniform(0.5, 0.9, len(mjj)) * columns[f"tau2_j{jet}"]
        return columns

    spectrum = 2.5 * (1 - rng.uniform(0, 1 - (2.5 / 6.4) ** 6, n)) ** (-1 / 6)
    background = event(spectrum, rng.gamma(3, 0.05, n), rng.gamma(2, 0.08, n), [rng.beta(5, 4, n), rng.beta(5, 4, n)])
    signal = event(
        mass * (1 + 0.009 * rng.standard_normal(n_signal)),
        rng.normal(0.1, 0.02, n_signal),
        rng.normal(0.4, 0.03, n_signal),
        [rng.beta(3, 9, n_signal), rng.beta(3, 9, n_signal)],
    )
    order = rng.permutation(n + n_signal)
    columns = {name: np.concatenate([background[name], signal[name]])[order] for name in background}
    return columns, (np.arange(n + n_signal) >= n)[order]


@pytest.fixture(scope="session")
def toy() -> Toy:
    return toy_events

"""Data sets mixed by seed from the shipped sample: background and a fixed number of signal events.

The sample is simulated (`sample/PROVENANCE.md`): QCD dijets and one reservoir per resonance A -> B C. Two mixes
with different seeds share events if they draw from the same reservoir.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.parquet import read_columns
from tools.types import Floats

SAMPLE = Path(__file__).parent / "sample"


class Resonance(NamedTuple):
    """Resonance A -> B C: masses in TeV, and the natural width of A over its mass."""

    mass: float
    heavy: float
    light: float
    width: float


SIGNALS = {  # by reservoir, named m_A, m_B, m_C in GeV
    "3500_500_100": Resonance(3.5, 0.5, 0.1, 0.007),  # as in the R&D files
    "3000_400_250": Resonance(3.0, 0.4, 0.25, 0.001),
    "4200_730_380": Resonance(4.2, 0.73, 0.38, 0.001),
    "2900_300_300": Resonance(2.9, 0.3, 0.3, 0.02),
    "3400_200_120": Resonance(3.4, 0.2, 0.12, 0.08),
    "5000_600_300": Resonance(5.0, 0.6, 0.3, 0.03),
}
MAX_SIGNAL = 3000


@dataclass(frozen=True)
class Mix:
    """Events in random order with their labels."""

    columns: dict[str, Floats]
    is_signal: NDArray[np.bool_]


def mix(background: int, signal: str, n_signal: int, seed: int, sample: Path = SAMPLE) -> Mix:
    """Draw `background` QCD events and `n_signal` events of one reservoir without replacement, and shuffle them.

    The same arguments give the same data set. Raises TaskError naming the option and what is allowed.
    """
    if signal not in SIGNALS:
        raise TaskError("signal", signal, f"select from {', '.join(SIGNALS)}")
    if not 0 <= n_signal <= MAX_SIGNAL:
        raise TaskError("n_signal", n_signal, f"0 to {MAX_SIGNAL}")
    qcd, resonance = _reservoir(sample / "qcd.parquet"), _reservoir(sample / f"signal_{signal}.parquet")
    if n_signal > len(resonance["mjj"]):
        raise TaskError("n_signal", n_signal, f"0 to {len(resonance['mjj'])}, the number of signal events available")
    n_qcd = len(qcd["mjj"])
    if not 10_000 <= background <= n_qcd:
        raise TaskError("background", background, f"10000 to {n_qcd}, the number of QCD events available")
    rng = np.random.default_rng(seed)
    b, s = rng.permutation(n_qcd)[:background], rng.permutation(len(resonance["mjj"]))[:n_signal]
    order = rng.permutation(background + n_signal)
    columns = {name: np.concatenate([qcd[name][b], resonance[name][s]])[order] for name in qcd}
    return Mix(columns, (np.arange(background + n_signal) >= background)[order])


def unused_background(background: int, seed: int, sample: Path = SAMPLE) -> dict[str, Floats]:
    """Return the QCD events left out by `mix` with the same arguments: an independent, signal-free reference."""
    qcd = _reservoir(sample / "qcd.parquet")
    rest = np.random.default_rng(seed).permutation(len(qcd["mjj"]))[background:]
    return {name: values[rest] for name, values in qcd.items()}


def _reservoir(path: Path) -> dict[str, Floats]:
    try:
        return read_columns(path)
    except (OSError, ToolError) as error:
        raise TaskError("sample", str(path), f"the shipped sample is missing or unreadable ({error})") from None

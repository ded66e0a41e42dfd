"""Input of an unfolding: measured events, and simulated events known at both levels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.types import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """Data at detector level and a simulation at particle ("gen") and detector ("reco") level, with weights.

    A simulated event may pass only one level: a miss passes gen but not reco, a fake reco but not gen. Its values at
    the other level are ignored. Raises ToolError for arrays that do not match, numbers that are not finite, negative
    weights, and if there are no events in the data, at gen, at reco or at both.
    """

    data: Floats  # (n_data, d)
    gen: Floats  # (n, g)
    reco: Floats  # (n, d), the observables of `data`
    data_weight: Floats  # (n_data,)
    weight: Floats  # (n,)
    pass_gen: Mask  # (n,)
    pass_reco: Mask  # (n,)

    @staticmethod
    def of(
        data: Floats,
        gen: Floats,
        reco: Floats,
        data_weight: Floats | None = None,
        weight: Floats | None = None,
        pass_gen: Mask | None = None,
        pass_reco: Mask | None = None,
    ) -> Problem:
        """Make a problem. One observable may be given as (n,); by default weights are 1 and all events pass."""
        data, gen, reco = (np.asarray(x, dtype=float) for x in (data, gen, reco))
        data, gen, reco = (x[:, None] if x.ndim == 1 else x for x in (data, gen, reco))
        n = len(gen)
        return Problem(
            data,
            gen,
            reco,
            np.ones(len(data)) if data_weight is None else np.asarray(data_weight, dtype=float),
            np.ones(n) if weight is None else np.asarray(weight, dtype=float),
            np.ones(n, dtype=bool) if pass_gen is None else np.asarray(pass_gen, dtype=bool),
            np.ones(n, dtype=bool) if pass_reco is None else np.asarray(pass_reco, dtype=bool),
        )

    def __post_init__(self) -> None:
        n = len(self.gen)
        for name in ("reco", "weight", "pass_gen", "pass_reco"):
            _same_length(name, getattr(self, name), n, "simulated events (gen)")
        _same_length("data_weight", self.data_weight, len(self.data), "measured events (data)")
        if self.data.shape[1] != self.reco.shape[1]:
            raise ToolError("data", self.data.shape, f"the {self.reco.shape[1]} observables of reco, in their order")
        _finite("data", self.data)
        _finite("gen", self.gen, self.pass_gen)
        _finite("reco", self.reco, self.pass_reco)
        for name in ("data_weight", "weight"):
            values = getattr(self, name)
            _finite(name, values)
            if np.any(values < 0):
                row = int(np.argmax(values < 0))
                raise ToolError(
                    name,
                    float(values[row]),
                    f"weights of 0 or more; {int(np.sum(values < 0))} are negative, row {row} first. "
                    "Merge events of a generator with negative weights (resampling) before unfolding",
                )
        for name, total in (
            ("data", self.data_weight.sum()),
            ("pass_gen", self.weight[self.pass_gen].sum()),
            ("pass_reco", self.weight[self.pass_reco].sum()),
            ("pass_gen and pass_reco", self.weight[self.pass_gen & self.pass_reco].sum()),
        ):
            if total <= 0:
                raise ToolError(name, 0, "at least one event with a positive weight; there is none")

    def __len__(self) -> int:
        return len(self.gen)

    @property
    def matched(self) -> Mask:
        """Simulated events that pass both levels, which make up the response."""
        return np.asarray(self.pass_gen & self.pass_reco)

    def reweighted(self, data_weight: Floats | None = None, weight: Floats | None = None) -> Problem:
        """Return the same events with other weights."""
        return replace(
            self,
            data_weight=self.data_weight if data_weight is None else data_weight,
            weight=self.weight if weight is None else weight,
        )

    def without_last(self, columns: int) -> Problem:
        """Return the same events without the last columns of data, gen and reco."""
        if not columns:
            return self
        data, gen, reco = (x[:, :-columns] for x in (self.data, self.gen, self.reco))
        return replace(self, data=data, gen=gen, reco=reco)

    def with_last(self, data: Floats, gen: Floats, reco: Floats) -> Problem:
        """Return the same events with one more column each, (n_data,), (n,), (n,)."""
        pairs = ((self.data, data), (self.gen, gen), (self.reco, reco))
        data, gen, reco = (np.column_stack(pair) for pair in pairs)
        return replace(self, data=data, gen=gen, reco=reco)

    def scaled(self) -> Problem:
        """Return the problem with the simulation scaled to the data at reco, for weights that imply no luminosity."""
        return self.reweighted(weight=self.weight * (self.data_weight.sum() / self.weight[self.pass_reco].sum()))

    def check_fakes(self) -> None:
        """Raise ToolError if the simulation has at least as many fakes as there are data: it is not scaled to them."""
        fakes = float(self.weight[self.pass_reco & ~self.pass_gen].sum())
        if fakes >= self.data_weight.sum():
            raise ToolError(
                "weight",
                fakes,
                f"fewer fakes (pass reco, fail gen) than there are data, {self.data_weight.sum():.6g}: scale the "
                "simulation to the luminosity of the data",
            )

    def outside(self) -> Floats:
        """Return the weighted fraction (d,) of the data beyond the range of the simulated events that pass reco."""
        seen = self.reco[self.pass_reco & (self.weight > 0)]
        beyond = (self.data < seen.min(axis=0)) | (self.data > seen.max(axis=0))
        return np.asarray(self.data_weight @ beyond / self.data_weight.sum())


def _same_length(name: str, values: NDArray[np.generic], n: int, of: str) -> None:
    if len(values) != n:
        raise ToolError(name, len(values), f"one entry for each of the {n} {of}")


def _finite(name: str, values: Floats, rows: Mask | None = None) -> None:
    bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if rows is not None:
        bad &= rows
    if bad.any():
        raise ToolError(name, "NaN or infinite", f"finite numbers; {int(bad.sum())} events, row {np.argmax(bad)} first")

"""The three approaches to scaling laws, against laws known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling_laws import Grid, Law, envelope, isoflop, parametric, read, resampled

TRUE = Law(E=0.4, A=20.0, alpha=0.5, B=200.0, beta=0.35)


def grid(noise: float = 0.0) -> Grid:
    """return trainings of 24 sizes with 24 numbers of examples, and families of equal cost C = 6 N D."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e2, 1e6, 24), np.geomspace(1e3, 1e9, 24)))
    costs = np.repeat(np.geomspace(1e8, 1e14, 7), 9)
    best = (TRUE.alpha * TRUE.A / (TRUE.beta * TRUE.B)) ** (1 / (TRUE.alpha + TRUE.beta)) * (costs / 6) ** TRUE.exponent
    sizes = best * np.tile(np.geomspace(0.2, 5, 9), 7)
    loss = np.append(TRUE(n, d), TRUE(sizes, costs / 6 / sizes))
    family = np.append(np.zeros(len(n)), costs)
    n, d = np.append(n, sizes), np.append(d, costs / 6 / sizes)
    loss *= np.exp(noise * np.random.default_rng(5).standard_normal(len(loss)))
    return Grid(n, d, 6 * n * d, loss, family)


def test_the_parametric_fit_returns_the_law_that_made_the_losses() -> None:
    found = parametric(grid())
    for name in ("E", "A", "alpha", "B", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.02), name
    assert found.exponent == pytest.approx(0.35 / 0.85, rel=0.01)


def test_errors_from_resampling_cover_the_truth() -> None:
    noisy = grid(noise=0.02)
    found = parametric(noisy)
    errors = resampled(noisy, found, 12)
    for name in ("E", "alpha", "beta", "exponent"):
        assert abs(getattr(found, name) - getattr(TRUE, name)) < 4 * errors[name], name
        assert errors[name] < 0.2 * getattr(TRUE, name), name


def test_envelope_and_parabolas_give_the_exponent_of_the_best_size() -> None:
    everything = grid()
    a = TRUE.exponent
    assert isoflop(everything) == pytest.approx(a, abs=0.03)
    assert envelope(everything.take(everything.family == 0)) == pytest.approx(a, abs=0.05)


def test_too_few_costs_are_refused() -> None:
    few = grid().take(slice(0, 24))
    with pytest.raises(ValueError, match="at least 3"):
        isoflop(few)
    with pytest.raises(ValueError, match="at least 3"):
        envelope(few)
    with pytest.raises(ValueError, match="more than 5"):
        parametric(few.take(slice(0, 5)))


def test_a_grid_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_text("C,N,val_loss,D,iso_C\n6e6,100,0.5,1e4,0\n6e7,200,0.25,5e4,6e7\n")
    found = read(tmp_path / "grid.csv")
    assert (found.n.tolist(), found.d.tolist(), found.family.tolist()) == ([100, 200], [1e4, 5e4], [0, 6e7])
    (tmp_path / "bad.csv").write_text("C,N,val_loss,D\n6e6,100,-0.5,1e4\n")
    with pytest.raises(ValueError, match="val_loss must be positive"):
        read(tmp_path / "bad.csv")
    (tmp_path / "less.csv").write_text("C,N,D\n6e6,100,1e4\n")
    with pytest.raises(ValueError, match="needs the column val_loss"):
        read(tmp_path / "less.csv")

"""Maps that make scores independent of the mass, against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

from tools.anomaly.data import Windowed
from tools.anomaly.decorrelated import decorrelated
from tools.contract import ToolError
from tools.decorrelation.cnots import Cnots
from tools.decorrelation.coordinates import Context, NormalScores, untied
from tools.decorrelation.flow import Flow
from tools.decorrelation.potential import conjugate_point, potential
from tools.dependence import dependence

N = 20_000
QUICK = Cnots(steps=160, hidden=16)


def toy(n: int = N, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores N(m - 3.5, 0.5 + m / 5) at masses between 2.5 and 5: (n, 1) each."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(2.5, 5.0, n)
    return (mass - 3.5 + (0.5 + mass / 5) * rng.normal(size=n))[:, None], mass[:, None]


@pytest.mark.parametrize("method", [QUICK, Flow()], ids=["cnots", "flow"])
def test_the_map_of_one_score_is_the_transform_of_quantiles(method: Cnots | Flow) -> None:
    learned = method.fit(*toy(), 1)
    mass, level = np.repeat(np.linspace(2.6, 4.9, 12), 19), np.tile(np.linspace(0.05, 0.95, 19), 12)
    scores = mass - 3.5 + (0.5 + mass / 5) * ndtri(level)
    all_scores = np.sort(toy(400_000, 2)[0][:, 0])
    found = np.searchsorted(all_scores, learned(scores[:, None], mass[:, None])[:, 0]) / len(all_scores)
    before = np.searchsorted(all_scores, scores) / len(all_scores)
    assert np.abs(before - level).max() > 0.3
    assert np.abs(found - level).max() < 0.04  # the benchmark has ten times the events, and 1%


@pytest.mark.parametrize("method", [QUICK, Flow()], ids=["cnots", "flow"])
def test_cuts_on_new_events_no_longer_shape_the_mass(method: Cnots | Flow) -> None:
    learned = method.fit(*toy(), 1)
    score, mass = toy(8000, 3)
    moved = learned(score, mass)[:, 0]
    for efficiency in (0.5, 0.1):
        before, after = (
            dependence(mass[:, 0], each >= np.quantile(each, 1 - efficiency)) for each in (score[:, 0], moved)
        )
        assert before.over_ceiling < 0.03
        assert after.over_ceiling > 0.3


def test_the_map_keeps_order_at_each_mass_also_beyond_the_background() -> None:
    learned = QUICK.fit(*toy(5000), 1)
    score = np.linspace(-9, 12, 400)[:, None]
    for at in (2.5, 3.7, 5.0):
        assert np.all(np.diff(learned(score, np.full((400, 1), at))[:, 0]) > 0)
    np.testing.assert_array_equal(learned(score, np.full((400, 1), 9.0)), learned(score, np.full((400, 1), 5.0)))


def test_two_scores_lose_the_correlation_that_changes_and_flows_keep_it() -> None:
    rng = np.random.default_rng(5)
    mass = rng.uniform(2.5, 5.0, N)
    r = 0.6 * (mass - 3.75)
    first, other = rng.normal(size=(2, N))
    scores = np.column_stack([first, r * first + np.sqrt(1 - r**2) * other])

    def change(scores: np.ndarray) -> float:
        low, high = mass < 3, mass > 4.5
        return float(np.corrcoef(scores[high].T)[0, 1] - np.corrcoef(scores[low].T)[0, 1])

    assert change(scores) > 1.0
    assert change(Flow().fit(scores, mass[:, None], 1)(scores, mass[:, None])) > 0.9
    moved = QUICK.fit(scores, mass[:, None], 1)(scores, mass[:, None])
    assert abs(change(moved)) < 0.25
    np.testing.assert_allclose(
        np.quantile(moved, [0.1, 0.5, 0.9], axis=0), ndtri([[0.1], [0.5], [0.9]]) * [1, 1], atol=0.1
    )


def test_several_protected_columns_and_negative_ones_are_for_transport() -> None:
    rng = np.random.default_rng(6)
    at = np.column_stack([rng.uniform(-1, 1, N), rng.uniform(1, 5, N)])
    score = (rng.normal(size=N) + at[:, 0] - 0.4 * at[:, 1])[:, None]
    moved = QUICK.fit(score, at, 1)(score, at)
    assert np.abs([np.corrcoef(moved[:, 0], column)[0, 1] for column in at.T]).max() < 0.08
    assert np.abs([np.corrcoef(score[:, 0], column)[0, 1] for column in at.T]).min() > 0.3
    for wrong, said in ((at, "one column"), (at[:, :1], "above 0")):
        with pytest.raises(ToolError, match=said):
            Flow().fit(score, wrong, 1)


def test_gradient_and_hessian_are_those_of_the_potential() -> None:
    torch.manual_seed(3)
    model = potential(3, 2, 8)
    z, c = torch.randn(5, 3, requires_grad=True), torch.randn(5, 2)
    at = {name: value.detach() for name, value in model.at(c).items()}
    (expected,) = torch.autograd.grad(model.value(z, at).sum(), z, create_graph=True)
    rows = torch.stack([torch.autograd.grad(expected[:, i].sum(), z, retain_graph=True)[0] for i in range(3)], dim=1)
    gradient, hessian = model.derivatives(z, at)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(hessian, rows, rtol=1e-4, atol=1e-5)
    assert torch.linalg.eigvalsh(hessian).min() > 0  # convex
    y = 2 * torch.randn(5, 3)
    with torch.no_grad():
        solved = model.gradient(conjugate_point(model, y, at), at)
    torch.testing.assert_close(solved, y, rtol=0, atol=0.02)


def test_coordinates_go_both_ways_and_beyond_their_range() -> None:
    scores = np.random.default_rng(7).gamma(2.0, size=(5000, 2))
    normal = NormalScores.of(scores)
    z = normal.forward(scores)
    np.testing.assert_allclose(normal.inverse(z), scores, rtol=1e-9)
    assert np.abs(np.quantile(z, ndtr([-1, 0, 1]), axis=0).T - [-1, 0, 1]).max() < 0.01
    beyond = normal.forward(np.full((1, 2), 100.0))
    assert np.all(beyond > z.max(axis=0))
    with pytest.raises(ToolError, match="different values"):
        NormalScores.of(np.tile([[0.0], [1.0]], (1000, 1)))
    with pytest.raises(ToolError, match="1000"):
        NormalScores.of(scores[:999])
    with pytest.raises(ToolError, match="varies"):
        Context.of(np.ones((10, 1)))


def test_equal_scores_make_no_step_in_the_mass() -> None:
    """Trees give few values. All events of one value move together: of these a cut would keep some masses only."""
    score, mass = toy()
    steps = np.floor(1.5 * score)
    apart = untied(steps, 1)
    assert len(np.unique(apart)) == len(apart)
    assert np.all((apart <= steps) & (apart > steps - 1))
    learned = Flow().fit(apart, mass, 1)
    moved, tied = (learned(each, mass)[:, 0] for each in (apart, steps))
    left, right = (dependence(mass[:, 0], each >= np.median(each)).over_ceiling for each in (tied, moved))
    assert right > 0.3
    assert left < 0.2


def search(seed: int = 1) -> tuple[Windowed, np.ndarray, np.ndarray]:
    """A falling spectrum with a score that rises with the mass, and 60 events at 3.5 TeV that score high."""
    rng = np.random.default_rng(seed)
    mjj = 2.4 + rng.exponential(0.8, N)
    is_signal = np.arange(N) < 60
    mjj[is_signal] = rng.normal(3.5, 0.03, 60)
    score = rng.normal(size=N) + 0.8 * (mjj - 3) + 2.5 * is_signal
    inside = (mjj >= 3.3) & (mjj < 3.7)
    return Windowed(np.empty((N, 0)), mjj, inside, (3.3, 3.7)), score, is_signal


def test_in_a_search_the_map_is_learned_beside_the_window_only() -> None:
    data, score, is_signal = search()
    template = score[data.inside & ~is_signal], data.mjj[data.inside & ~is_signal]
    moved, (of_template,) = decorrelated("flow", data, score, [template], 1)
    other = np.where(data.inside, score + 1, score)
    again, _ = decorrelated("flow", data, other, [template], 1)
    np.testing.assert_allclose(again[~data.inside], moved[~data.inside], rtol=1e-6)  # whatever is in the window
    beside = dependence(data.mjj[~data.inside], moved[~data.inside] >= np.quantile(moved, 0.95))
    assert beside.over_ceiling > 0.3
    # Neither does the window of background gain by the cut, nor does signal lose.
    at = np.quantile(moved[~data.inside], 0.99)
    assert (moved[data.inside & ~is_signal] >= at).mean() == pytest.approx(0.01, abs=0.006)
    assert (of_template >= at).mean() == pytest.approx(0.01, abs=0.006)
    assert (moved[is_signal] >= at).mean() > 0.4
    few = Windowed(data.features[:2500], data.mjj[:2500], np.ones(2500, dtype=bool), data.window)
    with pytest.raises(ToolError, match="outside the window"):
        decorrelated("flow", few, score[:2500], [], 1)

"""Density ratios: known answers, calibration, and the ensemble against networks one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tools.contract import ToolError
from tools.unfolding.classifier import FOLDS, Weighted, calibrated, ratio
from tools.unfolding.mlp import CHUNK, Mlp
from tools.unfolding.trees import Trees

QUICK = Mlp(hidden=8, layers=2, epochs=4)


def shifted(n: int, shift: float, seed: int = 1) -> Weighted:
    """Two normals a `shift` apart: the log ratio is shift (x - shift/2)."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.standard_normal(n), rng.normal(shift, 1, n)])[:, None]
    second = np.arange(2 * n) >= n
    return Weighted(x, 1.0 * ~second, 1.0 * second)


@dataclass(frozen=True)
class Linear:
    """What it says of x is `slope` x + `offset`."""

    slope: float
    offset: float

    def member(self, x: np.ndarray, k: int) -> np.ndarray:
        return self.slope * x[:, 0] + self.offset

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        return self.member(x, 0)


@pytest.mark.parametrize("classifier", [QUICK, Trees(max_iter=50)], ids=["mlp", "trees"])
def test_two_normals_have_their_log_ratio(classifier: Mlp | Trees) -> None:
    found = ratio(classifier, shifted(10_000, 0.5), split=1, seed=1, members=2)
    x = np.linspace(-1.5, 2, 30)[:, None]
    assert np.abs(found.log_ratio(x) - 0.5 * (x[:, 0] - 0.25)).max() < 0.2
    # The Jensen-Shannon divergence of the two, twice d^2/8 of the half-sums for small d: 0.0306 for 0.5 by integration.
    z = np.linspace(-8, 8, 4001)
    p, q = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), np.exp(-((z - 0.5) ** 2) / 2) / np.sqrt(2 * np.pi)
    exact = np.trapezoid(p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q)), z) / 2
    assert found.gain == pytest.approx(exact, abs=4 * found.gain_error)
    assert found.gain > 5 * found.gain_error


def test_weights_count_like_copies() -> None:
    """One file of events with two weights each says the same as two files."""
    one = shifted(4000, 0.5)
    w = np.exp(0.5 * (one.x[:4000, 0] - 0.25))
    both = Weighted(one.x[:4000], np.ones(4000), w)
    copies = Weighted(np.concatenate([both.x, both.x]), np.repeat([1.0, 0.0], 4000), np.concatenate([0 * w, w]))
    x = np.linspace(-1.5, 2, 30)[:, None]
    got = [ratio(QUICK, each, split=1, seed=1, members=1).log_ratio(x) for each in (both, copies)]
    assert np.abs(got[0] - 0.5 * (x[:, 0] - 0.25)).max() < 0.1  # soft labels: no noise of sampling
    assert np.abs(got[0] - got[1]).max() < 0.25


@pytest.mark.parametrize("wrong", [1.0, 1.3, 0.8])
def test_calibration_undoes_a_wrong_slope_and_offset(wrong: float) -> None:
    held = shifted(200_000, 0.5)
    model = Linear(0.5 * wrong, -0.125 * wrong + 0.2)
    found = calibrated(model, model.member(held.x, 0), held)
    assert found.slope == pytest.approx(1 / wrong, abs=0.02)
    assert found.log_ratio(np.array([[1.0]]))[0] == pytest.approx(0.375, abs=0.02)


def test_few_events_do_not_move_the_slope() -> None:
    held = shifted(100, 0.05, seed=3)
    model = Linear(0.05, 0)
    assert calibrated(model, model.member(held.x, 0), held).slope == pytest.approx(1, abs=0.02)


def test_samples_that_do_not_differ_have_no_gain() -> None:
    gains = [ratio(QUICK, shifted(2000, 0.0, seed), seed, seed, members=1) for seed in range(3)]
    assert sum(found.gain > 2 * found.gain_error for found in gains) <= 1


def test_each_member_has_its_own_events_held_out_and_its_own_start() -> None:
    seen = []

    class Spy(Mlp):
        def fit(self, events, splits, seed, start=None):  # type: ignore[no-untyped-def]
            seen.extend(splits)
            return super().fit(events, splits, seed, start)

    events = shifted(500, 0.3)
    found = ratio(Spy(hidden=4, layers=1, epochs=1), events, split=1, seed=1, members=FOLDS)
    assert sorted(np.concatenate([held for _, held in seen])) == list(range(1000))
    for used, held in seen:
        assert not set(used) & set(held)
        assert len(used) + len(held) == 1000
    parameters = found.model.parameters  # type: ignore[attr-defined]
    assert len(torch.unique(parameters[:, 0])) == FOLDS


def test_the_ensemble_at_once_is_its_members_one_by_one() -> None:
    events = shifted(500, 0.5).balanced()
    order = np.arange(1000)
    model = Mlp(hidden=5, layers=2, epochs=1).fit(events, [(order[100:], order[:100]), (order[:-100], order[-100:])], 1)
    x = np.linspace(-2, 2, 7)[:, None]
    for k in range(2):
        p, h, at = model.parameters[k], torch.as_tensor((x - model.mean) / model.std, dtype=torch.float32), 0
        for layer, (a, b) in enumerate([(1, 5), (5, 5), (5, 1)]):
            h = (torch.nn.functional.silu(h) if layer else h) @ p[at : at + a * b].view(a, b) + p[
                at + a * b : at + a * b + b
            ]
            at += a * b + b
        np.testing.assert_allclose(model.member(x, k), h[:, 0].detach(), rtol=1e-5, atol=1e-6)
    mean = (model.member(x, 0) + model.member(x, 1)) / 2
    np.testing.assert_allclose(model.log_ratio(x), mean, rtol=1e-5, atol=1e-6)


def test_evaluation_does_not_depend_on_the_batch() -> None:
    model = Mlp(hidden=4, layers=1, epochs=1).fit(
        shifted(500, 0.5).balanced(), [(np.arange(900), np.arange(900, 1000))], 1
    )
    x = np.linspace(-3, 3, CHUNK + 3)[:, None]
    alone = np.array([model.log_ratio(row[None])[0] for row in x[-5:]])
    np.testing.assert_allclose(model.log_ratio(x)[-5:], alone, rtol=1e-5, atol=1e-6)


def test_it_keeps_the_best_epoch_and_stops_when_none_is_better() -> None:
    """Held-out events say the opposite of those of training: the start, a ratio of 1, stays."""
    events = shifted(500, 2.0)
    held = np.concatenate([np.arange(100), np.arange(500, 600)])
    flipped = Weighted(events.x, events.reference.copy(), events.target.copy())
    flipped.reference[held], flipped.target[held] = events.target[held], events.reference[held]
    used = np.setdiff1d(np.arange(1000), held)
    spent = Mlp(hidden=4, layers=1, epochs=1000, patience=2, learning_rate=0.1)
    model = spent.fit(flipped.balanced(), [(used, held)], 1)
    np.testing.assert_array_equal(model.log_ratio(events.x), 0)


def test_a_rate_that_diverges_is_named() -> None:
    with pytest.raises(ToolError, match="learning_rate"):
        ratio(
            QUICK,
            Weighted(np.full((100, 1), 1.0) + np.arange(100)[:, None] * np.nan, np.ones(100), np.ones(100)),
            split=1,
            seed=1,
            members=1,
        )


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    import tools.unfolding.mlp as module

    x = np.linspace(-1.5, 1.5, 20)[:, None]
    found = []
    for where in ("cpu", "cuda"):
        monkeypatch.setattr(module, "device", lambda where=where: where)
        found.append(ratio(QUICK, shifted(4000, 0.3), split=1, seed=1, members=2).log_ratio(x))
    np.testing.assert_allclose(found[0], found[1], atol=0.01)

"""Generative unfolding: Gaussians whose posterior and bridges are known, coordinates, priors, efficiency and fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest
from unfolding_toys import gaussian

from tools.contract import ToolError
from tools.events.parquet import read_columns, write_events
from tools.unfolding import unfold
from tools.unfolding.bridge import DirectDiffusion, SchroedingerBridge
from tools.unfolding.coordinates import Residuals
from tools.unfolding.flow_matching import FlowMatching
from tools.unfolding.generative import Generative
from tools.unfolding.marginals import Marginals, Peak, Ranks
from tools.unfolding.mlp import Mlp
from tools.unfolding.problem import Problem
from tools.unfolding.read import read
from tools.unfolding.steps import Steps

SMALL = {"hidden": 32, "blocks": 1, "epochs": 8}
QUICK = Mlp(hidden=4, layers=1, epochs=1)
R = 0.8  # correlation of the pair
N = 15_000


def pair(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gen = rng.standard_normal((n, 1))
    return gen, R * gen + np.sqrt(1 - R**2) * rng.standard_normal((n, 1))


def learned(method: Generative, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(reco, drawn) of events that the method has not seen."""
    posterior = method.fit(*pair(N, seed), np.ones(N), seed)
    reco = pair(N, seed + 1)[1]
    return reco[:, 0], posterior.draw(reco, 1, seed)[:, 0, 0]


def known(g: float) -> float:
    """corr(unfolded, reco) of the unconditional bridge: exp(-int_0^1 (1 - c)/t dt), c = cov(x0, x_t)/var(x_t)."""

    def rate(t: float) -> float:
        return (1 - ((1 - t) + t * R) / ((1 - t) ** 2 + t**2 + 2 * t * (1 - t) * R + g * t * (1 - t))) / t

    return float(np.exp(-quad(rate, 1e-9, 1)[0]))


def test_the_known_curve_has_its_published_values() -> None:
    np.testing.assert_allclose(
        [known(g) for g in (0.0, 0.01, 0.1, 0.3, 1.0)], [1, 0.9947, 0.9487, 0.8585, 0.634], atol=5e-4
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (DirectDiffusion(noise=0, conditional=False, **SMALL), known(0.0)),
        (DirectDiffusion(noise=0.1, conditional=False, **SMALL), known(0.1)),
        (SchroedingerBridge(noise=0.3, conditional=False, **SMALL), known(0.3)),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_without_the_condition_events_stay_near_where_they_were_measured(method: Generative, expected: float) -> None:
    reco, drawn = learned(method)
    assert np.corrcoef(reco, drawn)[0, 1] == pytest.approx(expected, abs=0.015)
    assert drawn.var() == pytest.approx(1, abs=0.08)  # the marginal is right


@pytest.mark.parametrize(
    "method",
    [FlowMatching(**SMALL), DirectDiffusion(**SMALL), SchroedingerBridge(**SMALL)],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_with_the_condition_each_event_gets_its_posterior(method: Generative) -> None:
    reco, drawn = learned(method)
    assert np.corrcoef(reco, drawn)[0, 1] == pytest.approx(R, abs=0.025)
    assert np.var(drawn - R * reco) == pytest.approx(1 - R**2, abs=0.04)


@pytest.mark.parametrize("kind", ["direct_diffusion", "schroedinger_bridge"])
def test_a_conditional_bridge_without_noise_is_refused(kind: str) -> None:
    with pytest.raises(ToolError, match="noise") as error:
        unfold(observables=["x"], method={"kind": kind, "noise": 0})
    assert error.value.field.startswith("method")


def test_the_times_of_the_schroedinger_bridge_run_from_0_to_1_and_back_alike() -> None:
    bridge, u = SchroedingerBridge(), np.linspace(0, 1, 101)
    t = np.array([bridge.time(each) for each in u])
    assert np.all(np.diff(t) > 0)
    np.testing.assert_allclose(t + t[::-1], 1, atol=1e-12)
    np.testing.assert_allclose(t[[0, 100]], [0, 1], atol=1e-12)
    assert np.argmax(np.diff(t)) in (49, 50)  # most noise in the middle


def test_coordinates_are_normal_and_give_values_back() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    columns = [rng.exponential(size=n), rng.poisson(3.0, n) * 1.0, np.where(rng.random(n) < 0.2, 0.0, rng.random(n))]
    x = np.column_stack(columns)
    levels = Marginals.of(x, np.ones(n), {})
    z = levels.forward(x, rng)
    for column in z.T:
        assert kstest(column, "norm").statistic < 0.015
    back = levels.inverse(z)
    np.testing.assert_allclose(back, x, atol=1e-6)
    np.testing.assert_array_equal(back[:, 1], x[:, 1])  # whole numbers
    np.testing.assert_array_equal(back[:, 2] == 0, x[:, 2] == 0)  # of many events
    far = levels.inverse(np.full((1, 3), 9.0))
    np.testing.assert_allclose(far[0], x.max(axis=0))


def test_coordinates_count_weights() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0])
    assert Ranks.of(x, np.array([3.0, 0.0, 0.0, 1.0])).ranks[1] == pytest.approx(0.75)
    assert Marginals.of(x[:, None], np.array([1.0, 1.0, 0.0, 0.0]), {}).columns[0].inverse(np.array([9.0])) == 1.0


def test_residuals_make_a_narrow_peak_wide_and_give_events_back() -> None:
    """A value measured well, or not at all, is normal as a residual, and its peak as wide as its share."""
    rng = np.random.default_rng(6)
    n = 20_000
    gen = rng.exponential(size=(n, 2))
    reco = gen + 1e-3 * rng.standard_normal((n, 2))
    lost = rng.random(n) < 0.3
    reco[lost, 0] = rng.exponential(size=int(lost.sum()))
    gen[:, 1] = np.where(gen[:, 1] < 0.2, 0.0, gen[:, 1])  # a value of many events
    known = Residuals.of(gen, reco, np.ones(n), {}, rng)
    c = known.condition(reco, rng)
    x = known.forward(gen, c, rng)
    assert kstest(x[:, 0], "norm").statistic < 0.015
    assert np.std(x[~lost, 0]) > 0.5  # against 0.001 in coordinates of the true value
    back = known.inverse(x, c)
    np.testing.assert_allclose(back, gen, atol=0.01)
    np.testing.assert_array_equal(back[:, 1] == 0, gen[:, 1] == 0)
    assert known.inverse(np.full((1, 2), 9.0), c[:1]).max() <= gen.max()


def test_a_breit_wigner_peak_becomes_a_gaussian_and_stays() -> None:
    rng = np.random.default_rng(2)
    mass = 91.19 + 2.5 / 2 * np.tan(np.pi * (rng.random(20_000) - 0.5))
    peak = Peak(91.19, 2.5).of(mass, np.ones(len(mass)))
    z = peak.forward(mass, rng)
    assert kstest(z, "norm").statistic < 0.015
    np.testing.assert_allclose(peak.inverse(z), mass, rtol=1e-4)


def test_iterations_remove_the_prior() -> None:
    """Truth N(0.8, 0.8), smeared by 0.5: one pass keeps a known part of the simulation, several remove it."""
    problem, truth = gaussian(3000, seed=3, mean=0.8)
    means = {}
    for iterations in (1, 4):
        done = FlowMatching(iterations=iterations, steps=8, **SMALL | {"epochs": 16}).unfold(problem, seed=1)
        means[iterations] = np.average(problem.gen[:, 0], weights=done.push)
        assert done.drawn is not None
        assert np.average(done.drawn.gen, weights=done.drawn.weight[..., None]) == pytest.approx(
            means[iterations], abs=0.05
        )
        assert len(done.totals) == len(done.effective) == iterations + 1
        assert done.totals[-1] == pytest.approx(3000, rel=1e-3)
        assert done.effective[-1] < done.effective[0] == pytest.approx(3000)
    # The posterior of the simulation shrinks the mean by 1/(1 + 0.5^2).
    assert means[1] == pytest.approx(0.8 / 1.25, abs=0.05)
    assert abs(means[4] - truth.mean()) < 0.4 * abs(means[1] - truth.mean())


def test_efficiency_and_fakes_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Efficiency falls with the truth, every tenth event is a fake; from files to files, with another method beside."""
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(4), 5000
    fakes = n // 10

    def measured(mean: float, width: float) -> tuple[np.ndarray, ...]:
        gen = rng.normal(mean, width, n)
        passed = rng.random(n) < 1 / (1 + np.exp(gen - 0.5))
        reco = np.concatenate([gen + 0.3 * rng.standard_normal(n), rng.normal(-1, 1, fakes)])
        passed = np.concatenate([passed, np.ones(fakes, dtype=bool)])
        return np.concatenate([gen, np.full(fakes, -999.0)]), np.where(passed, reco, -999.0), passed * 1.0

    gen, reco, passed = measured(0.0, 1.0)
    flags = {"pass_gen": (np.arange(len(gen)) < n) * 1.0, "pass_reco": passed, "weight": np.ones(len(gen))}
    write_events(Path("simulation.parquet"), {"gen_x": gen, "reco_x": reco, **flags})
    truth, data, seen = measured(0.3, 0.8)
    write_events(Path("data.parquet"), {"reco_x": data, "pass_reco": seen})
    result = unfold(
        data="data.parquet",
        simulation="simulation.parquet",
        observables=["x"],
        method={"kind": "direct_diffusion", "iterations": 2, "steps": 20, **SMALL},
        beside={"kind": "ibu", "iterations": 3},
        out_samples="drawn.parquet",
    )
    events = read(Path("unfolded.parquet"))
    drawn = read_columns(Path("drawn.parquet"))
    assert result.replicas == ["ensemble_0", "method"]
    assert set(result.mean_errors["x"]) == {"method"}
    assert np.all(seen[drawn["event"].astype(int)] == 1)
    spread = 4 * np.sqrt(2 * 0.7 * n) / 0.6  # of both samples and of the fakes, over the efficiency
    for values, weight in (
        (events.gen["x"][:n], events.weights["nominal"][:n]),
        (events.gen["x"][:n], events.weights["method"][:n]),
        (drawn["gen_x"], drawn["weight"]),
    ):
        assert weight.sum() == pytest.approx(n, abs=spread)
        assert np.average(values, weights=weight) == pytest.approx(truth[:n].mean(), abs=0.08)


def test_the_order_of_events_does_not_matter() -> None:
    problem, _ = gaussian(1000, seed=5)
    rng = np.random.default_rng(1)
    data, sim = rng.permutation(1000), rng.permutation(1000)
    shuffled = Problem.of(problem.data[data], problem.gen[sim], problem.reco[sim])
    method = FlowMatching(
        hidden=8, blocks=1, epochs=2, iterations=1, steps=4, classifier=Mlp(hidden=4, layers=1, epochs=1)
    )
    one, other = method.unfold(problem, seed=2), method.unfold(shuffled, seed=2)
    np.testing.assert_allclose(one.push[sim], other.push, rtol=1e-3)  # sums in another order round otherwise
    assert one.drawn is not None
    assert other.drawn is not None
    np.testing.assert_allclose(one.drawn.gen[data], other.drawn.gen, atol=1e-3)


def test_weights_that_are_not_finite_end_the_unfolding() -> None:
    problem, _ = gaussian(100, seed=6)
    for wrong in (np.nan, np.inf, -1.0):
        steps = Steps(problem)
        push = np.ones(100)
        push[7] = wrong
        with pytest.raises(ToolError, match="after update 1, 1 are not"):
            steps.add(push)


def test_what_generative_methods_cannot_do_is_named() -> None:
    with pytest.raises(ToolError, match="peaks of the observables a, b"):
        FlowMatching(peaks={"m_z": (91.2, 2.5)}).on(["a", "b"])
    with pytest.raises(ToolError, match="width above 0"):
        FlowMatching(peaks={"a": (91.2, 0.0)}).on(["a"])
    with pytest.raises(ToolError, match="draws no events"):
        unfold(observables=["x"], method="ibu", out_samples="drawn.parquet")

"""The audit of a dijet claim, part by part: a decoy has nothing to find, and features alone tell signal from mjj."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from tasks.lhco import decoy, truth
from tasks.lhco.audit import LhcoAudit, secret
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.explained import TELLING, explained, predicted, without_mjj
from tasks.lhco.files import EVENTS
from tasks.lhco.pairs import scaled_pairs, shapes
from tasks.lhco.variable import DIJETS
from tasks.score import Score
from tests.tools.dijet_toys import dijets
from tools.anomaly.data import MIN_EVENTS
from tools.events.jets_lhco import pair_mass
from tools.events.parquet import read_columns, write_events

WINDOW, MASS, SEARCH, CUT = (3.3, 3.7), 3.5, (2.7, 5.5), 1e-2
AUDIT = LhcoAudit(alpha=1e-3, variable=DIJETS, sidebands=True)
SUBMISSION = SearchSubmission(scores="scores.parquet", window=WINDOW)


def spectrum(n: int, seed: int = 1) -> np.ndarray:
    """Falling dijet masses, TeV."""
    return np.asarray(2.4 + np.random.default_rng(seed).exponential(0.8, n))


def world(n: int = 30_000, n_signal: int = 150, seed: int = 1) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two features, of which one separates, and signal near MASS."""
    rng = np.random.default_rng(seed)
    is_signal = rng.permutation(np.arange(n) < n_signal)
    mjj = np.where(is_signal, rng.normal(MASS, 0.03, n), spectrum(n, seed + 1))
    return {"mjj": mjj, "mj1": rng.normal(size=n) + 3.5 * is_signal, "mj2": rng.uniform(size=n)}, is_signal


def confirmed(z: float, **more: Any) -> Score:
    """What a test on the held-out events said."""
    details: dict[str, Any] = {
        "window": list(WINDOW),
        "cuts": [{"efficiency": CUT, "signal": 60.0, "signal_error": 9.0}],
        "best": 0,
        "tested_mass": MASS,
        "tested_width": 0.01,
        "efficiency": CUT,
        "p_global": float(norm.sf(z)),
        "fraction": 0.5,
        "mass": MASS,
        "n_signal": 150.0,
    } | more
    return Score(metric="m", value=z, error=1.0, reason="r", details=details)


@pytest.mark.parametrize(
    ("window", "mass"), [((3.3, 3.7), 3.5), ((2.7, 3.0), 2.85), ((3.0, 4.0), 3.4), ((5.0, 5.5), 5.2)]
)
def test_a_move_takes_the_claimed_signal_out_of_the_window_and_others_into_it(
    window: tuple[float, float], mass: float
) -> None:
    mjj = spectrum(100_000)
    before = int(((mjj >= window[0]) & (mjj < window[1])).sum())
    factors = set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        move = decoy.plan_move(mjj, window, mass, 0.02, rng)
        assert move.zone[1] <= window[0] + 1e-9 or move.zone[0] >= window[1] - 1e-9
        assert move.zone[0] < move.factor * mass < move.zone[1]
        new = mjj * decoy.moved(mjj, move, rng)
        assert ((new >= window[0]) & (new < window[1])).sum() > 0.15 * before
        factors.add(move.factor)
    assert len(factors) == 5  # nobody knows it beforehand


def test_a_move_leaves_as_many_events_as_the_tools_need() -> None:
    """Of few events too few would be left if masses were scaled down."""
    mjj = spectrum(6000)
    for many, up in ((mjj, True), (np.tile(mjj, 10), False)):
        move = decoy.plan_move(many, WINDOW, MASS, 0.02, np.random.default_rng(1))
        assert (move.factor > 1) == up
        assert min(np.histogram(many * move.factor, [0, *WINDOW, np.inf])[0]) >= MIN_EVENTS


def test_a_bump_is_found_wherever_it_is_but_for_the_where_of_the_claimed_signal() -> None:
    mjj, rng = spectrum(40_000), np.random.default_rng(1)
    score = rng.normal(size=len(mjj))
    move = decoy.Move(0.9, (2.85, 3.15))

    def found(at: float) -> decoy.Excess:
        lifted = (np.abs(mjj / at - 1) < 0.01) & (rng.uniform(size=len(mjj)) < 0.2)
        return decoy.bump(mjj, score + 6 * lifted, WINDOW, CUT, DIJETS, move)

    for at in (3.5, 4.4):
        assert found(at).p_value < 1e-6
        assert found(at).mass == pytest.approx(at, rel=0.02)
        assert found(at).origin == pytest.approx(at / 0.9, rel=0.02)
    assert found(3.0).p_value > 1e-3
    assert decoy.bump(mjj, score, WINDOW, CUT, DIJETS, move).p_value > 1e-3


def test_what_follows_from_features_is_found_without_mjj_and_what_does_not_is_not() -> None:
    columns, _ = world()
    seen = np.random.default_rng(3).uniform(size=len(columns["mjj"])) < 0.5
    features = without_mjj(columns)
    assert set(features) >= {"mj1", "mj2"}
    score = columns["mj1"] ** 3
    h = explained(features, score, seen)
    assert np.corrcoef(np.argsort(np.argsort(h)), np.argsort(np.argsort(score[~seen])))[0, 1] > 0.98
    near = np.exp(-0.5 * ((columns["mjj"] / MASS - 1) / 0.01) ** 2)
    lifted = np.random.default_rng(4).normal(size=len(seen)) + 6 * near
    background = ~(columns["mj1"] > 2)
    h = explained({name: values[background] for name, values in features.items()}, lifted[background], seen[background])
    assert abs(np.corrcoef(h, lifted[background & ~seen])[0, 1]) < 0.05


def test_features_from_which_mjj_could_be_computed_are_left_out_whatever_their_name() -> None:
    columns, _ = world()
    rng, log_mass = np.random.default_rng(5), np.log(columns["mjj"])
    noise = rng.normal(size=len(log_mass)) * log_mass.std()
    more = {
        "pt_j1": columns["mjj"] / 2,
        "delta_r_jj": columns["mjj"] + noise,
        "spread": log_mass + 0.5 * noise,
        "one": log_mass + 3 * noise,
    }
    kept = without_mjj(columns, {"by_particles": log_mass + 0.1 * noise})
    assert "by_particles" not in kept
    features = without_mjj(columns | more)
    assert set(features) == {"mj1", "mj2", "delta_mj", "one"}
    assert predicted(features, log_mass) < TELLING < predicted({"spread": more["spread"]}, log_mass)


def examined(folder: Path, score: np.ndarray, columns: dict[str, np.ndarray], claim: Score, **more: Any) -> Score:
    write_events(folder / EVENTS, columns)
    write_events(folder / "scores.parquet", {"score": score})
    unseen = np.arange(len(score)) % 2 == 0
    submission = SUBMISSION.model_copy(update=more)
    return AUDIT.examine(submission, claim, folder, folder, unseen)


def test_a_claim_stands_by_its_features_or_fails_with_the_reason_and_without_numbers(tmp_path: Path) -> None:
    columns, _ = world()
    honest = examined(tmp_path, columns["mj1"], columns, confirmed(8.0))
    assert honest.value == 8.0
    assert honest.details["audit"]["features_alone"] > 4
    assert honest.details["audit"]["inverse_jsd"] > 0.3 * honest.details["audit"]["jsd_ceiling"]
    null, _ = world(n_signal=0)
    bump = -null["mj1"] + 4 * np.exp(-0.5 * ((null["mjj"] / MASS - 1) / 0.01) ** 2)
    caught = examined(tmp_path, bump, null, confirmed(12.0))
    assert caught.value is None
    assert "features without mjj do not explain the scores" in caught.reason
    assert not {"p_global", "mass", "n_signal", "cuts"} & set(caught.details)
    assert caught.details["audit"]["significance"] == pytest.approx(12.0)


def test_a_warning_about_the_cut_is_no_claim_and_without_a_claim_there_is_nothing_to_audit(tmp_path: Path) -> None:
    columns, _ = world(n_signal=300)
    step = columns["mj1"] + 1.5 * ((columns["mjj"] > 2.8) & (columns["mjj"] < 2.95))
    warned = examined(tmp_path, step, columns, confirmed(8.0, warning="The score sculpts mjj."))
    assert warned.value is None
    assert "The score sculpts mjj." in warned.reason
    weak = confirmed(1.0, warning="whatever")
    assert examined(tmp_path, columns["mj1"], columns, weak) is weak
    assert not AUDIT.decoy(SUBMISSION, weak, weak, tmp_path, tmp_path, tmp_path / "decoy")
    assert not (tmp_path / "decoy").exists()


def test_the_template_must_count_as_many_as_the_fit_finds(tmp_path: Path) -> None:
    columns, is_signal = world()
    handed_in = {"reference_scores": "template.parquet"}
    rng = np.random.default_rng(7)
    inside = (columns["mjj"] >= WINDOW[0]) & (columns["mjj"] < WINDOW[1]) & (np.arange(len(is_signal)) % 2 == 0)
    passing = int((is_signal & inside).sum())
    claim = confirmed(8.0, cuts=[{"efficiency": CUT, "signal": 0.85 * passing, "signal_error": 9.0}])
    write_events(tmp_path / "template.parquet", {"score": rng.normal(size=20_000)})
    assert examined(tmp_path, columns["mj1"], columns, claim, **handed_in).ok
    write_events(tmp_path / "template.parquet", {"score": rng.normal(size=20_000) + 2.0})
    other = examined(tmp_path, columns["mj1"], columns, claim, **handed_in)
    assert other.value is None
    assert "the template's count and the fit disagree" in other.reason


def folders(path: Path, columns: dict[str, np.ndarray], is_signal: np.ndarray) -> None:
    for name in ("held_out", "sealed", "audit"):
        (path / name).mkdir()
    write_events(path / "held_out" / EVENTS, columns)
    labels = truth.Truth(mass=MASS, n_signal=int(is_signal.sum()), window=WINDOW)
    truth.write(path / "sealed", labels, is_signal, np.arange(len(is_signal)) % 2 == 0)


def test_on_the_decoy_a_recipe_that_makes_bumps_is_caught_and_one_that_finds_signal_is_not(tmp_path: Path) -> None:
    columns, is_signal = world()
    folders(tmp_path, columns, is_signal)
    held_out, sealed, inputs, work = (tmp_path / name for name in ("held_out", "sealed", "decoy", "audit"))
    claim = confirmed(8.0, audit={"features_alone": 7.0})
    assert AUDIT.decoy(SUBMISSION, claim, claim, held_out, sealed, inputs)
    first = (inputs / EVENTS).read_bytes()
    assert AUDIT.decoy(SUBMISSION, claim, claim, held_out, sealed, inputs)
    assert (inputs / EVENTS).read_bytes() == first  # also when a run is gone on with
    events = read_columns(inputs / EVENTS)
    # Features keep going together, in another order, with other masses.
    assert np.allclose(np.sort(events["mj1"]), np.sort(columns["mj1"].astype(np.float32)))
    assert np.corrcoef(events["mj1"], columns["mj1"])[0, 1] < 0.05

    def verdict(score: np.ndarray, trouble: str = "") -> Score:
        write_events(work / "scores.parquet", {"score": score})
        return AUDIT.judge(SUBMISSION, claim, claim, held_out, inputs, work, sealed, trouble)

    honest = verdict(events["mj1"])
    assert honest.value == 8.0
    assert "found nothing against it" in honest.details["audit"]["said"]
    near = np.exp(-0.5 * ((events["mjj"] / MASS - 1) / 0.01) ** 2)
    caught = verdict(-events["mj1"] + 4 * near)
    assert caught.value is None
    assert "they create what they claim" in caught.reason
    assert "another resonance" not in caught.reason
    own = replace(AUDIT, variable=replace(DIJETS, known=((4.6, 5.0),)))
    said = own.judge(SUBMISSION, claim, claim, held_out, inputs, work, sealed, "").reason
    (low, high) = ast.literal_eval(re.search(r"known=(\[.*?\]\])", said)[1])[1]
    factor = float(re.search(r"multiplied by ([\d.]+)", said)[1])
    assert low < MASS / factor < high  # the option leaves out what was moved into the window
    assert "a.py: exit code 1" in verdict(events["mj1"], "a.py: exit code 1").reason
    assert "cannot be judged" in verdict(events["mj1"][:-1]).reason


def test_data_and_reference_are_dealt_anew_from_both() -> None:
    events = {"mjj": np.arange(100.0), "mj1": np.arange(100.0)}
    reference = {"mjj": np.arange(100.0, 400), "mj1": np.arange(100.0, 400)}
    data, other = decoy.dealt(events, reference, np.random.default_rng(1))
    assert (len(data["mjj"]), len(other["mjj"])) == (100, 300)
    assert sorted([*data["mjj"], *other["mjj"]]) == list(range(400))
    assert np.array_equal(data["mjj"], data["mj1"])
    assert 10 < (data["mjj"] < 100).sum() < 45


def test_the_secret_is_that_of_the_sealed_labels(tmp_path: Path) -> None:
    columns, is_signal = world(n=1000)
    folders(tmp_path, columns, is_signal)
    first, again = (secret(tmp_path / "sealed").uniform() for _ in range(2))
    truth.write(tmp_path / "sealed", truth.Truth(mass=None, n_signal=0, window=WINDOW), ~is_signal, is_signal)
    assert first == again != secret(tmp_path / "sealed").uniform()


def test_particles_go_with_their_event_s_mass_and_tell_shapes_as_before() -> None:
    pairs, _ = dijets(60, seed=3)
    n = len(pairs) // 2
    by, order = np.linspace(0.7, 1.3, n), np.random.default_rng(1).permutation(n)
    assert pairs.jet is not None
    other = scaled_pairs(pairs, by, order)
    assert other.jet is not None
    before, after = (pair_mass(jet.reshape(-1, 2, 4).astype(np.float64)) for jet in (pairs.jet, other.jet))
    np.testing.assert_allclose(after, (before * by)[order], rtol=1e-4)
    pt, mass = pairs.pt_and_mass()
    new_pt, new_mass = other.pt_and_mass()
    np.testing.assert_allclose(new_pt.reshape(-1, 2), (pt.reshape(-1, 2) * by[:, None])[order], rtol=1e-4)
    np.testing.assert_allclose(new_mass.reshape(-1, 2), (mass.reshape(-1, 2) * by[:, None])[order], rtol=1e-3)
    for name, values in shapes(other).items():
        np.testing.assert_allclose(values, shapes(pairs)[name][order], rtol=1e-3, atol=1e-6)

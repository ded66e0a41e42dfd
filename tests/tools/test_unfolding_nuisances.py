"""Closed forms: an unfolded Gaussian, nuisances of known size in its error, and the distance of two equal samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tools.contract import ToolError
from tools.unfolding import unfold
from tools.unfolding.discriminator import floor, triangular
from tools.unfolding.read import errors_by_source, read
from tools.unfolding.unfold import UnfoldResult

N, SMEAR = 20_000, 0.5
MEAN, WIDTH = 0.2, 0.9  # of the truth; the simulation is a standard normal
FILES = {"data": "data.parquet", "simulation": "simulation.parquet", "observables": ["x"]}
IBU = {"method": {"kind": "ibu", "bins": 30, "iterations": 4}}
TILT, MOVED = 0.3, 0.1


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and a simulation whose nuisances are: another prior, another efficiency, and a shifted scale at reco."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    gen, truth = rng.standard_normal(N), rng.normal(MEAN, WIDTH, N)
    reco, data = (x + SMEAR * rng.standard_normal(N) for x in (gen, truth))
    passed = rng.random(N) < 0.8
    simulation = {
        "gen_x": gen, "reco_x": np.where(passed, reco, -999.0), "pass_reco": 1.0 * passed, "weight": np.ones(N),
        "same": np.ones(N), "efficiency": np.where(passed, 1.0, 1.2), "tilt_up": np.exp(TILT * gen),
        "tilt_down": np.exp(-TILT * gen), "reco_x_scale": np.where(passed, reco + MOVED, -999.0),
        "reco_x_jes_up": np.where(passed, reco + MOVED, -999.0),
        "reco_x_jes_down": np.where(passed, reco - MOVED, -999.0),
        "reco_x_lost": np.where(passed, reco, -999.0), "pass_reco_lost": 1.0 * (passed & (np.arange(N) % 10 > 0)),
    }  # fmt: skip
    pq.write_table(pa.table({"reco_x": data[rng.random(N) < 0.8]}), "data.parquet")
    pq.write_table(pa.table(simulation), "simulation.parquet")


def unfolded(**more: object) -> tuple[UnfoldResult, dict[str, dict[str, float]]]:
    """The result, and by source the errors of number of events and mean."""
    result = unfold(**FILES, **IBU, **more)
    events = read(Path("unfolded.parquet"))
    values = {n: np.array([w.sum(), np.average(events.gen["x"], weights=w)]) for n, w in events.weights.items()}
    errors = {n: dict(zip(("events", "mean"), e, strict=True)) for n, e in errors_by_source(values).items()}
    return result, errors


def test_an_unfolded_gaussian_has_the_mean_and_width_of_the_truth() -> None:
    result, _ = unfolded()
    events = read(Path("unfolded.parquet"))
    w, x = events.weights["nominal"], events.gen["x"]
    mean = np.average(x, weights=w)
    assert mean == pytest.approx(MEAN, abs=0.03)
    assert np.sqrt(np.average((x - mean) ** 2, weights=w)) == pytest.approx(WIDTH, abs=0.03)
    assert result.n_unfolded == pytest.approx(N, rel=0.02)  # an efficiency of 80% on both sides
    assert result.reco_delta["x"] < 2 * result.reco_delta_floor["x"] < 0.3 * result.reco_delta_before["x"]


def test_nuisances_enter_the_error_with_their_size() -> None:
    names = ["same", "efficiency", "scale", "jes_up", "jes_down", "lost"]
    result, errors = unfolded(nuisances=names, bootstraps=5)
    assert errors["nuisance_same"] == {"events": 0, "mean": 0}  # nothing varies, not even by training
    # A fifth more of the events that are lost: efficiency 0.8 / (0.8 + 0.2 * 1.2).
    assert errors["nuisance_efficiency"]["events"] == pytest.approx(0.04 * result.n_unfolded, rel=0.05)
    assert errors["nuisance_lost"]["events"] == pytest.approx((1 / 0.9 - 1) * result.n_unfolded, rel=0.05)
    # Reco moved up: the truth goes down by as much, one-sided and as half of a pair.
    assert errors["nuisance_scale"]["mean"] == pytest.approx(MOVED, rel=0.15)
    assert errors["nuisance_jes"]["mean"] == pytest.approx(MOVED, rel=0.15)
    assert "nuisance_jes_up" not in errors
    assert result.mean_errors["x"] == pytest.approx({n: e["mean"] for n, e in errors.items()}, rel=1e-3)


def test_a_pair_of_priors_is_one_error_far_below_their_own_shift() -> None:
    _, errors = unfolded(nuisances=["tilt_up", "tilt_down"])
    # The priors are normals at +-TILT; what is left of it after four iterations is small.
    assert 0 < errors["nuisance_tilt"]["mean"] < 0.15 * TILT


@pytest.mark.parametrize("classifier", [{"kind": "mlp", "hidden": 8, "layers": 1, "epochs": 2}, "trees"])
def test_training_noise_is_not_taken_for_a_nuisance(classifier: object) -> None:
    method = {"kind": "omnifold", "classifier": classifier, "iterations": 1}
    unfold(**FILES, method=method, nuisances=["same", "scale"], ensemble=2)
    weights = read(Path("unfolded.parquet")).weights
    np.testing.assert_array_equal(weights["nuisance_same"], weights["ensemble_0"])
    assert np.abs(weights["ensemble_1"] - weights["ensemble_0"]).max() > 1e-3


def test_the_report_has_the_bins_and_names_of_the_errors() -> None:
    unfold(
        **FILES, **IBU, nuisances=["jes_up", "jes_down", "scale"], bootstraps=3, report="report",
        bins={"x": [-2, 0, 1, 3]}, units={"x": "GeV"},
    )  # fmt: skip
    table = yaml.safe_load(Path("report/tables/x.yaml").read_text())
    assert [(b["low"], b["high"]) for b in table["independent_variables"][0]["values"]] == [(-2, 0), (0, 1), (1, 3)]
    assert table["independent_variables"][0]["header"]["units"] == "GeV"
    labels = {error["label"] for error in table["dependent_variables"][0]["values"][0]["errors"]}
    assert labels == {"statistical", "nuisance_jes", "nuisance_scale"}


def test_two_equal_samples_differ_by_the_floor() -> None:
    rng = np.random.default_rng(2)
    edges = np.linspace(-3, 3, 51)

    def histogram(n: int, weighted: bool) -> tuple[np.ndarray, np.ndarray]:
        x, w = rng.standard_normal(n), rng.exponential(1, n) if weighted else np.ones(n)
        return np.histogram(x, edges, weights=w)[0], np.histogram(x, edges, weights=w**2)[0]

    found = []
    for _ in range(200):
        (p, p2), (q, q2) = histogram(2000, False), histogram(5000, True)
        found.append((triangular(p, q), floor(p, q, p2, q2)))
    distance, expected = np.mean(found, axis=0)
    assert distance == pytest.approx(expected, rel=0.05)  # 200 distances of spread 20%
    # Weights of variance one halve the second sample.
    assert expected == pytest.approx(250 * 49 * (1 / 2000 + 2 / 5000), rel=0.05)
    p, p2 = histogram(2_000_000, False)
    assert floor(p, p, p2, p2) < 0.02
    assert triangular(p, p) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nuisances": ["absent"]}, "reco_X_absent"),
        ({"nuisances": ["same", "same"]}, "each name once"),
        ({"nuisances": ["gen_x"]}, "negative"),
        ({"nuisances": ["broken"]}, "reco_x_broken is -999 in row"),
        ({"bins": {"x": [1, 0]}}, "rising edges"),
        ({"bins": {"y": [0, 1]}}, "rising edges of one of"),
    ],
)
def test_what_cannot_be_is_named(more: dict[str, object], words: str) -> None:
    if more.get("nuisances") == ["broken"]:
        table = pq.read_table("simulation.parquet")
        pq.write_table(table.append_column("reco_x_broken", pa.array(np.full(N, -999.0))), "simulation.parquet")
    with pytest.raises(ToolError, match=words) as error:
        unfold(**FILES, **IBU, **more)
    assert error.value.field in more
    assert not Path("unfolded.parquet").exists()


def test_moved_columns_do_not_move_particles() -> None:
    with pytest.raises(ToolError, match="sees no moved columns"):
        unfold(**FILES, method={"kind": "omnifold", "classifier": "jets"}, nuisances=["scale"])

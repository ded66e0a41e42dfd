"""The published file: what is written is read, what is changed is noticed, covariances are those of the replicas."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tools.contract import ToolError
from tools.unfolding.publish import content_hash, publish
from tools.unfolding.read import Histogram, UnfoldedEvents, read

N = 500
EDGES = np.array([0.0, 1.0, 2.0, 4.0])


def made() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    gen = {"mass": rng.uniform(0, 4, N).astype(np.float32).astype(float), "width": rng.uniform(0, 1, N)}
    names = ["ensemble_0", "ensemble_1", "ensemble_2", *(f"bootstrap_{i}" for i in range(5))]
    names += ["nuisance_jes_up", "nuisance_jes_down", "nuisance_pileup", "model"]
    return gen, {name: rng.uniform(0.5, 1.5, N).astype(np.float32).astype(float) for name in names}


@pytest.mark.parametrize("name", ["unfolded.h5", "deep/er/unfolded.parquet"])
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    gen, weights = made()
    digest = publish(tmp_path / name, gen, weights, {"seed": 3, "method": {"kind": "ibu"}})
    events = read(tmp_path / name)
    assert events.metadata["seed"] == 3
    assert events.metadata["method"] == {"kind": "ibu"}
    np.testing.assert_allclose(events.gen["mass"], gen["mass"])
    for replica, values in weights.items():
        np.testing.assert_array_equal(events.weights[replica], values)
    mean = np.mean([weights[f"ensemble_{i}"] for i in range(3)], axis=0)
    np.testing.assert_allclose(events.weights["nominal"], mean, rtol=1e-6)
    assert publish(tmp_path / "again.h5", gen, weights, {"seed": 3, "method": {"kind": "ibu"}}) == digest
    assert not list(tmp_path.rglob("*.part"))


def test_hdf5_has_the_layout_of_the_field(tmp_path: Path) -> None:
    gen, weights = made()
    publish(tmp_path / "u.h5", gen, weights, {})
    with h5py.File(tmp_path / "u.h5") as file:
        assert {"gen_mass", "weights_nominal", "weights_ensemble_0", "weights_bootstrap_4", "weights_model"} <= set(
            file
        )
        assert file["weights_nominal"].shape == (N,)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    gen, weights = made()
    publish(tmp_path / "u.h5", gen, weights, {"seed": 1})
    with h5py.File(tmp_path / "u.h5", "r+") as file:
        file["weights_nominal"][7] *= 1.01
    with pytest.raises(ToolError, match="SHA-256"):
        read(tmp_path / "u.h5")
    publish(tmp_path / "u.parquet", gen, weights, {"seed": 1})
    table = pq.read_table(tmp_path / "u.parquet")
    marks = dict(table.schema.metadata)
    marks[b"metadata"] = marks[b"metadata"].replace(b'"seed": 1', b'"seed": 2')
    pq.write_table(table.replace_schema_metadata(marks), tmp_path / "u.parquet")
    with pytest.raises(ToolError, match="SHA-256"):
        read(tmp_path / "u.parquet")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "plain.parquet")
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(1, dtype=np.float32)
        file.attrs["metadata"] = "{}"
        file.attrs["sha256"] = content_hash({"x": np.zeros(1, dtype=np.float32)}, "{}")
    for name in ("plain.parquet", "text.h5", "other.h5", "none.parquet"):
        with pytest.raises(ToolError):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["u.txt", "u"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"\.parquet"):
        publish(tmp_path / name, *made(), {})


def test_weights_that_are_not_finite_are_not_published(tmp_path: Path) -> None:
    gen, weights = made()
    weights["model"][3] = np.nan
    with pytest.raises(ToolError, match="finite"):
        publish(tmp_path / "u.h5", gen, weights, {})
    assert not list(tmp_path.iterdir())


def events() -> UnfoldedEvents:
    gen, weights = made()
    weights["nominal"] = np.mean([weights[f"ensemble_{i}"] for i in range(3)], axis=0)
    return UnfoldedEvents(gen, weights, {})


def count(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.array([weights[(values >= a) & (values < b)].sum() for a, b in pairwise(EDGES)])


def test_the_covariance_is_that_of_the_replicas() -> None:
    unfolded = events()
    x = unfolded.gen["mass"] ** 2 / 4  # an observable that nobody published
    h = unfolded.histogram(x, EDGES)
    counts = {name: count(x, w) for name, w in unfolded.weights.items()}
    np.testing.assert_allclose(h.values, counts["nominal"])
    expected = np.zeros((3, 3))
    for kind, over in (("bootstrap", 1), ("ensemble", 3)):
        rows = np.array([c for name, c in counts.items() if name.startswith(kind)])
        away = rows - rows.mean(axis=0)
        expected += away.T @ away / (len(rows) - 1) / over
    shifts = [
        (counts["nuisance_jes_up"] - counts["nuisance_jes_down"]) / 2,
        counts["nuisance_pileup"] - counts["ensemble_0"],  # of the same seed
        counts["model"] - counts["nominal"],
    ]
    expected += sum(np.outer(d, d) for d in shifts)
    np.testing.assert_allclose(h.covariance, expected)
    assert set(h.parts) == {"statistical", "ensemble", "nuisance_jes", "nuisance_pileup", "model"}
    np.testing.assert_allclose(h.errors, np.sqrt(np.diag(expected)))
    d = h.density()
    np.testing.assert_allclose(d.values * np.diff(EDGES), h.values)
    np.testing.assert_allclose(d.errors * np.diff(EDGES), h.errors)


def test_a_normalised_histogram_has_no_error_of_its_sum() -> None:
    unfolded = events()
    h = unfolded.histogram(unfolded.gen["mass"], EDGES, normalised=True)
    assert h.values.sum() == pytest.approx(1)
    np.testing.assert_allclose(h.covariance.sum(axis=0), 0, atol=1e-12)


def test_values_without_a_number_are_in_no_bin() -> None:
    unfolded = events()
    x = unfolded.gen["mass"].copy()
    x[:100] = np.nan
    h = unfolded.histogram(x, EDGES)
    np.testing.assert_allclose(h.values, count(x[100:], unfolded.weights["nominal"][100:]))


@pytest.mark.parametrize(
    ("values", "edges", "field"),
    [(np.zeros(3), EDGES, "values"), (np.zeros(N), [1.0], "edges"), (np.zeros(N), [0.0, 2.0, 1.0], "edges")],
)
def test_histograms_that_cannot_be(values: np.ndarray, edges: list[float], field: str) -> None:
    with pytest.raises(ToolError) as error:
        events().histogram(values, np.asarray(edges))
    assert error.value.field == field
    with pytest.raises(ToolError, match="edges"):
        events().histogram(np.zeros(N), np.array([5.0, 6.0]), normalised=True)


def test_hepdata_gets_the_numbers(tmp_path: Path) -> None:
    from tools.unfolding.hepdata import export

    unfolded = events()
    h = unfolded.histogram(unfolded.gen["mass"], EDGES)
    here = Path.cwd()
    archive = export({"mass": h}, tmp_path / "report", "A test.", {"mass": "GeV"})  # validated against the schema
    assert archive.is_file()
    assert Path.cwd() == here
    table = yaml.safe_load((tmp_path / "report" / "tables" / "mass.yaml").read_text())
    bins = table["independent_variables"][0]
    assert bins["header"] == {"name": "mass", "units": "GeV"}
    assert [(b["low"], b["high"]) for b in bins["values"]] == [(0, 1), (1, 2), (2, 4)]
    content = table["dependent_variables"][0]["values"]
    np.testing.assert_allclose([float(v["value"]) for v in content], h.values, rtol=1e-3)
    errors = {e["label"]: float(e["symerror"]) for e in content[0]["errors"]}
    np.testing.assert_allclose([errors[k] for k in h.parts], [np.sqrt(p[0, 0]) for p in h.parts.values()], rtol=1e-3)
    covariance = yaml.safe_load((tmp_path / "report" / "tables" / "mass_covariance.yaml").read_text())
    got = [float(v["value"]) for v in covariance["dependent_variables"][0]["values"]]
    np.testing.assert_allclose(got, h.covariance.ravel(), rtol=1e-3)


def test_a_plot_shows_spectra_and_their_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from tools.unfolding.plots import ratio_plot

    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k)))
    h = Histogram(EDGES, np.array([4.0, 8.0, 4.0]), {"statistical": np.diag([1.0, 4.0, 1.0])})
    ratio_plot(h, {"simulation": np.array([5.0, 8.0, 3.0])}, "mass [GeV]", tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000
    above, below = saved[0].axes
    assert below.get_xlabel() == "mass [GeV]"
    assert {text.get_text() for text in above.get_legend().get_texts()} == {"unfolded", "simulation"}
    step = next(p for p in below.patches if hasattr(p, "get_data"))
    np.testing.assert_allclose(step.get_data().values, [1.25, 1.0, 0.75])
    band = below.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(0.75)
    assert band.max() == pytest.approx(1.25)

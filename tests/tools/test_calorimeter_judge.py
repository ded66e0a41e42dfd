"""Judges that learn: AUCs against closed forms, a generator that is wrong somewhere is caught there, the whole tool."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from tools.calorimeter import classifier
from tools.calorimeter.classifier import Kind, strongest, tell_apart, two_sample
from tools.calorimeter.geometry import Geometry, Layer, write_binning
from tools.calorimeter.gflash import simulate
from tools.calorimeter.judge import judge
from tools.calorimeter.memory import memorised
from tools.calorimeter.showers import Showers, write_showers
from tools.calorimeter.trust import Region, trust_map
from tools.contract import ToolError

G = Geometry(
    "small",
    "photon",
    (Layer(0, (0.0, 10.0, 100.0), 1, (0.0, 4.0)), Layer(1, (0.0, 20.0, 50.0, 200.0), 4, (4.0, 20.0))),
)
SHIFT = np.array([0.6, 0.0, 0.0, 0.0])
QUICK = classifier.NETWORK.model_copy(update={"hidden": 32, "epochs": 5, "batch": 256})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "NETWORK", QUICK)
    monkeypatch.setattr(classifier, "TREES", classifier.TREES | {"max_iter": 60, "max_leaf_nodes": 15})


def photons(n: int, seed: int) -> Showers:
    energies = np.random.default_rng(seed).choice([1000.0, 4000.0, 16_000.0, 64_000.0], n)
    return simulate(energies, G, seed)


@pytest.mark.parametrize("kind", ["mlp", "trees"])
def test_auc_of_gaussians(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 6000, 3))
    x, y = np.c_[x, np.ones(6000)], np.c_[y, np.ones(6000)]  # a constant tells nothing and breaks nothing
    same = two_sample(x, y, kind)
    assert abs(same.auc - 0.5) < 4 * same.error
    apart = two_sample(x, y + SHIFT, kind)
    exact = norm.cdf(0.6 / np.sqrt(2))
    assert exact - 0.04 < apart.auc < exact + 3 * apart.error
    judged = {"mlp": 1200, "trees": 6000}[kind]  # trees in turns: all
    assert apart.error == pytest.approx(classifier.SHARED[kind] * np.sqrt(1 / 12 * (2 / judged)), rel=0.2)
    assert len(apart.reference_scores) == len(np.unique(apart.reference_rows)) == judged
    repeated = two_sample(x, y + SHIFT, kind)
    assert repeated.auc == apart.auc
    with pytest.raises(ToolError, match="100 showers"):
        two_sample(x[:50], y, kind)


def test_rows_are_judged_that_were_not_learnt() -> None:
    # Noise that can be learnt by heart only: an AUC of one half says that no judged row was in training.
    rng = np.random.default_rng(2)
    found = two_sample(rng.normal(size=(1500, 40)), rng.normal(size=(1500, 40)), "trees")
    assert abs(found.auc - 0.5) < 4 * found.error
    assert sorted(found.generated_rows) == list(range(1500))


def test_auc_of_equal_samples_spreads_as_its_error_says() -> None:
    rng = np.random.default_rng(3)
    found = [two_sample(*rng.normal(size=(2, 300, 4)), "trees", seed) for seed in range(50)]
    spread = np.std([each.auc for each in found])
    assert abs(np.mean([each.auc for each in found]) - 0.5) < 4 * spread / 50**0.5
    assert 0.75 < spread / np.mean([each.error for each in found]) < 1.35  # 50 pairs tell it to a tenth


def test_thresholds_are_seen() -> None:
    a, b = photons(3000, 1), photons(3000, 2)
    assert strongest(tell_apart(a, b, "voxels")).auc < 0.56
    cut = Showers(b.incident, np.where(b.voxels < 30.0, 0.0, b.voxels), G)
    for look in ("voxels", "observables"):
        assert strongest(tell_apart(a, cut, look, ("trees",))).auc > 0.7


def test_the_map_points_to_where_the_generator_is_wrong() -> None:
    a, b = photons(5000, 1), photons(5000, 2)
    wrong = b.incident == 16_000
    scale = np.where(wrong, 0.9, 1.0)[:, None]
    bad = Showers(b.incident, b.voxels * scale, G)
    regions = trust_map(a, bad, tell_apart(a, bad, "observables", ("trees",))["trees"])
    energy = {(round(r.low * r.high) ** 0.5): r for r in regions if r.of.startswith("E_inc")}
    assert [r.trusted for _, r in sorted(energy.items())] == [True, True, False, True]
    trusted = [r.trusted for r in regions]
    assert trusted == sorted(trusted)  # the worst come first
    assert "AUC" in regions[0].words()
    good = trust_map(a, b, tell_apart(a, b, "observables", ("trees",))["trees"])
    assert all(r.trusted for r in good), [r.words() for r in good if not r.trusted]
    assert sum(r.reference for r in good if r.of == "depth") == 5000


def test_a_tail_that_is_not_filled_is_named() -> None:
    a, b = photons(5000, 1), photons(5000, 2)
    ratio = b.deposited / b.incident
    kept = b[ratio > np.quantile(ratio, 0.01)]
    some = kept[np.random.default_rng(1).choice(len(kept), 5000)]
    regions = trust_map(a, some, tell_apart(a, some, "observables", ("trees",))["trees"])
    tail = next(r for r in regions if r.of == "E_dep/E_inc" and r.low == -np.inf)
    assert tail.misfilled
    assert re.search("times as many", tail.words())
    assert not Region("x", 0, 1, 1000, 1300, 0.5, 0.01, 1.3, 0.2).misfilled


def test_copies_are_seen_and_new_showers_are_not() -> None:
    training, reference, new = photons(3000, 1), photons(1000, 2), photons(1000, 3)
    value, error = memorised(training, reference, new)
    assert abs(value - 0.5) < 4 * error
    rng = np.random.default_rng(1)
    copies = training[rng.integers(0, 3000, 1000)]
    # Scaled to another energy and turned by a sector, they are copies still.
    turned = copies.voxels.copy()
    place = G.slices[1]
    turned[:, place] = np.roll(turned[:, place].reshape(-1, 4, 3), 1, axis=1).reshape(-1, 12)
    scale = rng.uniform(0.8, 1.2, 1000)
    scaled = Showers(copies.incident * scale, turned * scale[:, None], G)
    assert memorised(training, reference, scaled)[0] > 0.97
    # One half of copies: the area is in between.
    half = Showers(*(np.concatenate([getattr(s[:500], n) for s in (scaled, new)]) for n in ("incident", "voxels")), G)
    assert memorised(training, reference, half)[0] == pytest.approx(0.75, abs=0.04)


def test_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tools.calorimeter.fpd.KPD_SIZE", 500)
    write_binning(tmp_path / "small.xml", G)
    a, b = photons(1500, 1), photons(1500, 2)
    bad = replace(b, voxels=b.voxels * np.float32(0.93))
    for name, showers in {"ref": a, "ref2": photons(1500, 3), "good": b, "bad": bad}.items():
        write_showers(f"{name}.h5", showers)
    common = {"reference": "ref.h5", "geometry": "small.xml", "classifiers": ["trees"]}
    good = judge(**common, generated="good.h5", second_reference="ref2.h5", training="good.h5", report="page")
    assert abs(good.auc_voxels - 0.5) < 4 * good.auc_voxels_error
    assert good.fpd_ratio is not None
    assert good.fpd_ratio < 5
    assert [mean for _, mean, _ in good.response] == [pytest.approx(1, abs=0.02)] * 4
    assert good.distrusted == []
    assert 0 < good.untested < good.regions
    assert good.ms_per_shower == {}
    assert good.auc_memory == pytest.approx(1, abs=0.01)  # it is compared with itself
    html = Path(str(good.report)).read_text()
    assert html.count("data:image/png;base64,") == 7
    assert "<script" not in html
    found = judge(**common, generated="bad.h5")
    assert found.auc_observables > 0.6
    assert found.auc_observables == max(v for k, v in found.auc.items() if k.startswith("observables"))
    assert found.separation["total energy"] > 3 * good.separation["total energy"]
    assert [mean for _, mean, _ in found.response] == [pytest.approx(0.93, abs=0.02)] * 4
    assert len(found.distrusted) >= 1
    assert found.kpd > good.kpd


def test_requests_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_binning(tmp_path / "small.xml", G)
    a = photons(300, 1)
    write_showers("a.h5", a)
    write_showers("soft.h5", a[a.incident < 10_000])
    common = {"reference": "a.h5", "generated": "a.h5", "geometry": "small.xml"}
    for change, field, said in (
        ({"generated": "soft.h5"}, "generated", "incident energies as in the reference"),
        ({"generated": "none.h5"}, "generated", "no such file"),
        ({"geometry": "ds1_photons"}, "reference", "368"),
        ({"geometry": "ds9"}, "geometry", "ds1_photons"),
        ({"report": "../x"}, "report", "relative path"),
        ({"classifiers": []}, "classifiers", "at least 1"),
    ):
        with pytest.raises(ToolError, match=said) as error:
            judge(**(common | change))
        assert error.value.field == field

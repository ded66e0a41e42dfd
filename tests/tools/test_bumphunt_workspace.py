"""The workspace holds the likelihood of the limit: its parts by hand, and pyhf finds the same CLs."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bumphunt.fit import fit_amplitude, spurious_error
from tools.bumphunt.limits import upper_limit
from tools.bumphunt.spectrum import Spectrum, one, signal_shape
from tools.bumphunt.workspace import POI, workspace

EDGES = np.geomspace(2.6, 4.6, 15)
MASS, WIDTH = 3.5, 0.03


def spectrum(degree: int, delta: float, reference: bool = False, signal: float = 10) -> Spectrum:
    rng = np.random.default_rng(1)
    background = 3000 * np.exp(-2 * (np.sqrt(EDGES[1:] * EDGES[:-1]) - 2.6))
    passed = rng.poisson(0.03 * background + signal * signal_shape(EDGES, MASS, WIDTH)).astype(float)
    failed = rng.poisson(background).astype(float)
    other = (rng.poisson(0.06 * background).astype(float), rng.poisson(2 * background).astype(float))
    return Spectrum(EDGES, passed, failed, degree, delta, other if reference else None)


def test_the_parts_are_those_of_the_likelihood() -> None:
    counts = spectrum(2, 0.1, reference=True)
    made = workspace(counts, MASS, WIDTH, 40.0)
    first, second = made["channels"]
    background, signal, spurious = first["samples"]
    shape = counts.shapes(one(MASS, WIDTH))[0][: len(counts.passed)]
    starts = np.searchsorted(counts.passed.cumsum(), np.cumsum(made["observations"][0]["data"])) + 1
    starts = np.append(0, starts[:-1])
    assert len(starts) < len(counts.passed)  # some are merged, all are there

    def merged(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, starts)

    assert [each["data"] for each in made["observations"]] == [
        merged(each).tolist() for each in (counts.passed, counts.reference[0])
    ]
    np.testing.assert_allclose(signal["data"], 40 * merged(shape))
    moved = spurious["modifiers"][0]["data"]
    np.testing.assert_allclose(moved["hi_data"], spurious_error(counts, MASS, WIDTH) * merged(shape))
    # The error of the template is that of the failing counts, and the fit has as many events as the data.
    (errors,) = (m["data"] for m in background["modifiers"] if m["type"] == "shapesys")
    np.testing.assert_allclose((np.array(background["data"]) / errors) ** 2, merged(counts.failed))
    best = fit_amplitude(counts, MASS, WIDTH)[0]
    both = np.sum(background["data"]) + best + np.sum(second["samples"][0]["data"])
    assert both == pytest.approx(counts.pair[0].sum(), rel=0.02)
    shared = [{m["name"] for m in c["samples"][0]["modifiers"] if m["type"] != "shapesys"} for c in (first, second)]
    assert shared[0] == shared[1] == {"transfer_0", "transfer_1", "transfer_2"}


@pytest.mark.parametrize("signal", [0, 40])
def test_pyhf_finds_the_same_limit(signal: int) -> None:
    pyhf = pytest.importorskip("pyhf")
    counts = spectrum(1, 0.1, signal=signal)
    limit = upper_limit(counts, MASS, WIDTH).observed
    made = pyhf.Workspace(workspace(counts, MASS, WIDTH, limit))  # validated against the published schema
    model = made.model()
    assert model.config.poi_name == POI
    assert pyhf.infer.hypotest(1.0, made.data(model), model) == pytest.approx(0.05, abs=0.01)  # 3% in the limit

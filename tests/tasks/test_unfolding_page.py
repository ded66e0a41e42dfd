"""The page and the tables of an unfolding without truth: sources of error, distances beside their floor, spectra."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.claim import Measured, Measurement
from tasks.page import Graded, Numbers, Plot, Run, Table, Text
from tasks.score import Score
from tasks.unfolding.spectra import spectra
from tasks.unfolding.task import UnfoldingTask
from tests.tasks.test_unfolding_columns import prepared, write
from tools.publication import csv_text

N = 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[UnfoldingTask, dict[str, list[float]]]:
    """A task with bins, and the spectra of weights with a nuisance of 10%."""
    folder = write(tmp_path_factory.mktemp("user"), {"simulation": {"w_a": np.full(N, 1.1)}})
    options = {"nuisances": ["w_a"], "bins": {"pt": [-2, 0, 2]}, "units": {"pt": "GeV"}}
    _, task = prepared(folder, folder, **options)
    weights = {f"bootstrap_{i}": np.ones(N) * (1 + 0.01 * (-1) ** i) for i in range(10)}
    found = spectra(task.samples(), weights | {"nominal": np.ones(N), "nuisance_w_a": np.full(N, 1.1)})
    return task, found


def test_spectra_have_the_bins_and_each_source(made: tuple[UnfoldingTask, dict[str, list[float]]]) -> None:
    task, found = made
    gen = task.samples().simulation["gen_pt"]
    counts = np.histogram(gen, [-2, 0, 2])[0]
    assert found["pt.unfolded"] == pytest.approx(counts)
    assert found["pt.error.nuisance_w_a"] == pytest.approx(0.1 * counts)
    statistical = 0.01 * np.sqrt(10 / 9)
    assert found["pt.error.statistical"] == pytest.approx(statistical * counts)
    assert found["pt.error"] == pytest.approx(np.hypot(0.1, statistical) * counts)
    # Both sources move all bins together.
    assert found["pt.covariance"] == pytest.approx((0.01 + statistical**2) * np.outer(counts, counts).ravel())
    assert found["pt.outside"][0] == pytest.approx(np.mean(np.abs(gen) > 2))


def run_of(found: dict[str, list[float]], confirmed: Score | None = None) -> Run:
    errors = {"statistical": 0.03, "nuisance_w_a": 0.04}
    details = {
        "numbers": {"mean_pt": {"value": 1.0, "error": 0.05}}, "errors": {"mean_pt": errors}, "units": {"pt": "GeV"},
        "reco_delta_before": {"pt": 9.0}, "reco_delta": {"pt": 2.0}, "reco_delta_floor": {"pt": 1.5},
        "last_iteration_change": 0.2, "measured_events": 1400, "unseen_events": 600,
        "assumed": ["simulation.csv: not used: run"], "spectra": found,
    }  # fmt: skip
    score = Score(metric="share", value=0.9, reason="", details=details)
    claim = Measurement(text="t", numbers={"mean_pt": Measured(value=1.0, error=0.05)})
    return Run(graded=[Graded(0, None, score)], best=0, confirmed=confirmed, claim=claim)


def test_the_page_has_what_can_be_had_without_truth(made: tuple[UnfoldingTask, dict[str, list[float]]]) -> None:
    task, found = made
    page = task.page(run_of(found))
    tables = {block.title: block for block in page.best if isinstance(block, Table)}
    assert tables["Errors by source"].rows == [["statistical", "0.03"], ["w_a", "0.04"], ["total", "0.05"]]
    distances = tables["Triangular discriminator x 1000 at detector level"]
    assert (distances.head[1:], distances.rows) == (
        ("before", "after", "two equal samples"),
        [["pt", "9", "2", "1.5"]],
    )
    texts = [block.text for block in [*page.best, *page.answer] if isinstance(block, Text)]
    assert any("more than 0.20 of its error" in text for text in texts)
    assert any("not used: run" in text for text in texts)
    assert any("no closure test" in text and "statistical, w_a" in text for text in texts)
    (numbers,) = (block for block in page.answer if isinstance(block, Numbers))
    assert numbers.numbers[0].text == "1.000 ± 0.050 GeV"
    plots = [block for block in page.best if isinstance(block, Plot)]
    assert [plot.name for plot in plots] == ["unfolded_pt", "unfolded_width", "correlations"]
    assert all(plot.draw() for plot in plots)
    assert "1400 of the measured events were unfolded, 600 held out" in plots[0].caption
    assert task.numbers(run_of(found).graded[0])[0].text == "1.000 ± 0.050 GeV"
    assert page.sealed == []
    closed = task.page(run_of(found, Score(metric="closure", value=0.9, reason="")))
    assert closed.confirmation is not None
    assert not any("no closure test" in block.text for block in closed.answer if isinstance(block, Text))


def test_tables_for_others_have_all_sources_and_the_covariance(
    made: tuple[UnfoldingTask, dict[str, list[float]]],
) -> None:
    task, found = made
    tables = {data.name: data for data in task.publication(run_of(found)).tables}
    assert list(tables) == ["unfolded_pt", "unfolded_width", "covariance pt", "covariance width"]
    header = csv_text(tables["unfolded_pt"]).splitlines()[0]
    assert header == "pt low [GeV],pt high [GeV],events,events error (statistical),events error (w_a),simulation"
    assert len(tables["covariance pt"].columns[0].values) == 4

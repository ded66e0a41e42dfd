"""The benchmark of realism: moments, errors and chi2 against closed forms; what it prints without the real arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import realism


def test_errors_of_moments_are_those_of_a_gaussian() -> None:
    values = np.random.default_rng(1).normal(5, 2, 100_000)
    assert realism.moment_error(values, False) == pytest.approx(2 / np.sqrt(100_000), rel=0.02)
    assert realism.moment_error(values, True) == pytest.approx(2 / np.sqrt(200_000), rel=0.03)


def test_shifts_and_their_errors() -> None:
    """Toys with the same parent pull by one unit; a scaled one is found where it is."""
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(200):
        rows = realism.moments(rng.exponential(1, 500), rng.exponential(1, 2000))
        pulls.append([shift / error for _, _, shift, error in rows])
    assert np.std(pulls, axis=0) == pytest.approx([1, 1], abs=0.25)
    (_, _, mean, _), (_, _, width, _) = realism.moments(rng.normal(1.1, 0.22, 400_000), rng.normal(1, 0.2, 400_000))
    assert (mean, width) == pytest.approx((0.1, 0.1), abs=0.01)


def test_chi2_of_the_same_shape_is_one_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(3)
    same = [realism.shape_chi2(rng.normal(3.5, 0.1, 4000), rng.normal(3.5, 0.1, 9000)) for _ in range(60)]
    assert np.mean(same) == pytest.approx(1, abs=4 * np.sqrt(2 / 19 / 60))
    assert realism.shape_chi2(rng.normal(3.52, 0.1, 4000), rng.normal(3.5, 0.1, 9000)) > 3


def test_without_the_real_arrays_it_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(realism, "FOLDER", tmp_path / "nothing")
    monkeypatch.setattr("sys.argv", ["realism", "--quick"])
    with pytest.raises(SystemExit) as caught:
        realism.main()
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "no real arrays" in printed
    assert "signal tau21_j2: mean" in printed

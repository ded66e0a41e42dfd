"""What must hold for every file that agents may read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

WORDS_OF_TRUTH = ("label", "signal", "truth", "injected")


def assert_no_truth(inputs: Path, allowed: set[str]) -> None:
    """Columns are the known ones, and not even the file's metadata speaks of truth."""
    for path in inputs.iterdir():
        schema = pq.read_schema(path)
        assert set(schema.names) <= allowed
        text = str(schema.metadata).lower() + str(schema).lower()
        assert not [word for word in WORDS_OF_TRUTH if word in text]


def assert_order_is_random(is_signal: np.ndarray) -> None:
    where = np.flatnonzero(is_signal) / len(is_signal)
    assert abs(where.mean() - 0.5) * np.sqrt(12 * len(where)) < 4.5
    gaps = np.diff(np.flatnonzero(is_signal))
    share = is_signal.mean()
    # Clustered rows would follow each other more often than by chance.
    assert (gaps == 1).sum() <= share * len(gaps) + 4.5 * np.sqrt(share * len(gaps)) + 1

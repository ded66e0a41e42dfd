"""Small files of the kinds that people have, each written here and not copied from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tools import data_cli
from tools.contract import ToolError
from tools.events.cluster import COLUMNS
from tools.events.zjets import COLUMNS as ZJETS
from tools.jet_model.jets import Jets, from_momenta

Columns = dict[str, np.ndarray]


def events(n: int = 4000, seed: int = 1, digits: int = 6) -> Columns:
    """Dijet events without signal: falling mjj from 2.4 TeV, features that do not depend on it."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(0.05, 0.5, n) for name in COLUMNS}
    columns["mjj"] = 2.4 + rng.exponential(0.8, n)
    columns["mj2"] = columns["mj1"] + rng.uniform(0, 0.3, n)
    return {name: np.round(values, digits) for name, values in columns.items()}


def zjets(n: int = 600, seed: int = 1) -> Columns:
    """Z+jets that pass both levels."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(1.0, 2.0, n) for name in ZJETS}
    return columns | {"pass_gen": np.ones(n), "pass_reco": np.ones(n)}


def jets(n: int = 30, seed: int = 1, kinds: tuple[str, ...] = ("qcd", "top")) -> Jets:
    rng = np.random.default_rng(seed)
    pt = np.sort(rng.exponential(40, (n, 8)) + 1)[:, ::-1]
    eta, phi = 0.2 * rng.standard_normal((2, n, 8))
    return from_momenta(pt, eta, phi, pt * np.cosh(eta), pid=np.arange(n) % 2, kinds=kinds)


def parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """Write columns as they are, with the types that pyarrow gives them."""
    pq.write_table(pa.table(dict(columns)), path)
    return path


def data(*arguments: object) -> Result:
    """Call `beamcrew data`."""
    return CliRunner().invoke(data_cli.app, [str(a) for a in arguments])


def assert_refused(result: Result, *words: str) -> None:
    """Exit status 2 and one line that has all words."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    for word in words:
        assert word in lines[0]


def refused(call: Any, *words: str) -> ToolError:
    """Return the ToolError of a call; it has all words."""
    with pytest.raises(ToolError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    return caught.value

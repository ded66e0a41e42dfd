"""What cannot be served by the anomaly tools is refused, with the field that has to change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.anomaly import classify, latent, template
from tools.anomaly.data import FEATURES
from tools.contract import Tool, ToolError
from tools.events.parquet import write_events
from tools.events.table import derive

Table = dict[str, np.ndarray]
Toy = Callable[..., tuple[Table, np.ndarray]]
TEMPLATES = (template, latent)
ALL = (*TEMPLATES, classify)
KINDS = ("spline_flow", "maf", "flow_matching", "diffusion", "morphing", "sideband")
GOOD: dict[str, Any] = {"events": "events.parquet", "window": (3.3, 3.7)}


@pytest.fixture(scope="module")
def folder(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with one fault each."""
    path = tmp_path_factory.mktemp("inputs")
    good = toy(8000)[0]
    mjj = good["mjj"]
    bad_row = np.arange(8000) == 4321
    tables = {
        "events": good,
        "nan": good | {"mj1": np.where(bad_row, np.nan, good["mj1"])},
        "inf": good | {"tau1_j1": np.where(bad_row, np.inf, good["tau1_j1"])},
        "constant": good | {"mj1": np.full(8000, 0.25), "mj2": 0.25 + good["mj2"] - good["mj1"]},
        "flat_sidebands": good | {"mj1": np.where((mjj >= 3.3) & (mjj < 3.7), good["mj1"], 0.25)},
        "weighted": good | {"weight": np.where(bad_row, -1.0, 1.0)},
        "gev": good | {"mjj": 1000 * mjj},
        "no_mjj": {name: values for name, values in good.items() if name != "mjj"},
        "empty": {name: values[:0] for name, values in good.items()},
        "template": {"mjj": mjj, **derive(good, FEATURES)},
        "few": {name: values[:20] for name, values in derive(good, FEATURES).items()},
        "lacking": derive(good, FEATURES[:2]),
        "nan_template": {name: np.where(bad_row, np.nan, values) for name, values in derive(good, FEATURES).items()},
    }
    for name, columns in tables.items():
        write_events(path / f"{name}.parquet", columns)
    (path / "text.parquet").write_text("PAR1 but not really")
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def refused(tool: Tool[Any, Any], **changes: Any) -> ToolError:
    request = GOOD | ({"template": "template.parquet"} if tool is classify else {}) | changes
    with pytest.raises(ToolError) as caught:
        tool(**request)
    return caught.value


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"events": "nan.parquet"}, "events", "'mj1' must be finite; row 4321"),
        ({"events": "inf.parquet"}, "events", "'tau1_j1' must be finite; row 4321"),
        ({"events": "weighted.parquet"}, "weight", "row 4321: a density and a classifier need"),
        ({"events": "text.parquet"}, "events", "not a readable parquet file"),
        ({"events": "absent.parquet"}, "events", "no such file"),
        ({"events": "gev.parquet"}, "mjj", "TeV"),
        ({"events": "no_mjj.parquet"}, "mjj", "needs the column mjj"),
        ({"events": "empty.parquet"}, "events", "no events"),
        ({"events": "constant.parquet", "features": ["mj1", "delta_mj"]}, "features", "constant"),
        ({"features": ["mj1", "mjj"]}, "features", "sculpt"),
        ({"features": ["mj1", "mj3"]}, "names", "allowed are mjj, mj1"),
        ({"features": []}, "features", "at least 1 item"),
        ({"window": (3.7, 3.3)}, "window", "0 < lower < upper"),
        ({"window": (3.3, 3.3)}, "window", "0 < lower < upper"),
        ({"window": (float("nan"), 3.3)}, "window", "0 < lower < upper"),
        ({"window": (7.0, 8.0)}, "window", "holds 0 events"),
        ({"window": (3.3, 3.301)}, "window", "at least 500"),
        ({"window": (3.3,)}, "window.1", "required"),
    ],
)
def test_events_features_and_window(tool: Tool[Any, Any], changes: dict[str, Any], field: str, words: str) -> None:
    error = refused(tool, **changes)
    assert error.field == field
    assert words in error.allowed


@pytest.mark.parametrize("tool", TEMPLATES, ids=lambda tool: tool.name)
@pytest.mark.parametrize("window", [(2.0, 3.0), (3.0, 9.0), (1.0, 9.0)])
def test_a_template_needs_events_on_both_sides(tool: Tool[Any, Any], window: tuple[float, float]) -> None:
    error = refused(tool, window=window)
    assert error.field == "window"
    assert "at least 500 each are needed" in error.allowed


def test_a_feature_that_is_constant_in_the_sidebands_alone_cannot_be_learned_there() -> None:
    error = refused(template, events="flat_sidebands.parquet", features=["mj1", "tau21_j1"])
    assert (error.field, error.value) == ("features", "mj1")


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"template": "absent.parquet"}, "template", "no such file"),
        ({"template": "text.parquet"}, "template", "not a readable parquet file"),
        ({"template": "lacking.parquet"}, "template", "no such feature"),
        ({"template": "nan_template.parquet"}, "template", "must be finite; row 4321"),
        ({"template": "few.parquet"}, "template", "has 20 events; at least"),
        ({"out": "same.parquet", "out_template": "same.parquet"}, "out_template", "a file other than"),
        ({"folds": 1}, "folds", "greater than or equal to 2"),
    ],
)
def test_the_template_and_the_files_to_write(changes: dict[str, Any], field: str, words: str) -> None:
    error = refused(classify, **changes)
    assert error.field == field
    assert words in error.allowed


@pytest.mark.parametrize("method", [{"kind": "sideband"}, {"kind": "morphing"}, {"kind": "diffusion", "partial": 1.0}])
def test_bands_without_events_are_refused(method: dict[str, Any]) -> None:
    assert refused(template, method={**method, "width": 1e-9}).field == "width"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"events": "nan.parquet"}, "events", "'mj1' must be finite; row 4321"),
        ({"events": "flat_sidebands.parquet", "features": ["mj1", "tau21_j1"]}, "features", "constant"),
        ({"features": ["mj1", "mj3"]}, "names", "allowed are mjj, mj1"),
        ({"window": (7.0, 8.0)}, "window", "holds 0 events"),
        ({"window": (2.0, 3.0)}, "window", "at least 500 each are needed"),
        ({"window": (3.0, 9.0)}, "window", "at least 500 each are needed"),
    ],
)
def test_every_method_refuses_alike(kind: str, changes: dict[str, Any], field: str, words: str) -> None:
    error = refused(template, method=kind, **changes)
    assert error.field == field
    assert words in error.allowed


@pytest.mark.parametrize("tool", TEMPLATES, ids=lambda tool: tool.name)
def test_a_file_outside_the_working_directory_is_not_written(tool: Tool[Any, Any], tmp_path: Path) -> None:
    flow = {"kind": "spline_flow", "transforms": 1, "hidden": 4, "epochs": 1}
    quick: dict[str, Any] = {"method": "sideband"} if tool is template else {"flow": flow, "closure": "events"}
    assert refused(tool, out=str(tmp_path / "x.parquet"), **quick).field == "out"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tool", "changes", "field", "words"),
    [
        (template, {"method": {"kind": "maf", "epoch": 3}}, "method.maf.epoch", "allowed are epochs, batch"),
        (template, {"method": {"kind": "morphing", "flow": {"epoch": 3}}}, "method.morphing.flow.epoch", "epochs"),
        (template, {"method": "cathode"}, "method", "'spline_flow', 'maf', 'flow_matching'"),
        (template, {"method": {"kind": "sideband", "width": -1}}, "method.sideband.width", "greater than 0"),
        (
            template,
            {"method": {"kind": "maf", "batch": 1}},
            "method.maf.batch",
            "16",
        ),  # not in the schema, and accepted
        (template, {"closure": "none"}, "closure", "'window' or 'events'"),
        (classify, {"classifier": {"kind": "trees", "depth": 3}}, "classifier.trees.depth", "max_iter"),
        (classify, {"classifier": {"kind": "mlp", "select": "sic"}}, "classifier.mlp.select", "'argos'"),
        (latent, {"out": "a.parquet", "out_events": "a.parquet"}, "out_events", "a file other than"),
    ],
)
def test_settings_are_checked(tool: Tool[Any, Any], changes: dict[str, Any], field: str, words: str) -> None:
    error = refused(tool, **changes)
    assert error.field == field
    assert words in error.allowed


def test_schemas_are_short_enough_for_small_models() -> None:
    schemas = [json.dumps(tool.schema()) for tool in ALL]
    assert sum(map(len, schemas)) < 11_500  # about 3,000 tokens
    assert not any('"title"' in schema or '"batch": {' in schema for schema in schemas)

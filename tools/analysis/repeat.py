"""Repeats an analysis script: on all data twice, on two halves, on bootstrap resamples and on nearly all rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from tools.analysis.agreement import bootstrap_rows, half_rows, nearly_all_rows, pull, spread_over_error
from tools.analysis.results import Answer, Kind, Resampled, Results, read_results
from tools.analysis.script import load_libraries, run_script
from tools.arrays import sha256
from tools.contract import Frozen, Request, Result, ToolError, problems, tool
from tools.events.copies import count, originals
from tools.files import below, write_whole

NEARLY = 5  # parts of nearly all rows
PNG_START = b"\x89PNG\r\n\x1a\n"


class Plan(Frozen):
    """How the data are resampled: the content of a JSON file."""

    seed: int = Field(ge=0)
    bootstraps: int = Field(ge=2, le=1000)


class RepeatRequest(Request):
    """Repeat an analysis script and compare its numbers."""

    script: str = Field(
        description="Python file in the working directory, called as `script DATA OUT`: reads the parquet table DATA, "
        "writes OUT/results.json and its figures into the folder OUT"
    )
    data: str = Field(description="parquet table with all data")
    resamples: str = Field(description="JSON file that says how to resample, as the facts name it")
    folder: str = Field("answer", description="folder for the results and figures on all data")
    out: str = Field("answer.json", description="file for all results, which is what is handed in")
    seconds: float = Field(300, gt=0, description="limit of one run of the script [s]")


class Stability(Frozen):
    """One number: its pull between the halves, and its bootstrap spread over its stated error."""

    value: float
    error: float | None
    halves: float | None = None
    spread_over_error: float | None = None


class RepeatResult(Result):
    answer: str = Field(description="file with the results of all runs")
    folder: str = Field(description="folder with results.json and the figures on all data")
    rows: int
    copies: int = Field(description="rows with the same numbers as another: they stay together in every part")
    runs: int
    numbers: dict[str, Stability]
    failed: list[str] = Field(description="parts of the data on which the script failed, and how")


@tool("analysis.repeat")
def repeat(request: RepeatRequest) -> RepeatResult:
    """Run an analysis script on all data twice, on random halves, bootstrap resamples and nearly all rows; compare.

    results.json is {"numbers": [{"name", "value", "error", "systematic"?, "unit", "what"}], "tables": [{"title",
    "columns": [{"name", "unit", "values"}]}], "figures": [{"file": PNG below OUT, "title", "x": {"label", "unit"},
    "y": {"label", "unit"}, "log_x"?, "log_y"?, "series": [{"label", "x", "y", "error"?}]}], "files": [{"file",
    "what"}], "settings": {name: chosen number}}. Units are '1' where there are none. For a histogram x has the edges.
    """
    script, out = Path(request.script), below("out", request.out, ".json")
    folder = below("folder", request.folder, folder=True)
    if not script.is_file():
        raise ToolError("script", request.script, "a file in the working directory")
    table, plan = _table(request.data), _plan(request.resamples)
    load_libraries(script)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        runner = _Runner(script, place, request.seconds)
        first = runner.results(Path(request.data), folder)
        again = runner.results(Path(request.data), place / "again")
        rng = np.random.default_rng(plan.seed)
        original = _originals(table)
        resampled = [runner.resampled("half", table, rows) for rows in half_rows(original, rng)]
        resampled += [
            runner.resampled("bootstrap", table, bootstrap_rows(original, rng)) for _ in range(plan.bootstraps)
        ]
        resampled += [runner.resampled("nearly all", table, nearly_all_rows(original, rng)) for _ in range(NEARLY)]
        answer = Answer(
            rows=table.num_rows,
            results=first,
            again=again,
            hashes={each.file: (_hash(folder, each.file), _hash(place / "again", each.file)) for each in first.files},
            pictures={each.file: _wrong(folder, each.file) for each in first.figures},
            resampled=resampled,
        )
    write_whole(out, answer.model_dump_json().encode())
    failed = [f"{each.kind} with {each.rows} rows: {each.trouble}" for each in resampled if each.trouble]
    numbers = {number.name: _stability(number.name, answer) for number in first.numbers}
    return RepeatResult(
        answer=request.out,
        folder=request.folder,
        rows=table.num_rows,
        copies=count(original),
        runs=2 + len(resampled),
        numbers=numbers,
        failed=failed[:3],
    )


class _Runner:
    """Runs the script on tables, in a temporary place."""

    def __init__(self, script: Path, place: Path, seconds: float) -> None:
        self._script, self._place, self._seconds = script.resolve(), place, seconds

    def results(self, data: Path, out: Path) -> Results:
        """Return the results on all data. Raises ToolError if the script fails."""
        trouble = run_script(self._script, data.resolve(), out.resolve(), self._place / "log", self._seconds)
        if trouble:
            raise ToolError("script", str(self._script.name), f"must run on {data}: {trouble}")
        return read_results(out)

    def resampled(self, kind: Kind, table: Any, rows: Any) -> Resampled:
        """Return the numbers on some rows of the table."""
        import pyarrow.parquet as pq

        data, out = self._place / "part.parquet", self._place / "part"
        pq.write_table(table.take(rows), data)
        try:
            found = self.results(data, out)
        except ToolError as error:
            return Resampled(kind=kind, rows=len(rows), trouble=f"{error.field}={error.value}: {error.allowed}"[:600])
        finally:
            (out / "results.json").unlink(missing_ok=True)
        numbers = {number.name: (number.value, number.error) for number in found.numbers}
        return Resampled(kind=kind, rows=len(rows), numbers=numbers)


def _table(path: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ToolError("data", path, f"a parquet table ({error})") from None


def _originals(table: Any) -> NDArray[np.int64]:
    """Return for each row the first with the same numbers (n,), as far as there are enough of them to tell."""
    numbers = table.to_pandas().select_dtypes(["number", "bool"])
    if numbers.shape[1] == 0:
        return np.arange(table.num_rows)
    return originals({str(name): numbers[name].to_numpy(np.float64) for name in numbers})


def _plan(path: str) -> Plan:
    try:
        return Plan.model_validate(json.loads(Path(path).read_text()))
    except ValidationError as error:
        raise ToolError("resamples", path, str(problems(error)[0])) from None
    except (OSError, ValueError) as error:
        raise ToolError("resamples", path, f"the JSON file that the facts name ({error})") from None


def _hash(folder: Path, name: str) -> str:
    """Return the SHA-256 of a file below the folder, '' if there is none."""
    path = _inside(folder, name)
    return sha256(path) if path else ""


def _wrong(folder: Path, name: str) -> str:
    """Return what is wrong with a picture; '' if it is a PNG that shows something."""
    from matplotlib.image import imread

    path = _inside(folder, name)
    if path is None:
        return "no such file"
    if not path.read_bytes().startswith(PNG_START):
        return "not a PNG"
    try:
        pixels = imread(path)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: Pillow's word for a damaged PNG
        return f"not a readable PNG ({error})"
    return "" if pixels.min() < pixels.max() else "shows nothing: all pixels are the same"


def _inside(folder: Path, name: str) -> Path | None:
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _stability(name: str, answer: Answer) -> Stability:
    number = answer.results.named()[name]
    halves, values = varied(name, answer)
    z = pull(*halves) if len(halves) == 2 else None
    ratio = spread_over_error(values, number.error) if number.error and number.error > 0 and len(values) > 1 else None
    return Stability(value=number.value, error=number.error, halves=z, spread_over_error=ratio)


def varied(name: str, answer: Answer) -> tuple[list[tuple[float, float]], list[float]]:
    """Return a number's (value, error) on the halves that state an error, and its values on the resamples."""
    found = [(each.kind, *each.numbers[name]) for each in answer.resampled if name in each.numbers]
    halves = [(value, error) for kind, value, error in found if kind == "half" and error is not None and error > 0]
    return halves, [value for kind, value, _ in found if kind == "bootstrap"]

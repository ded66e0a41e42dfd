"""What an analysis script writes, `results.json`, and what its repetitions gave, `answer.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from tools.contract import Frozen, ToolError, problems

NAME = r"^[a-z][a-z0-9_]{0,60}$"
RESULTS = "results.json"
MAX_BYTES = 2**20  # of results.json
MAX_POINTS = 2000  # of a series or a column: more belongs into a file

Kind = Literal["half", "bootstrap", "nearly all"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Points = Annotated[list[Finite], Field(max_length=MAX_POINTS)]


class Number(Frozen):
    """A measured number with its statistical error."""

    name: str = Field(pattern=NAME, description="unique; the answer quotes the number by it")
    value: Finite
    error: Finite | None = Field(None, description="statistical error, one standard deviation")
    systematic: Finite | None = Field(None, description="systematic error, if any; not part of `error`")
    unit: str = Field("", description="'1' if it has none")
    what: str = Field("", description="what it is, in a line")


class Axis(Frozen):
    """What an axis shows."""

    label: str = ""
    unit: str = Field("", description="'1' if it has none, 'events' or 'events / 0.1 GeV' for counts")


class Series(Frozen):
    """Points of a figure, or the contents of bins: then `x` has the edges, one more than `y`."""

    label: str = ""
    x: Points
    y: Points
    error: Points | None = Field(None, description="errors of y")


class Figure(Frozen):
    """A figure: the picture, and the same in numbers."""

    file: str = Field(description="PNG below OUT")
    title: str = ""
    x: Axis
    y: Axis
    log_x: bool = False
    log_y: bool = False
    series: list[Series] = Field(default_factory=list, max_length=12)


class Column(Frozen):
    name: str
    unit: str = ""
    values: Annotated[list[Finite | str], Field(max_length=MAX_POINTS)]


class Table(Frozen):
    """A table, by columns of equal length."""

    title: str
    columns: list[Column] = Field(min_length=1, max_length=30)


class OtherFile(Frozen):
    """Anything larger, such as a generated sample."""

    file: str = Field(description="path below OUT")
    what: str = ""


class Results(Frozen):
    """Everything that a script found. `settings`: numbers that were chosen, not measured, such as cuts."""

    numbers: list[Number] = Field(default_factory=list, max_length=200)
    tables: list[Table] = Field(default_factory=list, max_length=20)
    figures: list[Figure] = Field(default_factory=list, max_length=20)
    files: list[OtherFile] = Field(default_factory=list, max_length=20)
    settings: dict[str, Finite | str] = Field(default_factory=dict)

    def named(self) -> dict[str, Number]:
        return {number.name: number for number in self.numbers}


class Resampled(Frozen):
    """The numbers on some of the rows: name -> (value, error). `trouble`: why there are none."""

    kind: Kind
    rows: int
    numbers: dict[str, tuple[Finite, Finite | None]] = Field(default_factory=dict)
    trouble: str = ""


class Answer(Frozen):
    """The results on all data, those of the same script once more, and those on parts and resamples of the data.

    `hashes`: SHA-256 of other files by path, of both runs on all data; `pictures`: what is wrong with each picture, ''
    if nothing is.
    """

    rows: int
    results: Results
    again: Results
    hashes: dict[str, tuple[str, str]] = Field(default_factory=dict)
    pictures: dict[str, str] = Field(default_factory=dict)
    resampled: list[Resampled] = Field(default_factory=list)


def read_results(folder: Path) -> Results:
    """Return what a script wrote into OUT. Raises ToolError naming the field of results.json and what is allowed."""
    path = folder / RESULTS
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise ToolError(RESULTS, len(data), f"at most {MAX_BYTES} bytes: put what is larger into `files`")
        found = Results.model_validate(json.loads(data))
    except OSError as error:
        raise ToolError("script", str(path), f"must write OUT/{RESULTS} ({error.strerror})") from None
    except ValidationError as error:
        wrong = problems(error)[0]
        raise ToolError(f"{RESULTS}: {wrong.field}", wrong.value, wrong.said) from None
    except ValueError as error:
        raise ToolError(RESULTS, str(path), f"JSON in UTF-8 ({error})") from None
    _check(found)
    return found


def _check(found: Results) -> None:
    """Raise ToolError for what no schema says: names used twice, and lengths that do not go together."""
    names = [number.name for number in found.numbers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ToolError(f"{RESULTS}: numbers", twice, "each name once")
    for figure in found.figures:
        for series in figure.series:
            x, y, error = len(series.x), len(series.y), series.error
            if x not in (y, y + 1) or (error is not None and len(error) != y):
                lengths = [x, y, error and len(error)]
                allowed = "x as long as y, or one longer (edges of bins); error as long as y"
                raise ToolError(f"{RESULTS}: series of {figure.file}", lengths, allowed)
    for table in found.tables:
        if len({len(column.values) for column in table.columns}) > 1:
            lengths = [len(column.values) for column in table.columns]
            raise ToolError(f"{RESULTS}: table {table.title}", lengths, "columns of one length")

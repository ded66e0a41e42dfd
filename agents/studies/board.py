"""Progress display of a study: a table and a bar on a terminal, a line for each cell elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agents.studies.cells import backend_in, cells_of
from agents.studies.outcome import Outcome, read_outcome
from agents.studies.rests import Rest
from agents.studies.study import Study
from agents.studies.verdict import count
from agents.trace.result import ANSWERED
from agents.trace.words import duration

RECENT = 8  # lines about failures that stay visible


class Board:
    """Receives the state changes of cells from `carry_out`, and reads their outcomes."""

    def __init__(self, study: Study, folder: Path, console: Console | None = None) -> None:
        self._study, self._folder = study, folder
        self._console = console or Console(stderr=True)
        self._cells = {cell.name: cell for cell in cells_of(study)}
        self.outcomes = {name: found for name in self._cells if (found := outcome_in(folder / name)) is not None}
        self._running: dict[str, float] = {}
        self._troubles: list[str] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._task = self._bar.add_task(study.name, total=len(self._cells), completed=len(self.outcomes), left="")
        self._began, self._before = time.monotonic(), len(self.outcomes)
        self._live = (
            Live(get_renderable=self.render, console=self._console, refresh_per_second=2)
            if self._console.is_terminal
            else None
        )

    def left(self) -> list[str]:
        """Return the cells without an outcome, in the order in which to carry them out."""
        return [name for name in self._cells if name not in self.outcomes]

    def waiting(self, rests: Mapping[str, Rest]) -> list[str]:
        """Return a sentence for each service whose quota cells wait for. `rests`: by backend."""
        services = {rest.service: rest for rest in rests.values()}
        cells = Counter(rests[arm].service for name in self.left() if (arm := backend_in(name)) in rests)
        return [
            f"{count(n, 'run')} {'waits' if n == 1 else 'wait'} for the quota of {service}"
            f"{_until(services[service])}; the same command continues."
            for service, n in cells.items()
        ]

    def tell(self, name: str, what: str) -> None:
        """Record that a cell started, finished, or failed this time."""
        if what == "running":
            self._running[name] = time.monotonic()
            return
        self._running.pop(name, None)
        line = f"{name}: {what}, will be tried again"
        if what == "done" and (outcome := outcome_in(self._folder / name)) is not None:
            self.outcomes[name] = outcome
            self._bar.update(self._task, completed=len(self.outcomes), left=self._remaining())
            line = f"[{len(self.outcomes)}/{len(self._cells)}] {describe(outcome)}"
        else:
            self._troubles = [*self._troubles, line][-RECENT:]
        if self._live is None:
            self._console.print(Text(line), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the current display."""
        lines = [Text(line, "yellow") for line in self._troubles]
        return Group(self.table(), *lines, self._bar)

    def table(self) -> Table:
        """Return a table with one row per backend."""
        table = Table("backend", title=Text(self._study.name), title_justify="left")
        for name in ("done", "right", "failed", "missing", "running", "median time", "cost"):
            table.add_column(name, justify="right")
        total = Counter(cell.arm.name for cell in self._cells.values())
        running = Counter(self._cells[name].arm.name for name in self._running)
        for arm in self._study.backends:
            rows = [o for o in self.outcomes.values() if o.backend == arm.name]
            missing = sum(o.missing for o in rows)
            failed = sum(not o.missing and o.status not in ANSWERED for o in rows)
            times = sorted(o.seconds for o in rows if not o.missing)
            table.add_row(
                Text(arm.name),
                f"{len(rows)}/{total[arm.name]}",
                str(sum(o.success for o in rows)),
                str(failed),
                str(missing),
                str(running[arm.name] or ""),
                duration(times[len(times) // 2]) if times else "",
                f"${sum(o.cost.dollars for o in rows):.2f}",
            )
        return table

    def _remaining(self) -> str:
        """Estimate the remaining time from the pace so far."""
        done, todo = len(self.outcomes) - self._before, len(self.left())
        return f"{duration((time.monotonic() - self._began) / done * todo)} left" if done and todo else ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
        elif kind is None:
            self._console.print(self.table())


def _until(rest: Rest) -> str:
    if rest.refills is None:
        return ""
    return time.strftime(", which refills at %Y-%m-%d %H:%M:%S", time.localtime(rest.refills))


def outcome_in(run_dir: Path) -> Outcome | None:
    """Return the outcome in a cell's folder; None if it is missing or unreadable. ValueError if of another format."""
    try:
        return read_outcome(run_dir)
    except (OSError, ValidationError):
        return None


def describe(outcome: Outcome) -> str:
    """Describe an outcome in one line."""
    verdict = "missing" if outcome.missing else "right" if outcome.success else "not right"
    metric = "" if outcome.primary is None else f", metric {outcome.primary:.2f}"
    return f"{outcome.cell}: {verdict} ({outcome.status}) after {duration(outcome.seconds)}{metric}"

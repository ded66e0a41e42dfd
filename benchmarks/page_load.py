"""Load time of pages in a real browser: that of a run of 1,000 steps (`benchmarks.trace`), and the list of runs.

This is the wall time of a headless Chromium that loads the page, runs its scripts and dumps the result, minus that of
the same browser with an empty page, which is its start-up time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from agents.trace.events import Planned, StepFinished, StepStarted
from agents.trace.observation import Observation
from agents.trace.store import Store
from agents.view.server import Server
from tasks.plan import Plan, Step

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync", "--dump-dom"),
)
ROUNDS, STEPS = 200, 5
STEP, RUN = r'<details[^>]* class="step[" ]', r'<td class="what">'  # what a page has one of for each step, or run
Work = Callable[[str], object]


def write(store: Store, work: Work) -> None:
    """Write 1,000 steps, planned in 200 rounds; `work` does the work of each step."""
    for k in range(ROUNDS):
        planned = [Step(id=f"s{n}", goal="measure", submits=n == 0) for n in range(STEPS)]
        store.append(Planned(iteration=k, plan=Plan(reasoning="as before", steps=planned)))
        for step in planned:
            store.append(StepStarted(iteration=k, step=step.id))
            work(f"worker/{k}/{step.id}")
            done = Observation(iteration=k, step=step.id, ok=True, summary="done")
            store.append(StepFinished(observation=done, seconds=1.0))


def dump(address: str, profile: Path, milliseconds: int) -> str:
    """Return the page at an address after its scripts ran for so many (virtual) milliseconds."""
    assert CHROMIUM, f"none of {', '.join(NAMES)} is on the PATH"
    argv = [CHROMIUM, *FLAGS, f"--virtual-time-budget={milliseconds}", f"--user-data-dir={profile}", address]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=True).stdout


def page_load(runs: Path, path: str, marks: str, number: int, repeats: int) -> float | None:
    """Return the median seconds until a page with so many marks is loaded; None without Chromium."""
    if CHROMIUM is None:
        return None
    with Server(runs, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        taken = []
        try:
            page = server.address(path)
            _seconds("about:blank", runs, marks, 0)  # creates the profile
            for _ in range(repeats):
                blank = _seconds("about:blank", runs, marks, 0)
                taken.append(_seconds(page, runs, marks, number) - blank)
        finally:
            server.shutdown()
            thread.join()
    return median(taken)


def _seconds(address: str, runs: Path, marks: str, number: int) -> float:
    start = time.perf_counter()
    page = dump(address, runs / "profile", 1000)
    seconds = time.perf_counter() - start
    assert len(re.findall(marks, page)) == number, "the page does not show all of it"
    return seconds

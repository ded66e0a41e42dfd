"""The survey in one call against single calls, and a template of three fits against one: seconds, closure and SIC.

The events are those that a crew sees in the demo (100,000, half of the signal in them). Each call is a process of its
own, as in the sandbox, with two threads. The single calls have the settings of the survey; those of two windows run
side by side. SICs are those of out-of-fold scores in the true window, with at least 25 background events kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tasks.lhco.plans import FULL_FLOW
from tasks.lhco.presets import LhcoDemo
from tools.anomaly.data import within
from tools.anomaly.survey import ENSEMBLE, FOLDS, OVERSAMPLE, QUICK, SurveyRequest, covering
from tools.bumphunt.windows import Window
from tools.events.parquet import read_columns, write_events
from tools.metrics import max_sic

MIN_BACKGROUND = 25
FITS = 3


def survey(console: Console) -> dict[str, Any]:
    """Return seconds of both ways, closure AUCs and SICs."""
    columns, is_signal, truth, _ = LhcoDemo().load()
    half = np.random.default_rng(1).permutation(len(is_signal)) % 2 == 0
    mjj, signal = columns["mjj"][half], is_signal[half]
    windows = covering(SurveyRequest())
    at = min(range(len(windows)), key=lambda k: abs(sum(windows[k]) - sum(truth.window)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_events(folder / "events.parquet", {name: values[half] for name, values in columns.items()})

        def sic25(scores: Path, window: Window) -> float:
            score, inside = read_columns(scores)["score"], within(mjj, window)
            return max_sic(score[inside & signal], score[inside & ~signal], MIN_BACKGROUND)

        start = time.monotonic()
        found = call(folder, "anomaly.survey")
        together = time.monotonic() - start
        start = time.monotonic()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda window: single(folder, window), windows))
        alone = time.monotonic() - start
        out: dict[str, Any] = {
            "survey_s": round(together, 1),
            "survey_over_single": round(together / alone, 3),
            "survey_sic25": round(sic25(folder / found["windows"][at]["scores"], windows[at]), 3),
            "single_sic25": round(sic25(folder / name(windows[at]) / "scores.parquet", windows[at]), 3),
            "survey_closure_auc": [round(row["closure_auc"], 4) for row in found["windows"]],
            "survey_closure_error": [round(row["closure_auc_error"], 4) for row in found["windows"]],
        }
        for what, fits in (("one_fit", 1), ("three_fits", FITS)):
            window = {"events": "events.parquet", "window": truth.window, "seed": 1}
            start = time.monotonic()
            flow = {"kind": "spline_flow", **FULL_FLOW}
            made = call(folder, "anomaly.template", **window, method=flow, fits=fits, closure="events")
            out[f"{what}_s"] = round(time.monotonic() - start, 1)
            call(folder, "anomaly.classify", **window, template=made["template"]["path"], ensemble=6)
            out[f"{what}_closure_auc"] = [round(made["closure_auc"], 4), round(made["closure_auc_error"], 4)]
            out[f"{what}_sic25"] = round(sic25(folder / "scores.parquet", truth.window), 3)
    console.print(out)
    return out


def single(folder: Path, window: Window) -> None:
    """Search one window with the three tools, in a folder of its own."""
    here = folder / name(window)
    here.mkdir()
    common = {"events": "../events.parquet", "window": window}
    flow = QUICK.model_dump()
    call(here, "anomaly.template", **common, method=flow, oversample=OVERSAMPLE, closure="events")
    files = {"template": "template.parquet", "control": "template_control.parquet"}
    call(here, "anomaly.classify", **common, **files, folds=FOLDS, ensemble=ENSEMBLE)
    call(here, "bumphunt.scan", **common, scores="scores.parquet")


def name(window: Window) -> str:
    return f"{window[0]:g}_{window[1]:g}"


def call(folder: Path, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool in a process of its own, as the sandbox does."""
    request = folder / f"{tool}.json"
    request.write_text(json.dumps({"events": "events.parquet", **arguments}))
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "tools.call", tool, request.name]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | threads | path, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    return result

"""Tables with a mass spectrum, in all formats, and what the task makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from tasks.catalogue import make_task
from tools.events.frame import write_frame


def frame(n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    mass = np.concatenate([20 + rng.exponential(25, n), rng.normal(60, 0.9, n // 10)])
    pairs = {"charge": rng.choice(["OS", "SS"], len(mass)), "pt": rng.exponential(20, len(mass))}
    return pd.DataFrame({"m_ll": mass, **pairs, "is_signal": (np.arange(len(mass)) >= n).astype(int)})


def written(folder: Path, name: str) -> Path:
    path, table = folder / name, frame()
    if name.endswith((".csv", ".csv.gz")):
        table.to_csv(path, index=False)
    elif name.endswith(".txt"):
        table.to_csv(path, index=False, sep="\t" if "tab" in name else ";" if "semi" in name else " ")
    elif name.endswith(".parquet"):
        table.to_parquet(path)
    elif name.endswith(".h5"):
        numbers = table.drop(columns="charge")
        write_frame(path, [numbers.to_numpy(dtype=np.float32)], tuple(numbers.columns))
    elif name.endswith(".hdf5"):
        with h5py.File(path, "w") as file:
            for column in table.columns.drop("charge"):
                file[f"events/{column}"] = table[column].to_numpy()
    elif name.endswith(".npz"):
        np.savez(
            path, **{column: table[column].to_numpy(dtype=None if column != "charge" else "U2") for column in table}
        )
    else:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            file["tree"] = {column: table[column].to_numpy() for column in table if column != "charge"}
    return path


def prepared(folder: Path, **options: Any) -> dict[str, Any]:
    return make_task("spectrum", options).prepare(folder / "inputs", folder / "held_out", folder / "sealed")

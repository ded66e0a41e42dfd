"""Publication of an unfolded result as a file of per-event weights, which others can histogram as they like.

As in ATLAS's Z+jets measurement (arXiv:2405.20041), there is one row per simulated event, with its observables at
particle level and columns `weights_nominal`, `weights_ensemble_*`, `weights_bootstrap_*`, `weights_nuisance_*`,
`weights_model` and `weights_method`, and `weights_stress_*` and `weights_prior_*` of stress tests.
`weights_iteration_k`, which is `weights_ensemble_0` one iteration before the last, shows whether the result has
converged. The file is HDF5 (a data set per column) or parquet, by its suffix. The metadata are JSON; a SHA-256 covers
them and the columns, and the reader checks it. Events that fail gen have weight 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.files import written
from tools.types import Floats

FORMAT = {"format": "beamcrew-unfolded-events", "version": 1}
SUFFIXES = (".h5", ".hdf5", ".parquet")
Columns = dict[str, NDArray[np.float32]]


def nominal(weights: Mapping[str, Floats]) -> Floats:
    """Return the mean weights of the ensemble (n,)."""
    members = [w for name, w in weights.items() if name.startswith("ensemble_")]
    return np.asarray(np.mean(members, axis=0))


def publish(path: Path, gen: Mapping[str, Floats], weights: Mapping[str, Floats], metadata: Mapping[str, Any]) -> str:
    """Write observables `gen` (n,) and the replicas' weights (n,) as float32; return the SHA-256 of the content.

    The file appears whole or not at all. Raises ToolError for another suffix, unequal lengths, or weights that are not
    finite.
    """
    columns: Columns = {f"gen_{name}": np.asarray(x, dtype=np.float32) for name, x in gen.items()}
    columns["weights_nominal"] = nominal(weights).astype(np.float32)
    columns |= {f"weights_{name}": np.asarray(w, dtype=np.float32) for name, w in weights.items()}
    lengths = {name: len(x) for name, x in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ToolError("columns", lengths, "all columns must have the same length")
    for name, values in columns.items():
        if name.startswith("weights_") and not np.isfinite(values).all():
            raise ToolError(name, "NaN or infinite", "finite weights")
    text = json.dumps({**FORMAT, **metadata}, sort_keys=True)
    digest = content_hash(columns, text)
    with written(path) as part:
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            table = pa.table(columns).replace_schema_metadata({"metadata": text, "sha256": digest})
            pq.write_table(table, part, compression="zstd", use_dictionary=False)
        elif path.suffix in SUFFIXES:
            import h5py

            with h5py.File(part, "w", track_order=True, locking=False) as file:
                file.attrs.update({"metadata": text, "sha256": digest})
                for name, values in columns.items():
                    file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        else:
            raise ToolError("out", str(path), f"a file ending in one of {', '.join(SUFFIXES)}")
    return digest


def content_hash(columns: Mapping[str, NDArray[np.float32]], metadata: str) -> str:
    """Return the SHA-256 of the metadata text and, in alphabetical order, each column's name and little-endian float32
    bytes.
    """
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(columns):
        digest.update(name.encode() + np.ascontiguousarray(columns[name], dtype="<f4").tobytes())
    return digest.hexdigest()

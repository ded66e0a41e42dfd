"""Very many mutants: `python tests/sandbox/many_mutants.py --count 1000000`, so many of each kind.

Of files of arrays one fork parses a thousand, confined as the forks of `sandbox.reader.child` are: the fork alone takes
twenty times as long as parsing. What ends its fork is written to `--keep`, and the next fork goes on behind it.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutants
import numpy as np

from sandbox.reader import UnsafeFile, child, parsing

BATCH = 1000
SECONDS = 600  # of a processor, for a batch
MAKING = 64 << 20  # bytes for making the mutants, in the same fork
WORDS = ("read", "refused", "no memory")
DONE = struct.Struct(f"<{1 + len(WORDS)}Q")  # how many were begun, and how they ended
ROWS = mutants.VALUES // 8
OPTIONS: dict[str, dict[str, Any]] = {
    "parquet": {"max_rows": ROWS, "max_columns": 8, "columns": None},
    "npz": {"max_values": mutants.VALUES},
    "safetensors": {"max_values": mutants.VALUES},
}


def batch(kind: str, seed: int, number: int) -> Iterator[bytes]:
    rng = np.random.default_rng([seed, list(mutants.FORMATS).index(kind), number])
    good = b""
    for k in range(BATCH):
        good = mutants.FORMATS[kind][0](rng) if k % 20 == 0 else good
        yield mutants.mutant(kind, good, rng)


def parse(kind: str, files: Iterator[bytes], skip: int, told: mmap.mmap) -> None:
    """In a fork: `told` is how far it is, for whoever waits. Whatever no reader may raise ends the fork."""
    child.confine(MAKING + parsing.MEMORY_MIN + 64 * mutants.VALUES, SECONDS)
    ended = [0, 0, 0]
    for k, data in enumerate(files):
        if k >= skip:
            told[: DONE.size] = DONE.pack(k + 1, *ended)
            try:
                arrays = child.READERS[kind].arrays("mutant", memoryview(data), **OPTIONS[kind])
                if sum(a.size for a in arrays.values()) > mutants.VALUES or {a.dtype.kind for a in arrays.values()} - {
                    *"biuf"
                }:
                    os.abort()
                ended[0] += 1
            except UnsafeFile:
                ended[1] += 1
            except MemoryError:
                ended[2] += 1
            except Exception:  # as the child does
                ended[1] += 1
    told[: DONE.size] = DONE.pack(BATCH, *ended)
    os._exit(0)


def tried(kind: str, seed: int, number: int, keep: Path) -> Counter[str]:
    """One batch: how many ended how, and the most memory that a fork of it took, in MiB."""
    said: Counter[str] = Counter()
    told, begun = mmap.mmap(-1, mmap.PAGESIZE), 0
    while begun < BATCH:
        if (fork := os.fork()) == 0:
            try:
                parse(kind, batch(kind, seed, number), begun, told)
            finally:
                os._exit(1)
        _, status, usage = os.wait4(fork, 0)
        before, (begun, *ended) = begun, DONE.unpack(told[: DONE.size])
        if begun <= before:
            raise RuntimeError(f"{kind}: no mutants can be made in a fork, which ended with status {status}")
        said.update(dict(zip(WORDS, ended, strict=True)))
        said["MiB"] = max(said["MiB"], usage.ru_maxrss >> 10)
        if status:
            said["died"] += 1
            (keep / f"{kind}-{seed}-{number}-{begun}").write_bytes(list(batch(kind, seed, number))[begun - 1])
        told[: DONE.size] = bytes(DONE.size)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=mutants.FORMATS, default=list(mutants.FORMATS))
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()), help="folder for what ends its reader"
    )
    given = parser.parse_args()
    for kind in given.kinds:
        said: Counter[str] = Counter()
        start, most = time.monotonic(), 0
        if kind in OPTIONS:
            list(zip(range(BATCH), batch(kind, 0, 0), strict=True))  # libraries load parts when they are first used
            child.READERS[kind].arrays("sample", memoryview(child.READERS[kind].sample()), **OPTIONS[kind])
            for number in range(-(-given.count // BATCH)):
                said += (one := tried(kind, given.seed, number, given.keep))
                most = max(most, one["MiB"])
        else:  # read in place
            with tempfile.TemporaryDirectory() as folder:
                for _, what in mutants.tried(kind, given.count, given.seed, Path(folder)):
                    said["read" if what == "read" else "refused"] += 1
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        del said["MiB"]
        print(f"{kind}: {dict(said)}, {time.monotonic() - start:.0f} s, {most} MiB at most", flush=True)


if __name__ == "__main__":
    main()

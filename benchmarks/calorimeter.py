"""Generators of calorimeter showers compared with their simulation: `python -m benchmarks.calorimeter [--quick]`.

GFlash photon showers of 256 MeV to 4 TeV in factors of 2, in the geometry of data set 1 (with `--geometry
ds2_electrons`: electrons of 1 GeV to 1 TeV), from independent seeds: one file for training, and two for judging. Every
generator trains for `--minutes`, with the number of epochs set by the time per epoch; trained generators are kept in
`--folder` and reused. AUCs are the larger of a network's and boosted trees'. The last line is one JSON object:

    auc_voxels, auc_observables, fpd_ratio   FPD relative to that of the two files, at the same size
    ms_per_shower       at a batch of 100 on as many cores as torch has; `ms` by batch size
    auc_memory          P(a generated shower is nearer to a training shower than a simulated one): 0.5 is best, 1 copies
    between             worst |mean response/simulated - 1| at incident energies halfway between those of training
    minutes, megabytes  training time, and size of the file
    better_than_frozen  where a generator beats the frozen showers; `best`: the trained one whose larger AUC is lowest
    forgetting          largest change [MeV] in known showers when tokens learn a new material and a new particle
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.calorimeter.classifier import strongest, tell_apart
from tools.calorimeter.fpd import fpd
from tools.calorimeter.generators import (
    Adapter,
    Expert,
    Flow,
    FrozenShowers,
    Generator,
    PointsFlowMatching,
    Settings,
    Tokens,
    load,
)
from tools.calorimeter.generators.tokens import TokenGenerator
from tools.calorimeter.geometry import Geometry, geometry
from tools.calorimeter.gflash import simulate
from tools.calorimeter.memory import memorised
from tools.calorimeter.observables import features
from tools.calorimeter.showers import Showers, read_showers, write_showers
from tools.calorimeter.timing import milliseconds

GENERATORS: dict[str, Settings] = {
    "flow": Flow(),
    "points_flow_matching": PointsFlowMatching(),
    "tokens": Tokens(),
    "frozen": FrozenShowers(),
}
COMPARED = ("auc_voxels", "auc_observables", "fpd_ratio", "ms_per_shower", "auc_memory", "between", "megabytes")
FIRST_STAGE = 3  # minimum epochs of a first stage over those of the main one: it is quick
SAMPLE = 1000  # showers in the timed epoch
console = Console(width=140, file=sys.stdout)


def energies(choices: argparse.Namespace, n: int, seed: int) -> Any:
    """Return incident energies [MeV] (n,)."""
    rng = np.random.default_rng([seed, 21])
    if choices.geometry == "ds1_photons":
        return 2.0 ** rng.integers(8, 23, n)
    return 10 ** rng.uniform(3, 6, n)


def sample(choices: argparse.Namespace, g: Geometry, name: str, n: int, seed: int) -> Showers:
    """Return the showers of a file, simulated if missing."""
    path = choices.folder / f"{choices.geometry}_{name}_{n}.safetensors"
    if not path.exists():
        write_showers(path, simulate(energies(choices, n, seed), g, seed))
    return read_showers(path, g)


def trained(name: str, settings: Settings, choices: argparse.Namespace, showers: Showers) -> tuple[Generator, float]:
    """Return the generator and its training time in minutes; from the folder if it is already there."""
    path = choices.folder / f"{choices.geometry}_{name}_{len(showers)}_{choices.minutes:g}min.safetensors"
    minutes = path.with_suffix(".minutes.json")
    if not path.exists():
        if name != "frozen":
            settings = settings.model_copy(update=_epochs(settings, showers, choices.minutes))
        console.print(f"{name}: {settings}")
        start = time.perf_counter()
        settings.fit(showers, choices.seed, lambda *epoch: console.print(name, *epoch)).save(path)
        minutes.write_text(json.dumps((time.perf_counter() - start) / 60))
    return load(path), float(json.loads(minutes.read_text()))


def _epochs(settings: Settings, showers: Showers, minutes: float) -> dict[str, int]:
    """Return the epochs that fit in, from the time of one on SAMPLE showers; a first stage gets at least its own."""
    stage = {"flow": "layer_epochs", "points_flow_matching": "totals_epochs"}.get(settings.kind)
    rows = np.random.default_rng(1).permutation(len(showers))[:SAMPLE]

    def seconds(epochs: int, first: int) -> float:
        """Return the time of a training on all showers; its overhead counts once."""
        start = time.perf_counter()
        settings.model_copy(update={"epochs": epochs} | ({stage: first} if stage else {})).fit(showers[rows], 1)
        return (time.perf_counter() - start) * len(showers) / len(rows)

    once = seconds(1, 1)
    one = max(seconds(2, 1) - once, 0.2 * once)
    first = max(seconds(1, 11) - once, 0.0) / 10 if stage else 0.0
    budget = 0.95 * 60 * minutes
    if stage is None:
        return {"epochs": max(1, int(budget / one))}
    least = getattr(settings, stage)
    epochs = max(1, int(min((budget - least * first) / one, budget / (one + FIRST_STAGE * first))))
    return {"epochs": epochs, stage: max(least, FIRST_STAGE * epochs)}


def judged(name: str, generator: Generator, files: dict[str, Showers], choices: argparse.Namespace) -> dict[str, Any]:
    """Return all metrics of a generator."""
    reference, second = files["reference"], files["second"]
    made = generator.generate(reference.incident, choices.seed + 10)
    if name == "frozen":
        console.print(
            "frozen: at its own energies these are showers of the library, so AUCs say little; see auc_memory"
        )
    voxels, observables = (strongest(tell_apart(reference, made, look)) for look in ("voxels", "observables"))
    ours, theirs = features(reference), features(made)
    least = max(fpd(ours, features(second)))
    times = milliseconds(generator.generate, reference.incident)
    return {
        "auc_voxels": voxels.auc,
        "auc_voxels_error": voxels.error,
        "auc_observables": observables.auc,
        "auc_observables_error": observables.error,
        "fpd": fpd(ours, theirs)[0],
        "fpd_reference": least,
        "fpd_ratio": fpd(ours, theirs)[0] / least,
        "ms_per_shower": times.get(100),
        "ms": times,
        "auc_memory": memorised(files["training"], reference, made)[0],
        "between": between(generator, choices, int(np.clip(60_000 / 14 / (times.get(100) or 1e3), 100, 5000))),
    }


def between(generator: Generator, choices: argparse.Namespace, n: int) -> float:
    """Return the worst relative error of the mean response of `n` showers halfway between training energies."""
    worst = 0.0
    for energy in np.geomspace(*generator.seen, 15)[:-1] * (2**0.5 if choices.geometry == "ds1_photons" else 1.0):
        incident = np.full(n, energy)
        true = simulate(incident, generator.geometry, choices.seed + 30).deposited.mean()
        worst = max(worst, abs(generator.generate(incident, 1).deposited.mean() / true - 1))
    return worst


def bad(key: str, values: dict[str, Any]) -> float:
    """Return the distance of a number from its best value; one that took too long to measure is the worst."""
    value = values[key]
    if value is None:
        return np.inf
    return abs(value - 0.5) if key == "auc_memory" else float(value)


def forgetting(choices: argparse.Namespace, tokens: TokenGenerator, n: int = 1000) -> float:
    """Return the largest change [MeV] in showers of the first domain after adding a new material and a new particle."""
    g, path = tokens.geometry, choices.folder / "grown.safetensors"
    incident = energies(choices, n, choices.seed + 40)
    before = tokens.generate(incident[:200], 1).voxels
    tokens.save(path)
    iron = simulate(incident, g, choices.seed + 41, material="iron_scintillator")
    grown = Expert(grow=str(path), material="iron", epochs=1).fit(iron, 1)
    grown.save(path)
    pions = simulate(incident, g, choices.seed + 42, particle="neutral_pion")
    grown = Adapter(grow=str(path), particle="neutral_pion", epochs=1).fit(pions, 1)
    after = grown.select(*tokens.domain).generate(incident[:200], 1).voxels
    return float(np.abs(after - before).max())


def main() -> None:
    """Run the benchmark as described in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3,000 showers, a minute each, to see that it runs")
    parser.add_argument("--showers", type=int, default=50_000)
    parser.add_argument("--judge", type=int, default=10_000, help="showers in each of the two files for judging")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time of each generator")
    parser.add_argument("--generators", default=",".join(GENERATORS))
    parser.add_argument("--geometry", default="ds1_photons", choices=["ds1_photons", "ds2_electrons"])
    parser.add_argument("--folder", type=Path, default=Path("runs/calorimeter"))
    parser.add_argument("--seed", type=int, default=1)
    choices = parser.parse_args()
    if choices.quick:
        choices.showers, choices.judge, choices.minutes = 3000, 3000, 1.0
    choices.folder.mkdir(parents=True, exist_ok=True)
    g = geometry(choices.geometry)
    sizes = {"training": choices.showers, "reference": choices.judge, "second": choices.judge}
    files = {
        name: sample(choices, g, name, n, 1000 * (i + 1) + choices.seed) for i, (name, n) in enumerate(sizes.items())
    }
    found: dict[str, Any] = {}
    for name in choices.generators.split(","):
        generator, minutes = trained(name, GENERATORS[name], choices, files["training"])
        size = next(
            choices.folder.glob(f"{choices.geometry}_{name}_{choices.showers}_{choices.minutes:g}min.safetensors")
        )
        found[name] = judged(name, generator, files, choices) | {
            "minutes": minutes,
            "megabytes": size.stat().st_size / 1e6,
        }
        console.print(name, found[name])
        if isinstance(generator, TokenGenerator):
            found[name]["forgetting"] = forgetting(choices, generator)
    learned = [name for name in found if name != "frozen"]
    if "frozen" in found:
        for name in learned:
            found[name]["better_than_frozen"] = [k for k in COMPARED if bad(k, found[name]) < bad(k, found["frozen"])]
    keys = (*COMPARED, "minutes")
    table = Table("generator", *keys)
    for name, values in found.items():
        table.add_row(name, *("" if values[key] is None else f"{values[key]:.3g}" for key in keys))
    console.print(table)
    best = min(learned, key=lambda name: max(found[name]["auc_voxels"], found[name]["auc_observables"]), default=None)
    print(json.dumps(found | {"best": best}, default=float))


if __name__ == "__main__":
    main()

"""`beamcrew data`: get, simulate, convert and describe event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tools.calorimeter.simulate import ShowerSimulation, simulate_showers
from tools.contract import ToolError
from tools.data_jets import counted, holds_jets, jet_kinds, print_jets
from tools.data_showers import print_showers, showers_voxels
from tools.events import download
from tools.events.energyflow import ZJETS_FILES, read_zjets
from tools.events.jets_kinds import ALL_KINDS
from tools.events.jets_read import read_any_jets
from tools.events.jets_simulate import MAX_KEPT, JetSimulation, simulate_jets
from tools.events.lhco import Labels, particle_rows, read_events
from tools.events.parquet import read_columns, write_events
from tools.events.pythia import NARROW, Process
from tools.events.simulate import Simulation
from tools.events.simulate import simulate as run_simulation
from tools.events.zjets import COLUMNS as ZJETS
from tools.events.zjets import NOT_PASSED, Tune, ZJets, ZJetsSimulation, simulate_zjets
from tools.jet_model.jets_file import write_jets

app = typer.Typer(help="Event files: download, simulate, convert, describe.", no_args_is_help=True)
INFO_EVENTS = 2000  # of a file that has to be clustered first
out = Console(soft_wrap=True)
err = Console(stderr=True)


class Kind(StrEnum):
    qcd = "qcd"
    resonance = "resonance"
    zjets = "zjets"
    jets = "jets"
    showers = "showers"


@app.command()
def lhco(
    folder: Annotated[Path, typer.Option("--out", help="where the files go")] = Path("data/lhco"),
    file: Annotated[
        list[str] | None, typer.Option(help=f"one of {', '.join(download.LHCO_FILES)}; may be repeated")
    ] = None,
    base_url: Annotated[str, typer.Option(help="Zenodo, or a mirror of it")] = download.ZENODO,
) -> None:
    """Download official LHC Olympics files from Zenodo (by default the 74 MB of R&D jets); goes on where it stopped."""
    with _one_line_errors("run the same command again: the download goes on where it stopped"):
        for name in file or [next(iter(download.LHCO_FILES))]:
            with _bar(name, DownloadColumn()) as progress:
                path = download.fetch_official(name, folder, base_url, progress)
            out.print(f"{path}: MD5 as published")


@app.command()
def zjets(
    folder: Annotated[Path, typer.Option("--out", help="where the files go")] = Path("data/zjets"),
    file: Annotated[
        list[str] | None,
        typer.Option(help="Pythia21_Zjet_pTZ-200GeV_0.npz ... Herwig_Zjet_pTZ-200GeV_16.npz; repeatable"),
    ] = None,
    base_url: Annotated[str, typer.Option(help="Zenodo, or a mirror of it")] = download.ZENODO,
) -> None:
    """Download published Z+jets files of OmniFold from Zenodo (by default one of Pythia); goes on where it stopped."""
    with _one_line_errors("run the same command again: the download goes on where it stopped"):
        for name in file or [next(iter(ZJETS_FILES))]:
            with _bar(name, DownloadColumn()) as progress:
                path = download.fetch_official(name, folder, base_url, progress, records=ZJETS_FILES)
            out.print(f"{path}: MD5 as published")


@app.command()
def simulate(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="parquet file to write; of jets and showers, .h5")],
    process: Annotated[
        Kind, typer.Option(help="QCD dijets, a resonance A -> B C, Z+jets at both levels, single jets, showers")
    ] = Kind.qcd,
    masses: Annotated[str, typer.Option(help="m_A,m_B,m_C in TeV, for the resonance")] = "3.5,0.5,0.1",
    width: Annotated[float, typer.Option(help="of the resonance: natural width over mass, at most 0.15")] = NARROW,
    events: Annotated[int, typer.Option(help="accepted events; jets of all kinds together; showers")] = 10_000,
    kinds: Annotated[str, typer.Option(help="of jets, separated by commas")] = ",".join(ALL_KINDS),
    tune: Annotated[Tune, typer.Option(help="for Z+jets and jets; vincia is another shower")] = Tune.monash,
    seed: Annotated[int, typer.Option(help="the result depends on it, not on the workers")] = 1,
    workers: Annotated[int | None, typer.Option(help="processes; default: one a core")] = None,
    particles: Annotated[bool, typer.Option("--particles", help="keep the particles too, in OUT.particles.h5")] = False,
    geometry: Annotated[str, typer.Option(help="of showers: built-in, or a binning XML file")] = "ds1_photons",
    particle: Annotated[str, typer.Option(help="of showers: photon, electron, neutral_pion")] = "photon",
    material: Annotated[str | None, typer.Option(help="of showers; default: that of the geometry")] = None,
) -> None:
    """Simulate with Pythia 8, a fast detector and FastJet: LHCO-like dijets, Z+jets for unfolding, or jets of
    seven kinds with their particles (pt 500-700 GeV) for the jet foundation model. About 10-20 ms an event and core,
    60 ms with --tune vincia.

    Or calorimeter showers with GFlash, which is a parametrisation and not Geant4: well below 1 ms each.
    """
    with _one_line_errors("finished shards are kept: run the same command again to go on"):
        if particles and process is Kind.jets:
            raise ToolError("particles", particles, "not for jets, which have them")
        if process is Kind.jets and target.suffix != ".h5":
            raise ToolError("OUT", str(target), "jets are written as HDF5: a name that ends in .h5")
        target.parent.mkdir(parents=True, exist_ok=True)
        if process is Kind.showers:
            wanted_showers = ShowerSimulation(
                geometry=geometry, particle=particle, material=material, showers=events, seed=seed
            )
            with _bar(target.name, MofNCompleteColumn()) as progress:
                facts = simulate_showers(wanted_showers, target, progress)
            out.print(f"{target}: {events} showers, E_dep/E_inc {facts['deposited_over_incident']:.3f}")
            return
        with _bar(target.name, MofNCompleteColumn()) as progress:
            if process is Kind.zjets:
                wanted = ZJetsSimulation(process=ZJets(tune=tune), events=events, seed=seed, particles=particles)
                provenance = simulate_zjets(wanted, target, workers, progress)
            elif process is Kind.jets:
                jets = JetSimulation(kinds=jet_kinds(kinds), tune=tune, events=events, seed=seed)
                provenance = simulate_jets(jets, target, workers, progress)
            else:
                resonance = _masses(masses) if process is Kind.resonance else None
                simulation = Simulation(
                    process=Process(masses=resonance, width=width), events=events, seed=seed, particles=particles
                )
                provenance = run_simulation(simulation, target, workers, progress)
        out.print(f"{target}: {events} events, acceptance {provenance['acceptance']:.3f}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="any official layout: HDF5, ROOT, npy, npz or parquet")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="parquet file to write, or .h5 for jets")],
    max_particles: Annotated[int, typer.Option(help="of jets, the hardest")] = MAX_KEPT,
) -> None:
    """Convert to our parquet table. Truth labels go to OUT.labels.parquet, never into the events.

    To .h5: jets with their particles and kinds, in OmniLearned's layout, from JetClass, top tagging or LHCO particles.
    """
    with _one_line_errors("nothing was written"):
        if target.exists():
            raise ToolError("OUT", str(target), "exists; remove it or choose another name")
        if target.suffix == ".h5":
            jets = read_any_jets(source, max_particles)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_jets(target, jets)
            out.print(f"{target}: {counted(jets)}")
            return
        with _bar(source.name, MofNCompleteColumn()) as progress:
            columns, is_signal = _read(source, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_signal is not None:
            write_events(labels_path(target), {"is_signal": is_signal.astype(np.float32)})
        write_events(target, columns)
        labels = "no labels" if is_signal is None else f"labels in {labels_path(target)}"
        out.print(f"{target}: {_rows(columns)} events, {labels}")


@app.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="IN", help="file of jets, any layout that `convert` knows")],
    rest: Annotated[Path, typer.Argument(metavar="REST", help=".h5 file to write")],
    held: Annotated[Path, typer.Argument(metavar="HELD", help=".h5 file to write, of the jets that are held out")],
    fraction: Annotated[float, typer.Option(min=0, max=1, help="of the jets, held out")] = 0.1,
    seed: Annotated[int, typer.Option(help="which jets")] = 1,
) -> None:
    """Deal the jets of a file out at random to two files, to train on one and to judge on the other."""
    with _one_line_errors("nothing was written"):
        for name, target in (("REST", rest), ("HELD", held)):
            if target.exists() or target.suffix != ".h5":
                raise ToolError(name, str(target), "a new file that ends in .h5")
        jets = read_any_jets(source, MAX_KEPT)
        order = np.random.default_rng(seed).permutation(len(jets))
        n_held = round(fraction * len(jets))
        if not 0 < n_held < len(jets):
            raise ToolError("fraction", fraction, f"some jets for each file; this holds out {n_held} of {len(jets)}")
        for target, rows in ((rest, order[n_held:]), (held, order[:n_held])):
            write_jets(target, jets.take(rows))
            out.print(f"{target}: {counted(jets.take(rows))}")


@app.command()
def info(source: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Rows, columns, ranges, units and whether there are labels (not how many of each kind: that is truth)."""
    with _one_line_errors("stopped"):
        if holds_jets(source):
            print_jets(source, INFO_EVENTS, out)
            return
        if n_voxels := showers_voxels(source):
            print_showers(source, n_voxels, INFO_EVENTS, out)
            return
        with _bar(source.name, MofNCompleteColumn()) as progress:
            columns, is_signal = _read(source, progress, limit=INFO_EVENTS)
            of = particle_rows(source)
        apart = labels_path(source)
        labels = "yes" if is_signal is not None else f"in {apart}" if apart.exists() else "no"
        table = Table(
            "column",
            "unit",
            "minimum",
            "median",
            "maximum",
        )
        for name, column in columns.items():
            values = column[column != NOT_PASSED]
            unit = "TeV" if name.startswith(("mj", "delta_m")) else "GeV" if name.endswith("_mass") else ""
            table.add_row(name, unit, *(f"{f(values):.4g}" for f in (np.min, np.median, np.max)))
        out.print(table)
        if of is not None and of > INFO_EVENTS:
            out.print(f"{of} events of particles; ranges are those of the first {INFO_EVENTS}, clustered")
        out.print(f"{source}: rows {_rows(columns)}, columns {len(columns)}, labels: {labels}")


def _read(
    source: Path, progress: Callable[[int, int], None], limit: int | None = None
) -> tuple[dict[str, NDArray[np.float64]], Labels | None]:
    """The table of an event file of either kind, and its labels where it has any: Z+jets have none."""
    if source.suffix == ".npz":
        return read_zjets(source), None
    if source.suffix == ".parquet" and set(ZJETS) <= set(columns := read_columns(source)):
        return columns, None
    return read_events(source, progress, limit)


def _rows(columns: dict[str, NDArray[np.float64]]) -> int:
    return len(next(iter(columns.values())))


def labels_path(events: Path) -> Path:
    """Where the truth of an event file goes."""
    return events.with_name(events.name + ".labels.parquet")


def _masses(text: str) -> tuple[float, float, float]:
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError:
        raise ToolError("masses", text, "three numbers in TeV, as in 3.5,0.5,0.1") from None
    return a, b, c


@contextmanager
def _bar(title: str, count: DownloadColumn | MofNCompleteColumn) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def _one_line_errors(after_interrupt: str) -> Iterator[None]:
    """What the user can mend is one line and exit code 2; Ctrl-C says what happens next, exit code 130."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        _fail(f"{where}={first['input']!r}: {first['msg']}" if where else first["msg"])
    except (ToolError, OSError, BrokenProcessPool) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        err.print(f"interrupted; {after_interrupt}")
        raise typer.Exit(130) from None


def _fail(message: str) -> None:
    err.print(f"error: {' '.join(message.split())}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)

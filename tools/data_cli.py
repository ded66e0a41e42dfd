"""`beamcrew data`: get, simulate, convert and describe event files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import DownloadColumn, MofNCompleteColumn
from rich.table import Table

from tools import data_simulate
from tools.contract import ToolError
from tools.data_console import bar, one_line_errors, out, shown, tell
from tools.data_jets import counted, holds_jets, print_jets
from tools.data_showers import holds_showers, print_showers, showers_voxels
from tools.events import download
from tools.events.copies import originals, said, same_rows
from tools.events.energyflow import ZJETS_FILES, read_zjets
from tools.events.jets_read import read_any_jets
from tools.events.jets_simulate import MAX_KEPT
from tools.events.lhco import Labels, particle_rows, read_events
from tools.events.names import split_labels
from tools.events.parquet import read_columns, write_events
from tools.events.zjets import COLUMNS as ZJETS
from tools.events.zjets import NOT_PASSED
from tools.files import new_file
from tools.jet_model.jets_file import write_jets

app = typer.Typer(help="Event files: download, simulate, convert, describe.", no_args_is_help=True)
app.add_typer(data_simulate.app, name="simulate")
Force = Annotated[bool, typer.Option("--force", help="replace existing files; never the input or a part of a run")]
INFO_EVENTS = 2000  # of a file that has to be clustered first


@app.command()
def lhco(
    folder: Annotated[Path, typer.Option("--out", help="where the files go")] = Path("data/lhco"),
    file: Annotated[
        list[str] | None, typer.Option(help=f"one of {', '.join(download.LHCO_FILES)}; may be repeated")
    ] = None,
    base_url: Annotated[str, typer.Option(help="Zenodo, or a mirror of it")] = download.ZENODO,
) -> None:
    """Download official LHC Olympics files from Zenodo (by default the 74 MB of R&D jets); goes on where it stopped."""
    with one_line_errors("run the same command again: the download goes on where it stopped"):
        for name in file or [next(iter(download.LHCO_FILES))]:
            with bar(name, DownloadColumn()) as progress:
                path = download.fetch_official(name, folder, base_url, progress)
            tell(f"{path}: MD5 as published")


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
    with one_line_errors("run the same command again: the download goes on where it stopped"):
        for name in file or [next(iter(ZJETS_FILES))]:
            with bar(name, DownloadColumn()) as progress:
                path = download.fetch_official(name, folder, base_url, progress, records=ZJETS_FILES)
            tell(f"{path}: MD5 as published")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="any official layout: HDF5, ROOT, npy, npz or parquet")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="parquet file to write, or .h5 for jets")],
    max_particles: Annotated[int, typer.Option(help="keep at most so many particles of a jet, the hardest")] = MAX_KEPT,
    force: Force = False,
) -> None:
    """Convert to our parquet table. Truth labels go to OUT.labels.parquet, never into the events.

    To .h5: jets with their particles and kinds, in OmniLearned's layout, from JetClass, top tagging, AspenOpenJets or
    LHCO particles.
    """
    with one_line_errors("nothing was written"):
        apart = labels_path(target)
        new_file("OUT", target, (".parquet", ".h5"), [source], force)
        new_file("OUT", apart, (".parquet",), [source], force)
        if source.is_file() and holds_showers(source):
            raise ToolError("IN", str(source), "a file of events or jets; showers are used as they are, not converted")
        if target.suffix == ".h5":
            jets = read_any_jets(source, max_particles)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_jets(target, jets)
            tell(f"{target}: {counted(jets)}")
            return
        if holds_jets(source):
            raise ToolError(
                "OUT", str(target), "jets are written as HDF5, with their particles: a name that ends in .h5"
            )
        with bar(source.name, MofNCompleteColumn()) as progress:
            columns, is_signal = _read(source, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_signal is not None:
            write_events(apart, {"is_signal": is_signal.astype(np.float32)})
        else:
            apart.unlink(missing_ok=True)  # of the file that is replaced
        write_events(target, columns)
        labels = "no labels" if is_signal is None else f"labels in {apart}"
        tell(f"{target}: {_rows(columns)} events, {labels}")
        if text := said(originals(columns)):
            tell(f"{target}: {text}")


@app.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="IN", help="file of jets, any layout that `convert` knows")],
    rest: Annotated[Path, typer.Argument(metavar="REST", help=".h5 file to write")],
    held: Annotated[Path, typer.Argument(metavar="HELD", help=".h5 file to write, of the jets that are held out")],
    fraction: Annotated[float, typer.Option(min=0, max=1, help="share of the jets that is held out")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="same seed, same jets held out")] = 1,
    force: Force = False,
) -> None:
    """Deal the jets of a file out at random to two files, to train on one and to judge on the other."""
    with one_line_errors("nothing was written"):
        for name, target in (("REST", rest), ("HELD", held)):
            new_file(name, target, (".h5",), [source], force)
        if rest.resolve() == held.resolve():
            raise ToolError("HELD", str(held), "a file other than REST")
        jets = read_any_jets(source, MAX_KEPT)
        order = np.random.default_rng(seed).permutation(len(jets))
        n_held = round(fraction * len(jets))
        if not 0 < n_held < len(jets):
            raise ToolError("fraction", fraction, f"some jets for each file; this holds out {n_held} of {len(jets)}")
        original = same_rows(jets.particles)
        is_held = np.isin(np.arange(len(jets)), order[:n_held])[original]  # copies of a jet stay together
        is_held = is_held[order]
        if text := said(original, "jets"):
            tell(f"{source}: {text}; they stay together")
        for target, rows in ((rest, order[~is_held]), (held, order[is_held])):
            write_jets(target, jets.take(rows))
            tell(f"{target}: {counted(jets.take(rows))}")


@app.command()
def info(source: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Rows, columns, ranges, units and whether there are labels (not how many of each kind: that is truth)."""
    with one_line_errors("stopped"):
        if holds_jets(source):
            print_jets(source, INFO_EVENTS, out)
            return
        if n_voxels := showers_voxels(source):
            print_showers(source, n_voxels, INFO_EVENTS, out)
            return
        with bar(source.name, MofNCompleteColumn()) as progress:
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
            table.add_row(
                shown(name), unit, *(f"{f(values):.4g}" if len(values) else "-" for f in (np.min, np.median, np.max))
            )
        out.print(table)
        if of is not None and of > INFO_EVENTS:
            tell(f"{of} events of particles; ranges are those of the first {INFO_EVENTS}, clustered")
        tell(f"{source}: rows {_rows(columns)}, columns {len(columns)}, labels: {labels}")
        if text := said(originals(columns)):
            tell(f"{source}: {text}")


def _read(
    source: Path, progress: Callable[[int, int], None], limit: int | None = None
) -> tuple[dict[str, NDArray[np.float64]], Labels | None]:
    """The table of an event file of either kind, and its labels where it has any: Z+jets have none."""
    if source.suffix == ".npz":
        return read_zjets(source), None
    if source.suffix == ".parquet" and set(ZJETS) <= set(columns := read_columns(source)):
        return split_labels(columns, source)
    return read_events(source, progress, limit)


def _rows(columns: dict[str, NDArray[np.float64]]) -> int:
    return len(next(iter(columns.values())))


def labels_path(events: Path) -> Path:
    """Where the truth of an event file goes."""
    return events.with_name(events.name + ".labels.parquet")

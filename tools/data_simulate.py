"""`beamcrew data simulate`: events, jets and showers, a command for each process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn

from tools.calorimeter.simulate import SUFFIXES, ShowerSimulation, simulate_showers
from tools.contract import ToolError
from tools.data_console import bar, one_line_errors, tell
from tools.events.jets_kinds import ALL_KINDS, JetKind
from tools.events.jets_simulate import JetSimulation, simulate_jets
from tools.events.pythia import NARROW, Process
from tools.events.shards import Sharded
from tools.events.simulate import Simulation, simulate
from tools.events.zjets import Tune, ZJets, ZJetsSimulation, simulate_zjets
from tools.files import new_file

app = typer.Typer(help="Simulate events, jets or showers.", no_args_is_help=True)
GO_ON = "finished shards are kept: run the same command again to go on"

Parquet = Annotated[Path, typer.Argument(metavar="OUT", help="parquet file to write")]
Events = Annotated[int, typer.Option(help="number of accepted events")]
Seed = Annotated[int, typer.Option(help="same seed, same result, whatever the number of workers")]
Workers = Annotated[int | None, typer.Option(help="number of processes; default: one per core")]
Particles = Annotated[bool, typer.Option("--particles", help="keep the particles too, in OUT.particles.h5")]
TuneOption = Annotated[Tune, typer.Option("--tune", help="tune of Pythia; vincia is another shower")]


@app.command()
def qcd(
    target: Parquet,
    events: Events = 10_000,
    seed: Seed = 1,
    workers: Workers = None,
    particles: Particles = False,
) -> None:
    """Simulate QCD dijets as in the LHC Olympics: Pythia 8, a fast detector, FastJet. About 15 ms an event and core."""
    with one_line_errors(GO_ON):
        _write(simulate, Simulation(events=events, seed=seed, particles=particles), target, workers)


@app.command()
def resonance(
    target: Parquet,
    masses: Annotated[str, typer.Option(metavar="A,B,C", help="masses of A, B and C in TeV")] = "3.5,0.5,0.1",
    width: Annotated[float, typer.Option(help="natural width over mass, at most 0.15")] = NARROW,
    events: Events = 10_000,
    seed: Seed = 1,
    workers: Workers = None,
    particles: Particles = False,
) -> None:
    """Simulate a resonance A -> B C, with B and C decaying to quarks, as `qcd` does. About 6 ms an event and core."""
    with one_line_errors(GO_ON):
        process = Process(masses=_masses(masses), width=width)
        _write(simulate, Simulation(process=process, events=events, seed=seed, particles=particles), target, workers)


@app.command()
def zjets(
    target: Parquet,
    tune: TuneOption = Tune.monash,
    events: Events = 10_000,
    seed: Seed = 1,
    workers: Workers = None,
    particles: Particles = False,
) -> None:
    """Simulate Z+jets for unfolding, at particle and detector level: 10-20 ms an event and core, 60 with vincia."""
    with one_line_errors(GO_ON):
        simulation = ZJetsSimulation(process=ZJets(tune=tune), events=events, seed=seed, particles=particles)
        _write(simulate_zjets, simulation, target, workers)


@app.command()
def jets(
    target: Annotated[Path, typer.Argument(metavar="OUT", help=".h5 file to write")],
    kinds: Annotated[str, typer.Option(help="kinds of jets, separated by commas")] = ",".join(ALL_KINDS),
    tune: TuneOption = Tune.monash,
    events: Annotated[int, typer.Option(help="number of jets, all kinds together")] = 10_000,
    seed: Seed = 1,
    workers: Workers = None,
) -> None:
    """Simulate single jets with their particles for the jet foundation model: pt 500-700 GeV, as many of each kind.

    10-20 ms a jet and core, 60 ms with --tune vincia.
    """
    with one_line_errors(GO_ON):
        simulation = JetSimulation(kinds=_kinds(kinds), tune=tune, events=events, seed=seed)
        _write(simulate_jets, simulation, target, workers)


@app.command()
def showers(
    target: Annotated[Path, typer.Argument(metavar="OUT", help=".h5 or .safetensors file to write")],
    geometry: Annotated[str, typer.Option(help="built-in geometry, or a binning XML file")] = "ds1_photons",
    particle: Annotated[str, typer.Option(help="photon, electron or neutral_pion")] = "photon",
    material: Annotated[
        str | None, typer.Option(help="material of the calorimeter; default: that of the geometry")
    ] = None,
    events: Annotated[int, typer.Option(help="number of showers")] = 10_000,
    seed: Annotated[int, typer.Option(help="same seed, same result")] = 1,
) -> None:
    """Simulate calorimeter showers with GFlash, a parametrisation and not Geant4. Well below 1 ms a shower."""
    with one_line_errors("nothing was written"):
        simulation = ShowerSimulation(
            geometry=geometry, particle=particle, material=material, showers=events, seed=seed
        )
        new_file("OUT", target, SUFFIXES)
        new_file("OUT", target.with_name(target.name + ".provenance.json"), (".json",))
        target.parent.mkdir(parents=True, exist_ok=True)
        with bar(target.name, MofNCompleteColumn()) as progress:
            facts = simulate_showers(simulation, target, progress)
        tell(f"{target}: {events} showers, E_dep/E_inc {facts['deposited_over_incident']:.3f}")


def _write(make: Callable[..., dict[str, Any]], simulation: Sharded, target: Path, workers: int | None) -> None:
    """Make a sample in shards over many processes, and say how much of what Pythia made was accepted."""
    new_file("OUT", target, (".h5",) if isinstance(simulation, JetSimulation) else (".parquet",))
    if not target.with_name(target.name + ".shards").exists():  # else it goes on with what it has written
        for beside in (".provenance.json", ".particles.h5"):
            new_file("OUT", target.with_name(target.name + beside), (".json", ".h5"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with bar(target.name, MofNCompleteColumn()) as progress:
        provenance = make(simulation, target, workers, progress)
    tell(f"{target}: {simulation.events} events, acceptance {provenance['acceptance']:.3f}")


def _masses(text: str) -> tuple[float, float, float]:
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError:
        raise ToolError("masses", text, "three numbers in TeV, as in 3.5,0.5,0.1") from None
    return a, b, c


def _kinds(text: str) -> tuple[JetKind, ...]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ALL_KINDS]:
        raise ToolError("kinds", unknown, f"select from {', '.join(ALL_KINDS)}")
    return tuple(JetKind(name) for name in names)

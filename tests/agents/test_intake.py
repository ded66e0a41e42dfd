"""From a request and a file to a card: by rules that say what they do not understand, and by a checked model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripted import Scripted
from typer.testing import CliRunner

from agents.backends.base import Message, Reply, Request, Usage
from agents.cli.main import app
from agents.crew.budget import Budget
from agents.intake.card import Card
from agents.intake.model import by_model
from agents.intake.rules import NotUnderstood, by_rules
from agents.runs.run import Settings, start
from agents.trace.events import RunStarted
from agents.trace.store import read_trace
from agents.trace.words import markdown
from tools.events.sight import look


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as people have them."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(1)
    mass = np.concatenate([5 + rng.exponential(4, 3000), rng.normal(9.46, 0.1, 300)])
    charge = rng.choice(["OS", "SS"], len(mass))
    table = pd.DataFrame({"mass": mass, "charge": charge, "pt": rng.exponential(20, len(mass))})
    table.to_csv(folder / "muons.csv", index=False)
    table.assign(mass=1000 * mass).to_csv(folder / "mev.csv", index=False)
    table.assign(genWeight=1.0).to_parquet(folder / "weighted.parquet")
    table.assign(m_vis=mass, is_signal=1, detailed_labels="ztautau").to_parquet(folder / "two.parquet")
    table.assign(mass_jes_up=1.01 * mass, mass_jes_down=0.99 * mass).to_csv(folder / "varied.csv", index=False)
    table[["pt", "charge"]].to_csv(folder / "nomass.csv", index=False)
    (folder / "zjets").mkdir()
    levels = pd.DataFrame(
        {f"{x}_{level}": mass for x in ("jet_mass", "jet_width", "pt_z") for level in ("det", "true")}
    )
    for name in ("simulation", "alternative"):
        levels.assign(w_pdf=1.0, w_fsr_up=1.1, jet_mass_det_jes_up=mass).to_parquet(
            folder / "zjets" / f"{name}.parquet"
        )
    levels[[f"{x}_det" for x in ("jet_mass", "jet_width", "pt_z")]].to_csv(folder / "zjets" / "nature.csv", index=False)
    (folder / "region").mkdir()
    np.save(folder / "region" / "innerdata_train.npy", np.zeros((3, 6)))
    (folder / "jets").mkdir()
    (folder / "jets" / "jets.h5").write_bytes(b"")
    (folder / "rnd").mkdir()
    (folder / "rnd" / "events_anomalydetection_v2.features.h5").write_bytes(b"")
    return folder


UPSILON = {"column": "mass", "unit": "GeV", "search_range": [8.0, 12.0]}
SIGNS = {"OS": "charge == 'OS'", "SS": "charge == 'SS'"}
MEAN_PT = {"column": "pt", "unit": "GeV", "groups": SIGNS}
PT_20 = {"pt > 20": "pt > 20", "not pt > 20": "not (pt > 20)"}
LOG_MASS = {"column": "mass", "unit": "GeV", "log": True}
RULE, THREE, VARIED = {"reco": "{name}_det", "gen": "{name}_true"}, ["jet_mass", "jet_width", "pt_z"], ("nuisances",)
# (data, request, task or None, options, what is asked)
UNDERSTOOD: list[tuple[str, str, str | None, dict[str, Any], Sequence[str]]] = [
    (
        "muons.csv",
        "Which resonances are there between 8 and 12 GeV, and how many events has each?",
        "spectrum",
        UPSILON,
        (),
    ),
    ("muons.csv", "Resonances from 8 to 12 GeV?", "spectrum", UPSILON, ()),
    ("muons.csv", "peaks 8-12 gev", "spectrum", UPSILON, ()),
    (
        "muons.csv",
        "Welche Resonanzen gibt es zwischen 8 und 12 GeV, und wie viele Ereignisse hat jede?",
        "spectrum",
        UPSILON,
        (),
    ),
    ("muons.csv", "Quelles résonances y a-t-il entre 8 et 12 GeV ?", "spectrum", UPSILON, ()),
    ("muons.csv", "¿Qué resonancias hay entre 8 y 12 GeV?", "spectrum", UPSILON, ()),
    ("muons.csv", "Quali risonanze ci sono? resonance GeV", "spectrum", {"column": "mass", "unit": "GeV"}, ()),
    ("muons.csv", "Any bumps in mass? It is in GeV.", "spectrum", {"column": "mass", "unit": "GeV"}, ()),
    ("varied.csv", "Any bumps? It is in GeV.", "spectrum", {"column": "mass", "unit": "GeV"}, ()),
    ("muons.csv", "Any bumps?", "spectrum", {"column": "mass"}, ("unit",)),
    ("muons.csv", "Is there a peak in pt (GeV)?", "spectrum", {"column": "pt", "unit": "GeV"}, ()),
    ("muons.csv", "Peaks between 8 and 12 TeV?", "spectrum", UPSILON | {"unit": "TeV"}, ()),
    ("muons.csv", "Peaks between 8000 and 12000 MeV?", "spectrum", {"unit": "MeV"}, ("search_range",)),
    ("mev.csv", "Resonances between 8 and 12 GeV?", "spectrum", {"unit": "GeV"}, ("search_range",)),
    ("mev.csv", "Resonances between 8000 and 12000 MeV?", "spectrum", {"search_range": [8000.0, 12000.0]}, ()),
    ("weighted.parquet", "Resonances (GeV)?", "spectrum", {"column": "mass"}, ("unweighted",)),
    ("two.parquet", "Resonances (GeV)?", "spectrum", {"unit": "GeV"}, ("column",)),
    ("two.parquet", "Resonances in m_vis (GeV)?", "spectrum", {"column": "m_vis"}, ()),
    ("nomass.csv", "Which resonances are there, in GeV?", "spectrum", {"unit": "GeV"}, ("column",)),
    (
        "zjets",
        "Unfold pT(Z) and the leading jet's width; nuisances are the w_* columns.",
        "unfolding",
        RULE | {"observables": ["pt_z", "jet_width"], "nuisances": ["w_*"]},
        (),
    ),
    ("zjets", "Unfold pT(Z) and the leading jet's width.", "unfolding", {"observables": ["pt_z", "jet_width"]}, VARIED),
    ("zjets", "Bitte die Jetmasse entfalten, ohne Nuisances.", "unfolding", RULE | {"observables": ["jet_mass"]}, ()),
    ("zjets", "Correct the jet mass for detector effects", "unfolding", {"observables": ["jet_mass"]}, VARIED),
    (
        "zjets",
        "Unfold the jet mass in GeV with systematics w_pdf and jes_up",
        "unfolding",
        {"observables": ["jet_mass"], "units": {"jet_mass": "GeV"}, "nuisances": ["w_pdf", "jes_up"]},
        (),
    ),
    ("zjets", "Unfold all observables. No systematics.", "unfolding", {"observables": THREE}, ()),
    ("zjets", "Unfold the jet charge. No systematics.", "unfolding", RULE, ("observables",)),
    ("zjets", "Unfold the jet. No systematics.", "unfolding", {"observables": THREE}, ()),
    ("zjets", "Unfold jet_mass; systematic variations: b_tagging", "unfolding", {}, VARIED),
    ("region", "Is there anything new in here?", "lhco-sr", {}, ()),
    ("region", "Is there a resonance in this signal region?", "lhco-sr", {}, ()),
    ("rnd", "Find the new particle in these dijet events", "lhco-rnd", {}, ()),
    ("jets", "How well can top jets be told from QCD with 500 labels?", "tagging", {}, ()),
    ("jets", "Tag top jets with few labels. What is lost with another parton shower?", "tagging", {}, ("other",)),
    ("jets", "Tag top jets, and test them on mine/herwig7.h5.", "tagging", {"other": "mine/herwig7.h5"}, ()),
    ("", "Tag top jets. Does the tagger hold on another generator?", "tagging", {}, ("other",)),
    ("", "Unfold the jet mass of my Z+jets events", "unfolding", {}, ()),
    ("", "Is there a new resonance in these dijet events?", "lhco-demo", {}, ()),
    ("", "Gibt es ein neues Teilchen?", "lhco-demo", {}, ()),
    ("", "Tag top jets using as few labels as you can.", "tagging", {}, ()),
    ("", "Train a fast simulation of photon showers for this calorimeter", "showers", {}, ()),
    ("", "Wie gut ist die Simulation von Schauern im Kalorimeter?", "showers", {}, ()),
    ("muons.csv", "Search between 8 and 12 GeV, blinded", "spectrum", {"blind": [8.0, 12.0], "unit": "GeV"}, ()),
    (
        "muons.csv",
        "Are there resonances between 7 and 15 GeV? Do not look at 9-10.",
        "spectrum",
        {"blind": [9.0, 10.0], "search_range": [7.0, 15.0]},
        (),
    ),
    ("muons.csv", "Find resonances, blinded (GeV)", "spectrum", {"column": "mass"}, ("blind",)),
    ("muons.csv", "Resonances in GeV, blind from 900 to 950 GeV?", "spectrum", {"unit": "GeV"}, ("blind",)),
    ("muons.csv", "Upper limits on a resonance in GeV", "spectrum", {"limits": True}, ("width",)),
    (
        "muons.csv",
        "Resonances 1.1% wide in GeV: what would you have seen?",
        "spectrum",
        {"limits": True, "injections": 20, "width": 0.011},
        (),
    ),
    ("muons.csv", "How sensitive is a search from 8 to 12 GeV?", "spectrum", {"injections": 20}, ("width",)),
    ("weighted.parquet", "Resonances (GeV), with the weights?", "spectrum", {"weights": "genWeight"}, ()),
    ("muons.csv", "How many events have pt > 20 (GeV)?", "open", {"column": "pt", "groups": PT_20}, ()),
    ("muons.csv", "How many events have pt > 20?", "open", {"column": "pt", "groups": PT_20}, ("unit",)),
    ("muons.csv", "How many pairs have pt above 20 GeV?", "open", {"groups": PT_20, "unit": "GeV"}, ()),
    ("muons.csv", "Wie viele Ereignisse haben pt über 20 GeV?", "open", {"groups": PT_20}, ()),
    ("muons.csv", "How many events have mass between 8 and 12 GeV?", "open", {"column": "mass"}, ()),
    ("muons.csv", "Count the events with pt < 5 GeV", "open", {"column": "pt"}, ()),
    ("muons.csv", "What fraction of the events has pt of at least 20 GeV?", "open", {"column": "pt"}, ()),
    ("muons.csv", "How many OS and SS pairs are there in mass (GeV)?", "open", {"groups": SIGNS}, ()),
    ("muons.csv", "How many OS and SS pairs have pt > 20 GeV?", "open", {"groups": SIGNS, "cut": "pt > 20"}, ()),
    ("muons.csv", "Number of events by charge, OS against SS, in pt (GeV)", "open", {"groups": SIGNS}, ()),
    ("muons.csv", "What is the mean mass for pt > 20, in GeV?", "open", {"groups": PT_20}, ()),
    ("muons.csv", "How many events has the peak between 9 and 10 GeV?", "spectrum", {"unit": "GeV"}, ()),
    ("muons.csv", "How many events are above the threshold?", None, {}, ()),  # which threshold?
    ("", "What is the weather in Geneva?", None, {}, ()),
    ("", "Write me a poem", None, {}, ()),
    ("", "", None, {}, ()),
    ("", "Unfold the showers", None, {}, ()),  # two tasks, one word each
    (
        "muons.csv",
        "Compare the dimuon mass in barrel and endcap; is the scale shifted?",
        "open",
        {"column": "mass"},
        ("unit", "groups"),
    ),
    ("muons.csv", "What is the mean pT (GeV) of same-sign and opposite-sign pairs?", "open", MEAN_PT, ()),
    ("muons.csv", "Vergleiche die Verteilung von pt in GeV für OS und SS", "open", MEAN_PT, ()),
    ("muons.csv", "Plot the mass spectrum of the muon pairs in log scale, in GeV", "open", LOG_MASS, ()),
    ("muons.csv", "Plot the mass spectrum", "open", {"column": "mass"}, ("unit",)),
    ("muons.csv", "Describe each column", "open", {}, ()),
    ("muons.csv", "What is the mean temperature?", "open", {}, ("column", "unit")),
    ("two.parquet", "What is the average of m_vis, in GeV?", "open", {"column": "m_vis"}, ()),
    ("two.parquet", "Compare the mass of OS and SS pairs (GeV)", "open", {"groups": SIGNS}, ()),
    ("weighted.parquet", "Draw a histogram of pt in GeV", "open", {"column": "pt"}, ()),
    ("muons.csv", "What is the weather in Geneva?", None, {}, ()),
    ("muons.csv", "Write me a poem", None, {}, ()),
    ("muons.csv", "Plot the mass and fit a Gaussian", None, {}, ()),  # more than rules can do
    ("muons.csv", "Compare the bumps", None, {}, ()),  # two tasks, one word each
    ("zjets", "Compare the jet mass", None, {}, ()),  # no table
    ("", "Compare barrel and endcap", None, {}, ()),  # nothing to compare
    ("muons.csv", "Unfold this", None, {}, ()),  # the data do not go with it
    ("zjets", "Find resonances", None, {}, ()),
    ("region", "Tag top jets", None, {}, ()),
]


@pytest.mark.parametrize(("data", "request_", "task", "options", "asked"), UNDERSTOOD, ids=lambda v: str(v)[:40])
def test_a_request_becomes_a_card_or_it_is_said_why_not(
    data: str, request_: str, task: str | None, options: dict[str, Any], asked: Sequence[str], files: Path
) -> None:
    sight = look(files / data) if data else None
    if task is None:
        with pytest.raises(NotUnderstood, match="--task"):
            by_rules(request_, sight)
        return
    card = by_rules(request_, sight)
    assert card.task == task
    assert card.options.items() >= options.items()
    assert [question.about for question in card.questions] == list(asked)
    assert card == Card.of(card.text())


def test_truth_is_named_but_its_values_are_not_shown(files: Path) -> None:
    sight = look(files / "two.parquet")
    for name in ("is_signal", "detailed_labels"):
        column = sight.column(name)
        assert column is not None
        assert column.model_dump(exclude={"name", "not_finite"}) == {
            "kind": "label",
            "low": None,
            "high": None,
            "values": [],
        }
    assert "ztautau" not in sight.model_dump_json()
    assert any("detailed_labels" in remark for remark in by_rules("Resonances in m_vis (GeV)?", sight).remarks)


class Model:
    """A backend whose replies are given."""

    name, is_llm = "model", True

    def __init__(self, *replies: dict[str, Any] | str) -> None:
        self._replies = list(replies)
        self.requests: list[Request] = []

    def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self._replies.pop(0)
        text = reply if isinstance(reply, str) else json.dumps(reply)
        message = Message(role="assistant", content=text)
        return Reply(message=message, model="model", usage=Usage(prompt_tokens=100, completion_tokens=20, dollars=0.5))


def test_a_model_fills_the_card_and_sees_no_truth(files: Path) -> None:
    options = {"column": "m_vis", "unit": "GeV", "cut": "charge == 'OS'"}
    model = Model({"task": "spectrum", "options": options, "questions": [], "remarks": ["opposite charges only"]})
    card = by_model("Any narrow states of opposite charge in m_vis?", look(files / "two.parquet"), model)
    assert (card.task, card.options, card.data) == ("spectrum", options, str(files / "two.parquet"))
    sent = model.requests[0].model_dump_json()
    assert "is_signal" in sent
    assert "ztautau" not in sent


def test_a_card_that_the_task_does_not_take_goes_back_once(files: Path) -> None:
    wrong = {"task": "spectrum", "options": {"colour": "blue"}, "questions": [], "remarks": []}
    right = {"task": "spectrum", "options": {"column": "mass", "unit": "GeV"}, "questions": [], "remarks": []}
    model = Model(wrong, "```json\n" + json.dumps(right) + "\n```")
    card = by_model("peaks", look(files / "muons.csv"), model)
    assert card.options == right["options"]
    assert card.usage == {"prompt_tokens": 200, "completion_tokens": 40, "dollars": 1.0}  # both replies
    assert card.model_calls == 2
    assert "colour" in model.requests[1].messages[-1].content
    with pytest.raises(NotUnderstood, match="colour"):
        by_model("peaks", look(files / "muons.csv"), Model(wrong, wrong))


def test_a_model_may_find_no_task(files: Path) -> None:
    none = {"task": "none", "options": {}, "questions": [], "remarks": ["no task writes poems"]}
    with pytest.raises(NotUnderstood, match="poems"):
        by_model("Write me a poem", look(files / "muons.csv"), Model(none))


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["run", "--backend", "analyst", "--sandbox", "bubblewrap", *words])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_terminal_questions_end_the_command_and_nothing_is_written(files: Path, here: Path) -> None:
    result = call("--data", str(files / "muons.csv"), "--yes", "Any bumps?")
    assert result.exit_code == 2
    assert "In which unit is the mass" in result.stderr
    assert not Path("runs").exists()
    unaccepted = call("--data", str(files / "muons.csv"), "Any bumps in GeV?")
    assert unaccepted.exit_code == 2
    assert "--yes" in unaccepted.stderr
    assert not Path("runs").exists()


def test_an_answered_card_is_carried_out_and_kept(files: Path, here: Path) -> None:
    words = ("--data", str(files / "muons.csv"), "--yes", "--set", "unit=GeV", "--set", "width=0.011", "Any bumps?")
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    (run,) = Path("runs").iterdir()
    card = Card.read(run / "card.yaml")
    assert (card.task, card.options["unit"], card.questions) == ("spectrum", "GeV", [])
    started = read_trace(run)[0]
    assert isinstance(started, RunStarted)
    assert started.card == card.document()
    report = (run / "report.md").read_text()
    assert card.remarks
    assert all(markdown(remark) in report for remark in card.remarks)
    assert json.loads((run / "result.json").read_text())["options"]["width"] == 0.011


def test_what_the_card_cost_belongs_to_the_run(files: Path, tmp_path: Path) -> None:
    card = {"task": "spectrum", "model_calls": 2, "usage": {"prompt_tokens": 200, "dollars": 1.0}}
    options = {"data": str(files / "muons.csv"), "unit": "GeV"}
    settings = Settings(request="peaks", task="spectrum", options=options, card=card, budget=Budget(dollars=0.5))
    result = start(settings, Scripted({}), tmp_path / "run")
    assert result.status == "budget"
    assert (result.cost.model_calls, result.cost.prompt_tokens, result.cost.dollars) == (2, 200, 1.0)
    assert result.iterations == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: [", "not YAML"),
        ("task: spectrum", "request"),
        ("request: r\ntask: spectrum\ncolour: blue", "colour"),
        ("request: r\ntask: nothing", "nothing"),
        ("request: r\ntask: spectrum\noptions: {unit: eV}", "unit"),
    ],
)
def test_a_card_file_that_does_not_go_is_named(text: str, said: str, here: Path) -> None:
    Path("card.yaml").write_text(text)
    result = call("--card", "card.yaml")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("runs").exists()


def test_data_without_a_request_or_without_a_file_is_one_line(here: Path) -> None:
    assert "request" in call("--data", "nothing.csv").stderr
    missing = call("--data", "nothing.csv", "Any bumps?")
    assert (missing.exit_code, "no such file" in missing.stderr) == (2, True)


def test_a_folder_is_looked_at_by_its_names_and_its_tables(files: Path) -> None:
    sight = look(files / "zjets")
    assert (sight.kind, sight.columns) == ("folder", [])
    assert sight.parts == ["alternative.parquet", "nature.csv", "simulation.parquet"]
    nature = {column.name: column.kind for column in sight.tables["nature.csv"]}
    assert nature == dict.fromkeys(("jet_mass_det", "jet_width_det", "pt_z_det"), "number")
    assert list(sight.tables) == sight.parts
    assert look(files / "rnd").tables == {}

"""What the rules make of a request and the columns of a folder: options, or a question about what cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tasks.catalogue import make_task
from tasks.unfolding.intake import UnfoldingIntake
from tools.events.sight import Column, Sight

NO = "no nuisances"
JES = {"nuisances": ["jes_up", "jes_down"]}
PAIRED = ["reco_pt", "gen_pt", "reco_eta", "gen_eta"]


def folder(simulation: Sequence[str], nature: Sequence[str], alternative: bool = True, weight: float = 2.0) -> Sight:
    """Columns from 0 to 1, weights from 1 to `weight`."""

    def table(names: Sequence[str]) -> list[Column]:
        ends = [(1.0, weight) if "eight" in name else (0.0, 1.0) for name in names]
        return [Column(name=n, kind="number", low=a, high=b) for n, (a, b) in zip(names, ends, strict=True)]

    tables = {"simulation.csv": table(simulation), "nature.csv": table(nature)}
    tables |= {"alternative.csv": table(simulation)} if alternative else {}
    return Sight(path="zjets", kind="folder", parts=list(tables), tables=tables)


@pytest.mark.parametrize(
    ("request_", "extra", "options", "asked"),
    [
        (f"Unfold pt, {NO}", [], {"reco": "reco_{name}", "gen": "gen_{name}", "observables": ["pt"]}, []),
        (f"Unfold eta and pt in GeV, {NO}", [], {"observables": ["eta", "pt"], "units": {"pt": "GeV"}}, []),
        (f"Unfold the data; {NO}", [], {"observables": ["pt", "eta"]}, []),
        (f"Unfold phi, {NO}", [], {}, ["observables"]),
        (f"Unfold pt, {NO}", ["true_pt", "true_eta"], {}, ["gen"]),
        (f"Unfold pt, {NO}", ["genWeight"], {"weights": "genWeight"}, []),
        (f"Unfold pt, {NO}", ["genWeight", "puWeight"], {}, ["weights"]),
        ("Unfold pt", ["w_pdf", "reco_pt_jes_up"], {}, ["nuisances"]),
        ("Unfold pt", ["run"], {}, []),
        ("Unfold pt. Nuisances: jes_up, jes_down.", ["reco_pt_jes_up", "reco_pt_jes_down"], JES, []),
        ("Unfold pt with nuisances w_*", ["w_pdf", "w_isr"], {"nuisances": ["w_*"], "observables": ["pt"]}, []),
        ("Unfold pt; nuisances w_*", ["genWeight", "w_pdf"], {"weights": "genWeight"}, ["nuisance_weights"]),
        ("Unfold pt; nuisances are the weight_* columns", ["weight", "weight_up"], {}, ["nuisance_weights"]),
    ],
)
def test_requests(request_: str, extra: list[str], options: dict[str, Any], asked: list[str]) -> None:
    offer = UnfoldingIntake().offer(request_, folder([*PAIRED, *extra], ["reco_pt", "reco_eta"]))
    assert offer.options.items() >= options.items()
    assert [question.about for question in offer.questions] == asked
    make_task("unfolding", offer.options)


def test_questions_say_what_can_be_answered() -> None:
    text = UnfoldingIntake().offer("Unfold phi", folder(PAIRED, ["reco_pt", "reco_eta"])).questions[0].text
    assert "'Unfold phi'" in text
    assert "pt, eta" in text
    lone = UnfoldingIntake().offer("Unfold pt", folder(["pt", "ptgen"], ["pt"]))
    assert lone.questions[0].about == "observables"
    assert "ptgen" in lone.questions[0].text


def test_columns_of_any_name_get_one_that_results_can_have() -> None:
    odd = folder(["pt(Z) [GeV]_reco", "pt(Z) [GeV]_gen"], ["pt(Z) [GeV]_reco"])
    options = UnfoldingIntake().offer(f"Unfold pT(Z), {NO}", odd).options
    assert options["observables"] == {"pt_Z_GeV": ["pt(Z) [GeV]_reco", "pt(Z) [GeV]_gen"]}
    make_task("unfolding", options)


def test_what_is_missing_is_said() -> None:
    nothing = UnfoldingIntake().offer("Unfold pt", folder(PAIRED, ["reco_pt", "reco_eta"], alternative=False)).remarks
    assert any("no closure test" in remark for remark in nothing)
    assert any("no particle level" in remark for remark in nothing)
    everything = UnfoldingIntake().offer("Unfold pt", folder(PAIRED, PAIRED)).remarks
    assert not any("no closure test" in remark or "no particle level" in remark for remark in everything)


def test_weights_of_one_leave_no_question() -> None:
    sight = folder([*PAIRED, "weight", "w_pdf"], ["reco_pt"], weight=1.0)
    assert UnfoldingIntake().offer("Unfold pt; nuisances are the w_* columns", sight).questions == []

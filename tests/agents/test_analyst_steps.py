"""How the built-in analyst carries out a step: its calls, what it hands in, how it ends."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from test_analyst import FACTS, JETS, REFERENCE, ask, entry, plan

from agents.backends.base import Message
from agents.crew.worker import RunPython
from tasks.lhco.claims import SearchSubmission
from tasks.plan import Step


class Conversation:
    """A step carried out: every call of the analyst is answered from `answers`, in order."""

    def __init__(self, step: Step, done: dict[str, Any] | None = None, facts: dict[str, Any] = FACTS) -> None:
        self.context = {"facts": facts, "step": step.model_dump(mode="json"), "done": done or {}}
        self.messages: list[Message] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def run(self, *answers: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the call to finish that comes after these answers."""
        for answer in [*answers, {}]:
            message = ask("worker", self.context, *self.messages)
            (call,) = message.tool_calls
            self.calls.append((call.name, json.loads(call.arguments)))
            self.messages += [message, Message(role="tool", tool_call_id=call.id, content=json.dumps(answer))]
        name, arguments = self.calls[-1]
        assert name == "finish"
        return arguments


def scanned(z: float, mass: float) -> dict[str, Any]:
    cut = {"efficiency": 0.01, "z": z, "mass": mass, "mass_error": 0.02, "signal": 90.0, "signal_error": 11.0}
    return {"cuts": [cut | {"z": z - 1}, cut], "best": 1}


TEMPLATE = {"result": {"closure_auc": 0.502, "closure_auc_error": 0.003}}
CLASSIFIED = {"result": {"argos": 0.2, "argos_error": 0.1, "template_scores": {"path": "template_scores.parquet"}}}


def test_a_search_makes_its_calls_submits_and_sums_up_in_numbers() -> None:
    search = plan([entry(4.0)]).steps[0]
    talk = Conversation(search)
    end = talk.run(TEMPLATE, CLASSIFIED, {"result": scanned(5.21, 3.512)}, {"submitted": {}})
    assert [name for name, _ in talk.calls[:3]] == [call.tool for call in search.calls]
    assert [arguments for _, arguments in talk.calls[:3]] == [call.arguments for call in search.calls]
    submitted = SearchSubmission.model_validate(talk.calls[3][1])
    assert list(submitted.window) == search.calls[0].arguments["window"]
    assert submitted.reference_scores is None
    for number in ("0.502", "0.200", "5.21", "3.512"):
        assert number in end["summary"]


def test_a_score_that_does_not_close_is_said_so() -> None:
    search = plan([entry(4.0)]).steps[0]
    template, classify = search.calls[0].arguments, search.calls[1].arguments
    assert classify["control"] == template["out"].replace(".parquet", "_control.parquet")
    warned = {"result": {**CLASSIFIED["result"], "warning": "the score does not close"}}
    end = Conversation(search).run(TEMPLATE, warned, {"result": scanned(5.2, 3.5)}, {"submitted": {}})
    assert "warning: the score does not close" in end["summary"]


def test_a_search_against_a_reference_hands_in_its_scores_too() -> None:
    talk = Conversation(plan([], REFERENCE).steps[0], facts=REFERENCE)
    talk.run(CLASSIFIED, {"result": scanned(5.0, 3.5)}, {"submitted": {}})
    assert SearchSubmission.model_validate(talk.calls[2][1]).reference_scores == "template_scores.parquet"


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_a_failed_call_ends_the_step_as_failed(failing: int) -> None:
    error = {"error": {"field": "window", "value": "(1, 2)", "allowed": "500 events"}}
    good = [TEMPLATE, CLASSIFIED, {"result": scanned(5.0, 3.5)}]
    talk = Conversation(plan([entry(4.0)]).steps[0])
    assert talk.run(*good[:failing], error) == {"ok": False, "summary": "window=(1, 2): 500 events"}
    assert len(talk.calls) == failing + 2


def surveyed(**found: tuple[float, float]) -> dict[str, Any]:
    def results(z: float, mass: float) -> list[dict[str, Any]]:
        window = [mass - 0.2, mass + 0.2]
        return [{"tool": "bumphunt.scan", "arguments": {"window": window}, "result": scanned(z, mass)}]

    return {
        name: {"ok": True, "folder": f"/workspace/i0/{name}", "results": results(*numbers)}
        for name, numbers in found.items()
    }


def test_choose_hands_in_the_most_significant_window_and_lists_the_others() -> None:
    choose = plan([], JETS).steps[-1]
    done = surveyed(a=(2.0, 3.0), b=(4.1, 3.5), c=(-0.5, 4.0)) | {"d": {"ok": False, "folder": "x", "results": []}}
    talk = Conversation(choose, done)
    end = talk.run({"submitted": {}})
    submitted = SearchSubmission.model_validate(talk.calls[0][1])
    assert (submitted.scores, submitted.window) == ("/workspace/i0/b/scores.parquet", (3.3, 3.7))
    assert end["summary"].startswith("b is the most significant: z = 4.1 at 3.5 TeV")
    assert "2.0" in end["summary"]
    assert "-0.5" in end["summary"]


def test_a_survey_is_one_call_that_hands_in_its_most_significant_window() -> None:
    (step,) = plan([]).steps
    rows = [
        {
            "window": [low, round(low + 0.4, 1)],
            "scores": f"survey/{low}.parquet",
            "z": z,
            "mass": low + 0.1,
            "mass_error": 0.02,
        }
        for low, z in ((2.9, 2.0), (3.3, 4.1), (3.8, -0.5))
    ]
    rows = [row | {"warning": "sculpts" if row["z"] == 4.1 else None} for row in rows]
    found = {"windows": rows, "best": 1, "p_global": 0.0021, "failed": ["window=(4.9, 5.3): too few"]}
    talk = Conversation(step)
    end = talk.run({"result": found}, {"submitted": {}})
    assert [name for name, _ in talk.calls] == ["anomaly.survey", "submit", "finish"]
    submitted = SearchSubmission.model_validate(talk.calls[1][1])
    assert (submitted.scores, submitted.window) == ("survey/3.3.parquet", (3.3, 3.7))
    for said in ("[3.3, 3.7] is the most significant: z = 4.1 at 3.400", "0.0021", "-0.5", "warning: sculpts"):
        assert said in end["summary"]
    assert "not searched: window=(4.9, 5.3)" in end["summary"]


@pytest.mark.parametrize("name", ["choose", "cut_study"])
def test_without_anything_to_look_at_a_step_fails(name: str) -> None:
    steps = {step.id: step for made in (plan([], JETS), plan([entry(4.0)])) for step in made.steps}
    done = {"search": {"ok": False, "folder": "/workspace/i1/search", "results": []}}
    assert Conversation(steps[name], done).run()["ok"] is False


@pytest.mark.parametrize("code", [0, 1])
def test_the_cut_study_compiles_and_is_reported_as_it_ended(code: int) -> None:
    study = plan([entry(4.0)]).steps[1]
    talk = Conversation(study, surveyed(search=(5.0, 3.5)))
    end = talk.run({"exit_code": code, "stdout": "z = 5", "stderr": "Traceback"})
    written = RunPython.model_validate(talk.calls[0][1])
    names = {
        t.id
        for n in ast.parse(written.code).body
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    assert {"EVENTS", "SCORES", "WINDOW"} <= names
    assert "'/workspace/i0/search/scores.parquet'" in written.code
    for node in ast.walk(ast.parse(written.code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tools."):
            module = __import__(node.module or "", fromlist=["x"])
            assert all(hasattr(module, alias.name) for alias in node.names)
    assert end.get("ok", True) == (code == 0)
    assert end["summary"] == ("Traceback" if code else "z = 5")

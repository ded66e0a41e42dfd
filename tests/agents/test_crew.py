"""One question to a model: what is accepted, what goes back to it, and when it is given up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import Answer, Scripted, make_crew

from agents.backends.base import Message, Reply, Request, Usage
from agents.backends.opening import FENCE, opening, read_context
from agents.backends.reading import bare_json
from agents.crew.budget import Budget, BudgetSpent
from agents.crew.shared import RETRIES, Crew, ModelFailed
from agents.trace.events import ModelCalled, Trouble
from tasks.lhco.claims import SearchClaim

GOOD = '{"discovery": true, "mass": 3.5}'
WHERE = "reporter"


def crew_for(folder: Path, *answers: Answer, **more: Budget) -> tuple[Crew, Scripted]:
    backend = Scripted({WHERE: answers}, usage=Usage(prompt_tokens=60, completion_tokens=40))
    return make_crew(folder, backend, **more), backend


def ask(crew: Crew) -> SearchClaim:
    request = Request(role="reporter", messages=opening("reporter", "brief", {}), max_tokens=77)
    answer = crew.ask(request, SearchClaim, WHERE)
    assert isinstance(answer, SearchClaim)
    return answer


def troubles(crew: Crew) -> list[str]:
    return [e.text for e in crew.store.events() if isinstance(e, Trouble) and e.who == "model" and e.where == WHERE]


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"\n```\n{GOOD}\n```\n", f"  {GOOD}\n"])
def test_json_is_taken_plain_or_fenced(tmp_path: Path, text: str) -> None:
    crew, backend = crew_for(tmp_path, text)
    assert ask(crew).mass == 3.5
    assert len(backend.asked) == 1
    assert not troubles(crew)


def test_a_fence_without_an_end_is_only_stripped_at_its_start() -> None:
    assert json.loads(bare_json(f"```json\n{GOOD}")) == json.loads(GOOD)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("not JSON at all", "Invalid JSON"),
        ('{"mass": 3.5}', "discovery"),
        ('{"discovery": true, "p_value": 1.5}', "p_value=1.5"),
        ('{"discovery": true, "colour": "red"}', 'colour="red"'),
        ("", "Invalid JSON"),
        ('{"discovery": true, "text": "\\ud800"}', "Invalid JSON"),
    ],
)
def test_what_is_wrong_goes_back_to_the_model(tmp_path: Path, wrong: str, said: str) -> None:
    crew, backend = crew_for(tmp_path, wrong, GOOD)
    assert ask(crew).discovery
    first, second = (request.messages for _, request in backend.asked)
    assert second[: len(first)] == first, "the conversation goes on, it does not begin again"
    assert second[-2] == Message(role="assistant", content=wrong)
    assert said in second[-1].content
    assert said in troubles(crew)[0]


def test_a_model_that_does_not_learn_is_given_up(tmp_path: Path) -> None:
    crew, backend = crew_for(tmp_path, *["{}"] * 10)
    with pytest.raises(ModelFailed, match=rf"^reporter: no valid SearchClaim in {RETRIES} replies: .*discovery"):
        ask(crew)
    assert len(backend.asked) == RETRIES == len(troubles(crew))
    assert len([e for e in crew.store.events() if isinstance(e, ModelCalled)]) == RETRIES


def test_a_reply_that_was_cut_off_is_called_that(tmp_path: Path) -> None:
    cut = Reply(message=Message(role="assistant", content='{"discovery": tr'), model="m", finish="length")
    crew, backend = crew_for(tmp_path, cut, GOOD, budget=Budget(reply_tokens=77))
    assert ask(crew).discovery
    assert "cut off at 77 tokens" in backend.asked[1][1].messages[-1].content


def test_the_budget_is_looked_at_before_every_call(tmp_path: Path) -> None:
    crew, backend = crew_for(tmp_path, "no", "no", GOOD, budget=Budget(tokens=150))
    with pytest.raises(BudgetSpent, match="200 of 150 tokens"):
        ask(crew)
    assert len(backend.asked) == 2, "the second call began within the budget, the third would not have"
    assert crew.meter.spent.prompt_tokens == 120
    assert crew.meter.model_calls == 2


def test_an_explanation_stays_short(tmp_path: Path) -> None:
    crew, _ = crew_for(tmp_path, json.dumps({"discovery": "x" * 10_000, **{f"f{k}": "y" * 10_000 for k in range(50)}}))
    with pytest.raises(AssertionError, match="asked more than 1 times"):
        ask(crew)
    assert 100 < len(troubles(crew)[0]) < 1000


def test_the_context_is_read_back_as_it_was_given() -> None:
    context = {"request": f"Is this {FENCE} or\n```\n a fence? μ", "nested": {"a": [1, 2.5, None, True]}}
    assert read_context(opening("worker", "brief with ```python\ncode\n```", context)[1]) == context

"""A service that runs dry and refills: its cells wait and lose no attempt, and those of other services go on."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from scripted import Scripted, two_rounds
from test_carry_out import TINY
from tiny_cell import StudyTask, study
from typer.testing import CliRunner, Result

from agents.backends.base import Message, Quota, Request
from agents.cli.main import app
from agents.studies import carry_out as carrying
from agents.studies.ledger import Ledger
from agents.studies.outcome import read_outcome
from agents.studies.rests import rest, resting, wake
from agents.studies.study import Arm
from agents.trace.events import ModelCalled, RunFinished
from agents.trace.store import read_trace
from benchmarks.services.server import Answer, Json, Stream, completion, refusal, serving
from tasks import catalogue

pytestmark = pytest.mark.timeout(900)
DRY = refusal(429, "You exceeded your current quota.", code="insufficient_quota")


class Metered:
    """A service that answers `left` requests by the script of the tiny task, and refuses the others."""

    def __init__(self, left: float, refused: Answer = DRY) -> None:
        self.left, self.refused, self.answered, self.refusals = left, refused, 0, 0

    def __call__(self, path: str, body: Json, key: str | None) -> Answer | Stream:
        if self.left < 1:
            self.refusals += 1
            return self.refused
        self.left, self.answered = self.left - 1, self.answered + 1
        told = [Message(role=m["role"], content=m.get("content") or "") for m in body["messages"]]
        role = "worker" if body.get("tools") else "planner" if "planner" in told[0].content[:40] else "reporter"
        request = Request.model_validate({"role": role, "messages": told})
        made = Scripted(two_rounds()).complete(request).message
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in made.tool_calls
        ]
        return completion(made.content, **({"tool_calls": calls} if calls else {}))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "study-tiny", StudyTask)
    monkeypatch.setattr(carrying, "PROGRAM", [sys.executable, str(TINY)])


def typed(tmp_path: Path, *more: str) -> Result:
    place = ["--runs", str(tmp_path), "--sandbox", "bubblewrap"]
    return CliRunner().invoke(app, ["stability", str(tmp_path / "s.yaml"), *place, *more])


def written(tmp_path: Path, services: dict[str, Metered], stack: ExitStack) -> Path:
    """A study with an arm for each service and one attempt for each cell; return its folder."""
    arms = [
        {"name": name, "kind": "openai", "model": "m-1", "base_url": stack.enter_context(serving(service))}
        for name, service in services.items()
    ]
    one = {"datasets": [{"name": "none", "fresh": True}], "attempts": 1, "backends": arms}
    document = study(**one).model_dump(mode="json", exclude={"success", "primary"})
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document | {"primary": {"metric": "signal fraction"}}))
    return tmp_path / "tiny"


@pytest.mark.slow
def test_cells_of_a_spent_quota_wait_without_losing_an_attempt(tmp_path: Path) -> None:
    dry, other = Metered(left=3), Metered(left=1000)
    with ExitStack() as stack:
        folder = written(tmp_path, {"dry": dry, "other": other}, stack)
        for refusals in (1, 2):  # one cell finds out; the second one does not even ask, whatever is tried
            said = typed(tmp_path)
            assert said.exit_code == 7
            words = " ".join(said.output.split())
            assert "2 runs wait for the quota of 127.0.0.1:" in words
            assert "(OPENAI_API_KEY); the same command continues." in words
            assert dry.refusals == refusals
            outcomes = {name: read_outcome(folder / name / "only/none/0") for name in ("dry", "other")}
            assert outcomes["dry"] is None
            assert outcomes["other"] is not None
            assert not outcomes["other"].missing
        with Ledger(folder / "dry/only/none/0") as ledger:
            assert (ledger.losses(), ledger.starts()) == (0, 2)
        assert not (folder / "dry/only/none/1").exists()
        ended = read_trace(folder / "dry/only/none/0")[-1]
        assert isinstance(ended, RunFinished)
        assert (ended.status, ended.quota) == ("lost", Quota())

        dry.left = 1000
        said = typed(tmp_path)
        assert said.exit_code == 0
        assert "wait for the quota" not in said.output
    for repeat in (0, 1):
        found = read_outcome(folder / f"dry/only/none/{repeat}")
        assert found is not None
        assert (found.missing, found.status) == (False, "exhausted")
    paid = Counter(e.key for e in read_trace(folder / "dry/only/none/0") if isinstance(e, ModelCalled))
    assert max(paid.values()) == 1, "what was answered before the quota was spent is not asked for again"
    assert dry.answered == 2 * paid.total()


@pytest.mark.slow
def test_a_service_that_says_when_it_refills_is_asked_again_while_others_work(tmp_path: Path) -> None:
    """Its refusal states two seconds, the other's cells take longer than that."""
    soon = refusal(402, "Insufficient balance.", headers={"Retry-After": "2"})
    dry = Metered(left=0, refused=soon)

    class Slow(Metered):
        def __call__(self, path: str, body: Json, key: str | None) -> Answer | Stream:
            time.sleep(0.5)
            dry.left = 1000 if dry.refusals else 0  # it refills once it has been asked
            return super().__call__(path, body, key)

    with ExitStack() as stack:
        folder = written(tmp_path, {"dry": dry, "other": Slow(left=1000)}, stack)
        said = typed(tmp_path)
    assert said.exit_code == 0, said.output
    assert "quota spent, will be tried again" in said.output
    assert dry.refusals == 1
    assert all((folder / f"{arm}/only/none/{n}/outcome.json").exists() for arm in ("dry", "other") for n in (0, 1))


def test_a_rest_concerns_one_account_and_ends_by_itself_or_with_a_new_start(tmp_path: Path) -> None:
    arm = Arm(name="a", kind="openai", model="m", api_key_env="KEY_A")
    same, other = arm.model_copy(update={"name": "b", "model": "n"}), arm.model_copy(update={"api_key_env": "KEY_B"})
    rest(tmp_path, arm, Quota(refills=time.time() + 3600))
    assert resting(tmp_path, same) is not None
    assert resting(tmp_path, other) is None
    rest(tmp_path, other, Quota(refills=time.time() - 1))
    assert resting(tmp_path, other) is None
    rest(tmp_path, other, Quota())
    assert resting(tmp_path, other) is not None
    wake(tmp_path)
    assert resting(tmp_path, arm) is resting(tmp_path, other) is None

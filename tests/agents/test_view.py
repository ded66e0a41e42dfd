"""The view shows what a trace holds, says what is wrong with it, and hands out nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from report_runs import CODE, converged, failed, graded_details, picture
from test_trace_store import STARTED

from agents.backends.base import Message, Reply, Request, Usage
from agents.trace.events import Graded, ModelCalled, Parent
from agents.trace.store import TRACE, Store, read_trace
from agents.view.answers import Answers
from agents.view.library import Library, UnknownRun
from agents.view.pictures import is_png
from tasks.score import Score


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)  # these runs may get lost
    folder = tmp_path / "runs"
    converged(folder / "one")
    failed(folder / "two")
    return folder


def ask(runs: Path, target: str, status: int = 200) -> Any:
    answer = Answers(Library(runs)).answer(target)
    assert answer.status == status, answer.body
    return json.loads(answer.body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def blocks(runs: Path, kind: str, run: str = "one") -> dict[str, Any]:
    rows = ask(runs, f"/api/runs/{run}")["rows"]
    n = next(row["n"] for row in rows if row["kind"] == kind)
    return {block["label"]: block for block in ask(runs, f"/api/runs/{run}/events/{n}")["blocks"]}


def test_the_list_has_what_one_searches_and_sorts_by(runs: Path) -> None:
    (runs / "no run").mkdir()
    one, two = ask(runs, "/api/runs")["runs"]
    assert (one["name"], one["status"], one["task"], one["backend"]) == ("one", "converged", "lhco-demo", "analyst")
    assert (one["metric"], one["metric_text"], one["held"]) == (5.2, "5.20 ± 0.40", 5.1)
    assert one["dollars"] == pytest.approx(0.03)
    assert (two["status"], two["metric"], two["damage"]) == ("lost", None, [])


def test_every_event_has_a_row_in_its_place(runs: Path) -> None:
    page = ask(runs, "/api/runs/one")
    events = read_trace(runs / "one")
    assert [row["n"] for row in page["rows"]] == list(range(len(events)))
    assert {row["section"] for row in page["rows"]} == {"start", "0", "1", "2", "end"}
    commands = [(row["section"], row["step"]) for row in page["rows"] if row["kind"] == "executed"]
    assert commands == [(str(k), step) for k in range(3) for step in ("scan", "train")]
    graded = [row for row in page["rows"] if row["kind"] == "graded"]
    assert [row["ok"] for row in graded] == [True, False, True]
    assert graded[0]["title"] == "Expected significance: 4.20 ± 0.40"
    head = page["overview"]
    assert head["answer"][0]["rows"][0] == ["m", "3.510 ± 0.020 TeV"]
    assert [point["y"] for point in head["steering"]["points"]] == [4.2, None, 5.2]
    assert head["confirmed"]["value"] == "significance: 5.1"
    assert [trouble[0] for trouble in head["troubles"]] == [r["n"] for r in page["rows"] if r["kind"] == "trouble"]


def test_a_page_that_has_it_all_gets_nothing_again_and_later_only_what_is_new(runs: Path) -> None:
    answers = Answers(Library(runs))

    def poll(query: str) -> Any:
        return json.loads(answers.answer(f"/api/runs/two?{query}").body)

    first = poll("after=0")
    assert poll(f"after={first['total']}&stamp={first['stamp']}") == {"stamp": first["stamp"]}
    with Store.open(runs / "two") as trace:
        score = Score(metric="m", value=float("nan"), reason="r", details={"spectrum": {"edges": [float("inf")]}})
        trace.append(Graded(key="k", iteration=0, submission=None, score=score))
        fresh = poll(f"after={first['total']}&stamp={first['stamp']}")
    assert [row["kind"] for row in fresh["rows"]] == ["graded"]
    assert fresh["total"] == first["total"] + 1


def test_a_command_shows_code_output_figures_and_files(runs: Path) -> None:
    shown = blocks(runs, "executed")
    assert shown["run.py"]["text"] == CODE
    assert shown["output"]["text"].startswith("done ")
    assert "errors" not in shown  # there were none
    figure = shown["i0/scan/loss.png"]
    assert is_png(Answers(Library(runs)).answer(f"/runs/one/blobs/{figure['sha']}").body)
    sizes = {file["path"]: file["size"] for file in shown["files it left"]["files"]}
    assert sizes["i0/scan/loss.png"] == len(picture())
    assert "big.bin" in shown["not kept"]["text"]


def test_a_model_call_shows_prompt_and_reply_and_where_the_whole_is(tmp_path: Path) -> None:
    long = "many words " * 2000
    request = Request(
        role="worker", messages=(Message(role="system", content=long), Message(role="user", content="hi"))
    )
    reply = Reply(message=Message(role="assistant", content='{"a": 1}'), model="m")
    with Store.create(tmp_path / "r") as trace:
        trace.append(STARTED)
        put = [trace.put(part.model_dump_json().encode()) for part in (request, reply)]
        usage = Usage(prompt_tokens=7, completion_tokens=2, dollars=0.5)
        called = ModelCalled(
            key="k", role="worker", where="worker/0/a", request=put[0], reply=put[1], model="m", usage=usage, seconds=1
        )
        trace.append(called)
    shown = blocks(tmp_path, "model_called", "r")
    assert shown["reply"]["messages"][0]["text"] == '{"a": 1}'
    system, user = shown["prompt"]["messages"]
    assert len(system["text"]) < 7000 < len(long)
    assert user == {"role": "user", "text": "hi", "calls": []}
    whole = Answers(Library(tmp_path)).answer(f"/runs/r/blobs/{shown['prompt']['sha']}")
    assert long.encode() in whole.body
    assert whole.type == "text/plain; charset=utf-8"


def test_a_blob_that_is_gone_is_a_note(runs: Path) -> None:
    for blob in (runs / "one" / "blobs").glob("*/*"):
        blob.unlink()
    assert "cannot be read" in blocks(runs, "executed")["run.py"]["text"]
    assert "cannot be read" in blocks(runs, "model_called")["prompt"]["text"]


def test_a_graded_event_has_its_spectrum_as_a_picture(runs: Path) -> None:
    rows = ask(runs, "/api/runs/one")["rows"]
    graded = next(row["n"] for row in rows if row["kind"] == "graded")
    assert is_png(Answers(Library(runs)).answer(f"/runs/one/events/{graded}/plots/spectrum.png").body)
    assert Answers(Library(runs)).answer("/runs/one/events/0/plots/spectrum.png").status == 404


def test_a_damaged_trace_shows_what_there_is_and_says_what_is_wrong(runs: Path) -> None:
    path = runs / "one" / TRACE
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4][:30]
    lines[6] = b"\xff\x00"
    lines[7] = json.dumps(json.loads(lines[7]) | {"unheard_of": 1}).encode()
    path.write_bytes(b"\n".join(lines) + b'{"kind": "plan')
    page = ask(runs, "/api/runs/one")
    assert [row["n"] for row in page["rows"]] == [n for n in range(len(lines) - 1) if n not in (4, 6)]
    assert "line 5" in page["overview"]["card"]["damage"][0]
    assert "(5, 7, " in page["overview"]["card"]["damage"][1]
    assert page["overview"]["claim"]  # the end is there all the same
    ask(runs, "/api/runs/one/events/5")
    ask(runs, "/api/runs/one/events/4", status=404)


def test_a_line_that_was_changed_later_is_shown_and_named(runs: Path) -> None:
    path = runs / "one" / TRACE
    path.write_bytes(path.read_bytes().replace(b"Scan the dijet mass", b"Scam the dijet mass", 1))
    page = ask(runs, "/api/runs/one")
    assert len(page["rows"]) == page["total"] == len(path.read_bytes().splitlines())
    assert "line 4: was changed after it was written" in page["overview"]["card"]["damage"][0]


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"[]\n", b'{"kind":"trouble"}\n', b'{"kind":["x"]}\n', b"[" * 9999 + b"\n"]
)
def test_a_trace_without_a_beginning_is_listed_as_damaged(runs: Path, content: bytes) -> None:
    (runs / "one" / TRACE).write_bytes(content)
    assert ask(runs, "/api/runs")["runs"][0]["status"] == "damaged"
    assert ask(runs, "/api/runs/one")["overview"]["card"]["damage"]
    assert ask(runs, "/api/compare?a=one&b=two")["runs"][1]["status"] == "lost"


def test_a_half_written_line_is_left_for_later(runs: Path) -> None:
    path = runs / "two" / TRACE
    before = len(ask(runs, "/api/runs/two")["rows"])
    path.write_bytes(path.read_bytes() + b'{"kind": "trou')
    page = ask(runs, "/api/runs/two")
    assert (len(page["rows"]), page["overview"]["card"]["damage"]) == (before, [])


@pytest.mark.parametrize(
    "target",
    [
        "/runs/../secret/blobs/" + "0" * 64,
        "/runs/one/blobs/../../trace.jsonl",
        f"/runs/one/blobs/{quote('../../../secret.txt', safe='')}",
        "/runs/one/blobs/" + "0" * 64,
        f"/api/runs/{quote('../secret', safe='')}",
        "/api/runs/..",
        "/api/runs/.",
        "/api/runs/%00",
        "/api/runs/%ff",
        "/api/runs/link",
        "/api/runs/linked_file",
        "/api/runs/one%2Finner",
        "/api/runs/one/events/-1",
        "/api/runs/one/events/999999",
        "/api/runs/one?after=x",
        "/static/../answers.py",
        f"/static/{quote('../answers.py', safe='')}",
        "/static/",
        "/api/compare?a=one",
        "/etc/passwd",
        "//etc/passwd",
        "/" + "x/" * 5000,
        "/?" + "&".join(f"a{k}=1" for k in range(50)),
    ],
)
def test_nothing_else_is_handed_out(runs: Path, target: str) -> None:
    outside = runs.parent / "secret"
    converged(outside)
    (runs.parent / "secret.txt").write_text("secret")
    (runs / "link").symlink_to(outside)
    converged(runs / "one" / "inner")
    (runs / "linked_file").mkdir()
    (runs / "linked_file" / TRACE).symlink_to(outside / TRACE)
    answer = Answers(Library(runs)).answer(target)
    assert answer.status in (400, 404, 422)
    assert list(json.loads(answer.body)) == ["error"]
    assert [card["name"] for card in ask(runs, "/api/runs")["runs"]] == ["one", "two"]


def test_a_blob_is_handed_out_only_if_it_is_what_its_name_says(runs: Path) -> None:
    sha = blocks(runs, "executed")["i0/scan/loss.png"]["sha"]
    (runs / "one" / "blobs" / sha[:2] / sha[2:]).write_text("<script>alert(1)</script>")
    assert "SHA-256" in ask(runs, f"/runs/one/blobs/{sha}", status=422)["error"]


def test_what_a_model_wrote_comes_as_plain_text_that_can_do_nothing(runs: Path) -> None:
    with Store.open(runs / "one") as trace:
        pages = [trace.put(b"<!doctype html><script>alert(1)</script>"), trace.put(b"\xff\xfe\x00binary")]
    html, binary = (Answers(Library(runs)).answer(f"/runs/one/blobs/{sha}") for sha in pages)
    assert html.type == "text/plain; charset=utf-8"
    assert "sandbox" in html.headers["Content-Security-Policy"]
    assert binary.type == "application/octet-stream"
    assert binary.headers["Content-Disposition"].startswith("attachment")


def test_only_whole_pictures_of_a_sane_size_are_pictures() -> None:
    good = picture()
    assert is_png(good)
    huge = good[:16] + (1 << 20).to_bytes(4, "big") * 2 + good[24:]
    flipped = good[:60] + bytes([good[60] ^ 1]) + good[61:]
    for bad in (b"", good[:-1], good[:40], good + b"<script>", huge, flipped, b"GIF89a" + good, good[:33]):
        assert not is_png(bad)


def test_two_runs_are_compared(runs: Path) -> None:
    converged(runs / "three")
    with Store.open(runs / "three") as trace:
        put = trace.put(b"from tools import anomaly\nprint('another')\n")
        event = next(e for e in trace.events() if e.kind == "executed")
        trace.append(event.model_copy(update={"given": {"run.py": put}}))
    data = ask(runs, "/api/compare?a=one&b=three")
    assert data["numbers"][5][:2] == ["best steering metric", "5.20 ± 0.40 (expected significance)"]
    changed = [file for file in data["code"] if not file["same"]]
    assert [file["path"] for file in changed] == ["worker/0/scan/run.py"]
    assert ["equal", "from tools import anomaly", "from tools import anomaly"] in changed[0]["rows"]
    assert len(data["plans"]) == 3
    ask(runs, "/api/compare?a=one&b=two")


def test_a_fork_names_its_parent(tmp_path: Path) -> None:
    parent = Parent(run="the first", trace="0" * 64, step="planner/1", past=0)
    with Store.create(tmp_path / "r") as trace:
        trace.append(STARTED.model_copy(update={"parent": parent}))
    facts = dict(ask(tmp_path, "/api/runs/r")["overview"]["facts"])
    assert facts["forked from"] == "the first, at planner/1"


def test_a_run_that_goes_away_is_unknown(runs: Path) -> None:
    library = Library(runs)
    library.trace("two")
    (runs / "two" / TRACE).unlink()
    with pytest.raises(UnknownRun):
        library.trace("two")


def test_runs_of_a_study_are_found_by_their_paths_and_what_lies_in_a_run_is_none(runs: Path) -> None:
    cell = "study/analyst/plain/strong/0"
    (runs / cell).parent.mkdir(parents=True)
    (runs / "two").rename(runs / cell)
    forged = runs / cell / "workspace" / "i0"
    shutil.copytree(runs / "one", forged)
    (runs / "loop").symlink_to(runs)
    assert Library(runs).names() == ["one", cell]
    assert Library(runs / "study").names() == [cell.removeprefix("study/")]
    quoted = cell.replace("/", "%2F")
    assert ask(runs, f"/api/runs/{quoted}")["overview"]["card"]["name"] == cell
    assert {card["name"] for card in ask(runs, "/api/runs")["runs"]} == {"one", cell}
    for name in (
        f"{quoted}%2Fworkspace%2Fi0",
        "study",
        "study%2F..%2Fone",
        "%2F" + str(runs / "one").replace("/", "%2F"),
    ):
        ask(runs, f"/api/runs/{name}", 404)


def test_nothing_is_written(runs: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        paths = sorted(runs.rglob("*"))
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before, answers = state(), Answers(Library(runs))
    for target in ("/", "/api/runs", "/api/runs/one", "/api/runs/one/events/5", "/api/compare?a=one&b=two"):
        assert answers.answer(target).status == 200
    assert state() == before


def test_a_folder_that_cannot_be_read_is_an_answer(runs: Path) -> None:
    library = Library(runs)
    os.rename(runs, runs.parent / "elsewhere")  # noqa: PTH104
    assert Answers(library).answer("/api/runs").status == 422


def test_details_that_lack_everything_do_no_harm(tmp_path: Path) -> None:
    strange: dict[str, Any] = {"cuts": [1, {}], "best": "x", "spectrum": {"edges": "y"}, "fraction": "z"}
    with Store.create(tmp_path / "r") as trace:
        trace.append(STARTED)
        for details in (strange, {**graded_details(), "cuts": None}):
            score = Score(metric="m", value=1.0, reason="r", details=details)
            trace.append(Graded(key="k", iteration=0, submission=None, score=score))
    ask(tmp_path, "/api/runs/r/events/1")
    ask(tmp_path, "/api/runs/r/events/2")
    assert Answers(Library(tmp_path)).answer("/runs/r/events/1/plots/spectrum.png").status == 404

"""What has to run again for a submission: all that its files can come from, and as little else as the record allows."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from scripted import plan, step
from tool_events import NOTHING, called

from agents.crew.names import fits, names_of
from agents.crew.recipe import Recipe, recipe
from agents.trace.events import AnyEvent, Executed, Graded, Planned
from agents.trace.where import Where
from tasks.lhco.claims import SearchSubmission
from tasks.plan import Plan
from tasks.score import Score

EVENTS = "/inputs/events.parquet"
SCORES = {"events": EVENTS, "window": [3.3, 3.7]}


def put(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Trace:
    """A trace in the making; commands are known by the order in which they were added."""

    def __init__(self, *steps: dict[str, Any], iteration: int = 0) -> None:
        self.events: list[AnyEvent] = []
        self.blobs: dict[str, bytes] = {}
        self.plan(iteration, *steps)

    def plan(self, iteration: int, *steps: dict[str, Any]) -> None:
        self.events.append(Planned(iteration=iteration, plan=Plan.model_validate_json(plan(*steps))))

    def _add(self, event: Executed) -> None:
        self.events.append(event.model_copy(update={"index": len(self.events)}))

    def tool(
        self, name: str, where: str, wrote: tuple[str, ...] = (), touched: tuple[str, ...] = (), **of: Any
    ) -> None:
        folder = where.replace("worker/", "i", 1)
        files = {f"{folder}/{file}": put(f"{file} {len(self.events)}") for file in (*wrote, "journal.jsonl")}
        cwd = f"/workspace/{folder}"
        self._add(called(name, of, where, cwd=cwd, files=files, touched=list(touched), key=str(len(self.events))))

    def script(self, code: str, where: str, wrote: tuple[str, ...] = (), name: str = "a.py", **more: Any) -> None:
        folder = where.replace("worker/", "i", 1)
        self.blobs[put(code)] = code.encode()
        common: dict[str, Any] = {"exit_code": 0, "ended": "exit", "seconds": 1.0, "dropped_bytes": 0}
        self._add(
            Executed(
                key=str(len(self.events)),
                where=Where(where),
                argv=["python", name],
                cwd=f"/workspace/{folder}",
                given={name: put(code)},
                stdout=NOTHING,
                stderr=NOTHING,
                files={f"{folder}/{file}": put(f"{file} {len(self.events)}") for file in wrote},
                **common | more,
            )
        )

    def graded(self, iteration: int, **files: str) -> None:
        score = Score(metric="m", value=1.0, reason="")
        self.events.append(Graded(key="g", iteration=iteration, submission=None, score=score, files=files))

    def of(self, scores: str, iteration: int = 0) -> Recipe:
        return recipe(self.events, iteration, SearchSubmission(scores=scores), self.blobs.__getitem__)

    def kept(self, scores: str, iteration: int = 0) -> list[int]:
        """Numbers of the commands to be repeated, counted from 0 without the plans."""
        commands = [event.key for event in self.events if isinstance(event, Executed)]
        return [commands.index(event.key) for event in self.of(scores, iteration).commands]


def search() -> Trace:
    """One step: template, scores, a scan, another classifier, an injection test, a count."""
    trace = Trace(step("s", submits=True))
    where = "worker/0/s"
    trace.tool("anomaly.template", where, ("template.parquet", "template_control.parquet"), **SCORES)
    trace.tool("anomaly.classify", where, ("scores.parquet",), template="template.parquet", **SCORES)
    trace.tool("bumphunt.scan", where, scores="scores.parquet", **SCORES)
    trace.tool("anomaly.classify", where, ("deep.parquet",), template="template.parquet", out="deep.parquet", **SCORES)
    trace.script(f"import pandas as pd\nd = pd.read_parquet('{EVENTS}')\nd.to_parquet('injected.parquet')", where)
    trace.events[-1] = trace.events[-1].model_copy(update={"files": {"i0/s/injected.parquet": put("i")}})
    trace.tool("anomaly.template", where, ("t2.parquet",), out="t2.parquet", events="injected.parquet", window=[3, 4])
    trace.tool("bumphunt.count", where, scores="scores.parquet", **SCORES)
    return trace


def test_scans_another_classifier_and_an_injection_test_are_left_out() -> None:
    trace = search()
    assert trace.kept("i0/s/scores.parquet") == [0, 1]
    found = trace.of("i0/s/scores.parquet")
    assert found.why_all == ""
    assert len(found.left_out) == 5
    assert trace.kept("i0/s/deep.parquet") == [0, 3]
    assert trace.kept("i0/s/t2.parquet") == [4, 5]


def test_a_script_that_reads_another_steps_files_needs_what_made_them() -> None:
    """By their full path, by a path with a gap, and by one that is put together."""
    for code in (
        "load('/workspace/i0/a/scores.parquet')",
        "[load(f'/workspace/i0/a/sc{k}s.parquet') for k in K]",
        "from pathlib import Path\nload(Path('/workspace/i0') / 'a' / 'scores.parquet')",
        "import os\nload(os.path.join('/workspace/i0/a', name + '.parquet'))",
        "load('/workspace/i0/%s/scores.parquet' % 'a')",
        "load('/workspace/i0/{}/scores.parquet'.format(name))",
        "load('../a/scores.parquet')",
    ):
        trace = Trace(step("a"), step("b", submits=True))
        trace.tool("anomaly.template", "worker/0/a", ("template.parquet",), **SCORES)
        trace.tool("anomaly.classify", "worker/0/a", ("scores.parquet",), template="template.parquet", **SCORES)
        trace.tool("bumphunt.scan", "worker/0/a", scores="scores.parquet", **SCORES)
        trace.script(code + "\nsave('mean.parquet')", "worker/0/b", ("mean.parquet",))
        assert trace.kept("i0/b/mean.parquet") == [0, 1, 3], code


def test_files_of_an_earlier_iteration_are_made_again_too() -> None:
    trace = Trace(step("a", submits=True))
    trace.tool("anomaly.template", "worker/0/a", ("template.parquet",), **SCORES)
    trace.plan(1, step("b", submits=True))
    trace.tool("anomaly.template", "worker/1/b", ("t.parquet",), out="t.parquet", **SCORES)
    trace.tool(
        "anomaly.classify", "worker/1/b", ("scores.parquet",), template="/workspace/i0/a/template.parquet", **SCORES
    )
    assert trace.kept("i1/b/scores.parquet", 1) == [0, 2]


@pytest.mark.parametrize(
    "code",
    [
        "import glob\nx = [load(f) for f in glob.glob('*.parquet')]",
        "from pathlib import Path\nx = [load(f) for f in Path('.').iterdir()]",
        "import subprocess\nsubprocess.run(['ls'])",
        "from fit import x",
        "x = eval(input())",
        "load(sys.argv[1])",
        "load('/workspace/elsewhere.npy')",
        "load(folder + '/' + name)",
    ],
    ids=["glob", "iterdir", "subprocess", "module", "eval", "names none", "unknown file", "any file"],
)
def test_a_script_that_may_read_anything_needs_all_before_it_in_its_step_and_those_it_depends_on(code: str) -> None:
    trace = Trace(step("a"), step("other"), step("b", ["a"], submits=True))
    trace.tool("bumphunt.scan", "worker/0/a", ("a.txt",), scores="scores.parquet", **SCORES)
    trace.tool("bumphunt.scan", "worker/0/other", ("o.txt",), scores="scores.parquet", **SCORES)
    trace.script("save('fit.npy')", "worker/0/b", ("fit.npy",), "fit.py")
    trace.script(code, "worker/0/b", ("scores.parquet",))
    trace.tool("bumphunt.scan", "worker/0/b", ("later.txt",), scores="scores.parquet", **SCORES)
    assert trace.kept("i0/b/scores.parquet") == [0, 2, 3]


def test_all_that_wrote_a_file_are_repeated_up_to_its_last_reader() -> None:
    trace, where = Trace(step("s", submits=True)), "worker/0/s"
    trace.tool("anomaly.template", where, ("template.parquet",), **SCORES)
    trace.tool("anomaly.template", where, ("template.parquet",), seed=2, **SCORES)
    trace.tool("anomaly.classify", where, ("scores.parquet",), template="template.parquet", **SCORES)
    trace.tool("anomaly.template", where, ("template.parquet",), seed=3, **SCORES)
    assert trace.kept("i0/s/scores.parquet") == [0, 1, 2]
    trace.script("x = load('scores.parquet')\nsave('scores.parquet')", where, ("scores.parquet",))
    assert trace.kept("i0/s/scores.parquet") == [0, 1, 2, 4]


def test_a_file_written_without_a_change_or_from_another_folder_counts_as_written() -> None:
    trace = Trace(step("a"), step("b", submits=True))
    trace.tool("anomaly.template", "worker/0/a", ("template.parquet",), **SCORES)
    trace.tool("anomaly.template", "worker/0/a", touched=("i0/a/template.parquet",), **SCORES)
    code = "save('/workspace/i0/a/template.parquet')"
    trace.script(code, "worker/0/b", touched=["i0/a/template.parquet"])
    trace.script("print('/inputs/x')", "worker/0/b", touched=["i0/a/template.parquet"])  # another step wrote it
    trace.tool(
        "anomaly.classify", "worker/0/b", ("scores.parquet",), template="/workspace/i0/a/template.parquet", **SCORES
    )
    assert trace.kept("i0/b/scores.parquet") == [0, 1, 2, 4]


def test_a_file_that_is_not_what_was_recorded_needs_everything() -> None:
    trace = search()
    trace.graded(0, **{"i0/s/scores.parquet": put("something else")})
    found = trace.of("i0/s/scores.parquet")
    assert "changed after" in found.why_all
    assert len(found.commands) == 7


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ({"files": {}}, "no command is known to have written"),
        ({"unsaved": ["'i0/s': more than 1000 files"]}, "could not be listed"),
    ],
)
def test_what_the_record_does_not_tell_needs_everything(spoil: dict[str, Any], why: str) -> None:
    trace = search()
    trace.events[2] = trace.events[2].model_copy(update=spoil)
    found = trace.of("i0/s/scores.parquet")
    assert why in found.why_all
    assert len(found.commands) == 7


def test_a_failed_command_that_wrote_last_needs_everything_that_succeeded() -> None:
    trace = search()
    trace.script("save('scores.parquet'); 1 / 0", "worker/0/s", ("scores.parquet",), exit_code=1)
    found = trace.of("i0/s/scores.parquet")
    assert "by a command that failed" in found.why_all
    assert len(found.commands) == 7


def test_defaults_of_tools_called_by_a_script_are_names_too() -> None:
    trace, where = Trace(step("s", submits=True)), "worker/0/s"
    trace.tool("anomaly.classify", where, ("template_scores.parquet",), template="/inputs/t.parquet", **SCORES)
    code = f"from tools.catalogue import find\nfind('bumphunt.count')(events='{EVENTS}', scores='s')\nsave('x.parquet')"
    trace.script(code, where, ("x.parquet",))
    assert trace.kept("i0/s/x.parquet") == [0, 1]


def test_printing_names_nothing_and_long_joins_end() -> None:
    trace, where = Trace(step("s", submits=True)), "worker/0/s"
    trace.tool("anomaly.template", where, ("t.parquet",), out="t.parquet", **SCORES)
    code = f"x = load('{EVENTS}')\nprint(f'{{x}}: {{x:.3f}} of {{x}}', 'all, in ' + str(x))\n"
    trace.script(code + " + ".join(["'a'", *["b"] * 60]), where, ("x.parquet",))
    assert trace.kept("i0/s/x.parquet") == [1]


def test_patterns_match_in_order_and_do_not_overlap() -> None:
    assert fits(("/w/a", "a.npy"), "/w/aa.npy")
    assert not fits(("/w/a", "a.npy"), "/w/a.npy")
    assert fits(("", "b", ".npy"), "/w/ab1.npy")
    assert not fits(("/w/", "b", "a", ""), "/w/ab")


def test_what_is_no_python_script_may_have_read_anything() -> None:
    trace = Trace(step("s", submits=True))
    trace.script("not python at all (", "worker/0/s")
    event = trace.events[-1]
    assert isinstance(event, Executed)
    assert "parsed" in names_of(event, trace.blobs.__getitem__).anything
    odd = event.model_copy(update={"argv": ["make"]})
    assert "command line" in names_of(odd, trace.blobs.__getitem__).anything

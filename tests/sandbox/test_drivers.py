"""What every driver promises, tried with hostile code: isolation, limits, and faithful results."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.canaries import plant_and_probe
from sandbox.driver import ExecResult, Sandbox

REPO = Path(__file__).parents[2]
Make = Callable[..., Sandbox]


def python(box: Sandbox, code: str, *words: str, seconds: float = 30) -> ExecResult:
    return box.exec(["python", "-c", code, *words], seconds=seconds)


# --- faithful results ---------------------------------------------------------------------------------------------


def test_output_is_utf8_and_split_by_stream(box: Sandbox) -> None:
    result = python(box, "import sys; print('mⱼⱼ = 3.5 TeV ± 1 %'); print('Züge', file=sys.stderr)")
    assert (result.stdout, result.stderr, result.ok) == ("mⱼⱼ = 3.5 TeV ± 1 %\n", "Züge\n", True)


def test_bytes_that_are_no_text_are_replaced(box: Sandbox) -> None:
    assert python(box, "import sys; sys.stdout.buffer.write(b'a\\xffb')").stdout == "a\ufffdb"


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139), ("kill -KILL $$", 137), ("yes | head -n 1", 0)],
)
def test_exit_codes(box: Sandbox, script: str, code: int) -> None:
    result = box.exec(["sh", "-c", script])
    assert (result.exit_code, result.ended) == (code, "exit")


def test_a_command_that_does_not_exist(box: Sandbox) -> None:
    result = box.exec(["no-such-command"])
    assert (result.exit_code, result.stderr) == (127, "no-such-command: No such file or directory\n")


def test_working_folder_is_made_and_must_lie_in_the_workspace(box: Sandbox) -> None:
    assert box.exec(["pwd"], cwd="/workspace/step 1/deep").stdout == "/workspace/step 1/deep\n"
    for cwd in ("/tmp", "/workspace/../etc", "workspace", "/workspacex"):
        with pytest.raises(ValueError, match="is not in /workspace"):
            box.exec(["true"], cwd=cwd)


def test_a_working_folder_behind_a_link_makes_nothing_on_the_host(box: Sandbox, tmp_path: Path) -> None:
    assert box.exec(["ln", "-s", str(tmp_path), "away"]).ok
    assert not box.exec(["true"], cwd="/workspace/away/made").ok
    assert list(tmp_path.iterdir()) == []


def test_standard_input_is_empty(box: Sandbox) -> None:
    assert python(box, "import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_endless_output_is_capped_and_counted(make: Make) -> None:
    box = make(output_kib=4)
    result = python(box, "print('first'); print('x' * (1 << 20)); print('last')")
    assert result.stdout.startswith("first\n")
    assert result.stdout.endswith("last\n")
    kept = len(result.stdout) - len(f"\n[... {result.dropped_bytes} bytes dropped ...]\n")
    assert kept == 4096
    assert kept + result.dropped_bytes == len("first\n") + (1 << 20) + 1 + len("last\n")
    flood = box.exec(["sh", "-c", "yes >&2 & yes"], seconds=1)
    assert flood.ended == "timeout"
    assert flood.dropped_bytes > 1 << 20


def test_files_come_back_and_belong_to_the_operator(make: Make) -> None:
    box = make()
    assert box.exec(["sh", "-c", "echo scores > scores.txt"]).ok
    file = box.workspace / "scores.txt"
    assert file.read_text() == "scores\n"
    assert os.access(file, os.W_OK)
    assert box.workspace.stat().st_mode & 0o077 == 0


def test_two_threads_run_side_by_side(box: Sandbox) -> None:
    meet = """
import pathlib, sys, time
me, other = sys.argv[1:]
pathlib.Path(me).touch()
while not pathlib.Path(other).exists(): time.sleep(0.01)
print(me)
"""
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(python, box, meet, *names) for names in (("meet-a", "meet-b"), ("meet-b", "meet-a"))]
        assert [job.result().stdout for job in results] == ["meet-a\n", "meet-b\n"]


# --- what is there, and what is not -------------------------------------------------------------------------------


def test_canaries_hold(box: Sandbox, tmp_path: Path) -> None:
    verdict = plant_and_probe(box, tmp_path / "labels.csv")
    assert verdict.held, verdict.lines
    assert not (tmp_path / "labels.csv").exists()
    assert "BEAMCREW_CANARY_KEY" not in os.environ


def test_the_host_is_invisible(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    (tmp_path / "labels.npy").write_bytes(b"secret")
    code = "import os, sys; print([p for p in sys.argv[1:] if os.path.exists(p)], sorted(os.environ))"
    paths = [tmp_path / "labels.npy", tmp_path, Path.home() / ".ssh", Path.home() / ".bashrc", REPO / "pyproject.toml"]
    paths += [REPO / name for name in ("tasks", "agents", "sandbox", ".git")] + [Path("/var/run/docker.sock")]
    result = python(box, code, *map(str, paths))
    assert result.stdout.startswith("[] "), result
    assert "OPENAI" not in result.stdout


def test_only_the_tools_of_our_packages_can_be_imported(box: Sandbox) -> None:
    code = "import importlib.util as u; print([bool(u.find_spec(n)) for n in ('tools', 'tasks', 'agents', 'sandbox')])"
    assert python(box, code).stdout == "[True, False, False, False]\n"


def test_root_inputs_and_tools_are_read_only(make: Make, tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "events.txt").write_text("events")
    box = make()
    assert box.exec(["cat", "/inputs/events.txt"]).stdout == "events"
    for path in ("/inputs/events.txt", "/inputs/new", "/new", "/usr/new", "/etc/passwd", "/opt/beamcrew/tools/new"):
        assert not box.exec(["sh", "-c", f"echo changed >> {path}"]).ok, path
    assert (tmp_path / "inputs" / "events.txt").read_text() == "events"


def test_no_privileges(box: Sandbox) -> None:
    status = box.exec(["cat", "/proc/self/status"]).stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    assert "0" not in fields["Uid"].split()
    assert not box.exec(["unshare", "-U", "true"]).ok


def test_there_is_no_network(box: Sandbox) -> None:
    others = [line for line in box.exec(["cat", "/proc/net/dev"]).stdout.splitlines()[2:] if "lo:" not in line]
    assert all(set(line.split(":")[1].split()) == {"0"} for line in others), "an interface that has moved bytes"
    assert box.exec(["cat", "/proc/net/route"]).stdout.count("\n") == 1, "its title line is all there is"


def test_torch_computes(box: Sandbox) -> None:
    result = python(box, "import torch; print(float(torch.arange(4.0) @ torch.ones(4)))", seconds=60)
    assert result.stdout == "6.0\n", result.stderr


def test_info_says_what_runs(box: Sandbox, driver: str) -> None:
    assert box.info.driver == driver
    assert box.info.version
    assert (box.info.image or "").startswith("sha256:") == (driver == "docker")

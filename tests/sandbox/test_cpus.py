"""Runs side by side keep to CPUs of their own as long as there are any."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.cpus import Cpus

FOUR = {90001, 90002, 90003, 90004}  # that no machine has: other tests run sandboxes meanwhile

TAKE = """
import os, sys
os.sched_getaffinity = lambda pid: {90001, 90002, 90003, 90004}
from sandbox.cpus import Cpus
taken = Cpus(2)
print(*taken.chosen, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: FOUR)


def test_none_is_shared_while_one_is_free() -> None:
    runs = [Cpus(1), Cpus(2), Cpus(1)]
    assert set().union(*(run.chosen for run in runs)) == FOUR
    late = Cpus(2)
    assert len(late.chosen) == 2
    assert late.chosen < FOUR, "none is free: shared"
    for run in runs[:2]:
        run.release()
        run.release()
    assert Cpus(3).chosen == runs[0].chosen | runs[1].chosen
    for run in runs:
        run.release()


def test_whoever_is_given_fewer_than_asked_takes_what_is_free_first() -> None:
    first, second = Cpus(3), Cpus(2)
    assert FOUR - first.chosen < second.chosen
    assert Cpus(9).chosen == FOUR
    first.release()
    second.release()


def test_a_process_that_is_killed_leaves_them_to_others() -> None:
    with subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        theirs = {int(cpu) for cpu in other.stdout.readline().split()}
        ours = Cpus(2)
        assert ours.chosen == FOUR - theirs
        other.kill()
        other.wait()
        assert Cpus(2).chosen == theirs
        ours.release()

"""The form of a check: a promise in one line, and a real attempt to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sandbox.conformance.arena import Arena

REFUSALS = ("EPERM", "EACCES", "ENOSYS")  # the kernel's errors when it forbids something


class Breach(Exception):  # noqa: N818 - the promise failed; the text says what was seen
    """A promise was broken."""


class NotApplicable(Exception):  # noqa: N818 - nothing went wrong; the text says why
    """The check does not apply to this machine, so it neither passed nor failed."""


@dataclass(frozen=True)
class Check:
    """One promise of every driver, and the function that tries to break it."""

    name: str
    promise: str
    run: Callable[[Arena], None]


def check(function: Callable[[Arena], None]) -> Check:
    """Make a check of a function; the one line of its docstring is the promise."""
    promise = function.__doc__ or ""
    if not promise.strip() or "\n" in promise:
        raise ValueError(f"{function.__qualname__} has to say in one line what is promised")
    theme = function.__module__.rpartition(".")[2]
    return Check(f"{theme}.{function.__name__}", promise.rstrip("."), function)


def expect(condition: object, seen: str) -> None:
    """Raise Breach unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise Breach(seen)


def expect_nothing(found: Iterable[object], what: str) -> None:
    """Raise Breach if anything was found."""
    listed = [str(one) for one in found]
    expect(not listed, f"{what}: {', '.join(listed[:8])}{' ...' if len(listed) > 8 else ''}")


def expect_refused(answers: Mapping[str, str], refusals: tuple[str, ...] = REFUSALS) -> None:
    """Raise Breach unless every attempt was answered with a refusal.

    Attempts are harmless even if they are let through; the kernel then often returns another error, which does not
    count as a refusal.
    """
    expect(answers, "nothing was tried")
    let_through = [f"{attempt}: {answer}" for attempt, answer in answers.items() if answer not in refusals]
    expect_nothing(let_through, "let through")

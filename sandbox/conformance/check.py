"""What a check is: a promise in one line, and a real attempt to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sandbox.conformance.arena import Arena

REFUSALS = ("EPERM", "EACCES", "ENOSYS")  # what the kernel answers when it does not let somebody do something


class Breach(Exception):  # noqa: N818 - the promise is at fault; the text says what was seen
    """A promise that does not hold."""


class NotApplicable(Exception):  # noqa: N818 - nothing went wrong; the text says why
    """What this check would try does not exist on this machine: neither passed nor failed."""


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
    """Not `assert`, which is gone under `python -O`."""
    if not condition:
        raise Breach(seen)


def expect_nothing(found: Iterable[object], what: str) -> None:
    """Nothing of the kind was found."""
    listed = [str(one) for one in found]
    expect(not listed, f"{what}: {', '.join(listed[:8])}{' ...' if len(listed) > 8 else ''}")


def expect_refused(answers: Mapping[str, str], refusals: tuple[str, ...] = REFUSALS) -> None:
    """Every attempt was answered with a refusal.

    Attempts are made so that they do no harm where they are let through; then the kernel often answers with another
    error, which is no refusal.
    """
    expect(answers, "nothing was tried")
    let_through = [f"{attempt}: {answer}" for attempt, answer in answers.items() if answer not in refusals]
    expect_nothing(let_through, "let through")

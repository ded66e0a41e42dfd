"""The place of an event in a run: the role, the iteration and the step."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import CoreSchema, core_schema

# `claim` and `audit` rerun a worker's commands; `operator` is the person who is asked; `run` is the harness itself,
# `trace` its record.
ROLES = ("planner", "worker", "reviewer", "grader", "reporter", "claim", "audit", "sealed", "operator", "run", "trace")
FORM = re.compile(rf"({'|'.join(ROLES)})(?:/(\d+)(?:/([a-z][a-z0-9_]*))?)?")


class Where(str):
    """A role, its iteration and its step, as far as they are known, e.g. `worker/0/scan`.

    It is a str, so that events and messages contain it in readable form; only this class parses it.
    """

    __slots__ = ()

    def __new__(cls, role: str, iteration: int | None = None, step: str | None = None) -> Where:
        text = "/".join(str(part) for part in (role, iteration, step) if part is not None)
        if not FORM.fullmatch(text):
            allowed = f"one of {', '.join(ROLES)}, then the iteration and the step: worker/0/scan"
            raise ValueError(f"where={text!r}: {allowed}")
        return super().__new__(cls, text)

    @property
    def role(self) -> str:
        return self._part(1) or ""

    @property
    def iteration(self) -> int | None:
        found = self._part(2)
        return None if found is None else int(found)

    @property
    def step(self) -> str | None:
        return self._part(3)

    def by(self, role: str) -> Where:
        """Return the same iteration and step for another role."""
        return Where(role, self.iteration, self.step)

    def _part(self, number: int) -> str | None:
        found = FORM.fullmatch(self)
        return found[number] if found else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())

"""A gate: what has to hold before a result is believed."""

from __future__ import annotations

from pydantic import Field

from tools.contract import Frozen


class Gate(Frozen):
    """A gate: its value, the limit in words, whether it passed (None: not made), and further numbers."""

    name: str
    value: float | None
    limit: str
    passed: bool | None
    more: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)

    @property
    def finding(self) -> str:
        """What is wrong, in words; '' if the gate passed."""
        if self.passed:
            return ""
        if self.passed is None:
            return f"{self.name}: not made{self.more and f' ({self.more})'}"
        return f"{self.name}: {self.value:.3g}, but {self.limit}{self.more and f' ({self.more})'}"

"""The form of a check's result."""

from __future__ import annotations

from tools.contract import Frozen


class Check(Frozen):
    """One line of the report: whether the check passed, and what was found or what helps."""

    name: str
    ok: bool
    detail: str

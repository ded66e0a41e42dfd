"""Plans: what the planner (a model or the task's own policy) passes to the workers."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tools.contract import Frozen

MAX_STEPS = 12


class PlannedCall(Frozen):
    """A tool call that the planner suggests; the worker may deviate from it."""

    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Step(Frozen):
    """One piece of work for one worker. Workers see the files of the steps they depend on."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="short name, unique in the plan")
    goal: str = Field(description="what to find out or make, in a sentence or two")
    depends_on: list[str] = Field(default_factory=list, description="ids of steps that must finish first")
    calls: list[PlannedCall] = Field(default_factory=list, description="suggested tool calls, in order")
    submits: bool = Field(False, description="hands in the iteration's result; exactly one step does")


class Plan(Frozen):
    """Steps of one iteration. Exactly one step submits; steps that do not depend on each other may run in parallel."""

    reasoning: str
    steps: list[Step] = Field(default_factory=list, max_length=MAX_STEPS, description="one submits; none if `stop`")
    stop: bool = Field(False, description="no further gain is expected: the best submission so far is final")
    null_result: bool = Field(
        False,
        description="with `stop`: nothing was found, as `reasoning` says with the sensitivity; no submission is final",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Plan:
        ids = [s.id for s in self.steps]
        if len(set(ids)) != len(ids):
            raise ValueError(f"step ids must be unique, got {ids}")
        known: set[str] = set()
        for step in self.steps:
            late = [d for d in step.depends_on if d not in known]
            if late:
                raise ValueError(f"step {step.id!r} depends on {late}, which must be ids of earlier steps of the plan")
            known.add(step.id)
        submitting = [s.id for s in self.steps if s.submits]
        if self.null_result and not self.stop:
            raise ValueError("null_result=true: only with stop=true, since it ends the run")
        if not self.stop and len(submitting) != 1:
            raise ValueError(f"exactly one step must have submits=true, not {len(submitting)} {submitting}")
        return self

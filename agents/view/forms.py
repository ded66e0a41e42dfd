"""What the browser sends: the body of each POST, checked once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agents.crew.budget import Budget
from agents.trace.approval import Approval
from tools.contract import Frozen

Words = Annotated[str, Field(min_length=1, max_length=20_000)]


class Choice(Frozen):
    """The backend. Its address and its key are those of the server."""

    backend: str | None = Field(
        None,
        pattern=r"^(analyst|script|random|openai|local:[\w.-]+)$",
        description="None: the server's service, without one the analyst",
    )
    model: str | None = Field(None, max_length=200, description="None: the server's")
    price: str | None = Field(None, max_length=60, description="IN,OUT[,CACHED] in dollars per million tokens")


class CardForm(Frozen):
    """Make out a card."""

    request: Words
    data: str | None = Field(None, max_length=4096, description="path on the server's machine")
    task: str | None = Field(None, max_length=200, description="None: as the rules read the request")
    options: dict[str, Any] = Field(default_factory=dict, description="answers to questions of the card")


class StartForm(Frozen):
    """Carry out a card that a person has accepted."""

    card: Words = Field(description="as YAML, as it was shown or edited")
    choice: Choice = Choice()
    budget: Budget = Budget()
    approve: Approval = Approval()


class AnswerForm(Frozen):
    """Answer the question for which a run waits."""

    asked: int = Field(ge=0, description="number of the event that asks")
    answer: Literal["yes", "no", "say"]
    words: str = Field("", max_length=4000)


class ResumeForm(Frozen):
    """Go on with a run."""

    budget: Budget | None = Field(None, description="limits that replace all it had")


class ForkForm(Frozen):
    """Begin a run with the past of another."""

    step: str = Field(min_length=1, max_length=400, description="e.g. planner/1")
    request: str | None = Field(None, max_length=20_000, description="None: as before")
    choice: Choice | None = Field(None, description="None: the backend of the run")
    budget: Budget | None = Field(None, description="limits that replace those of the run; others stay")


class AskForm(Frozen):
    """Ask a question about a run."""

    question: str = Field(min_length=1, max_length=4000)
    choice: Choice = Choice(backend="analyst")
    budget: Budget = Budget()


class StopForm(Frozen):
    """Stop a run."""

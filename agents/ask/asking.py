"""`ask`: a question to a run, answered by a model with tools or by rules, and kept beside the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from agents.ask.answers import Answer, cited, fork_command, keep
from agents.ask.material import open_run
from agents.ask.rules import by_rules
from agents.backends.base import Backend
from agents.crew.budget import Budget
from agents.runs.answers import user


def ask(
    run_dir: Path,
    question: str,
    backend: Backend,
    budget: Budget | None = None,
    who: str = "",
    clock: Callable[[], float] = time.time,
) -> Answer:
    """Return the answer to a question about a run, after it is recorded in `questions.jsonl` of the run's folder.

    A backend without a language model, or a small local one, leaves it to rules. Raises ValueError for an empty
    question or a budget that cannot be enforced, TraceError for a run that cannot be read.
    """
    question = " ".join(question.split())
    if not question:
        raise ValueError("question: is empty")
    began, material = clock(), open_run(run_dir)
    if backend.is_llm and not backend.name.startswith("local:"):
        from agents.ask.model import by_model  # loads the crew, which rules need not wait for

        answer = by_model(material, question, backend, budget or Budget())
    else:
        text, found, needs_work = by_rules(question, material)
        text, cites = cited(text, material)
        fork = fork_command(material, question) if needs_work else ""
        answer = Answer(
            question=question, text=text, answered=found, cites=cites, fork=fork, by="analyst", is_llm=False
        )
    answer = answer.model_copy(update={"who": who or user(), "when": began, "seconds": clock() - began})
    keep(run_dir, answer)
    return answer

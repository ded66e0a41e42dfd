"""`beamcrew ask`: a question about a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from agents.cli import options
from agents.cli.console import clear_errors, err, out

NO_ANSWER = 3  # exit status


def ask(
    run_dir: options.RunDir,
    question: Annotated[str, typer.Argument(help="what you want to know about this run, in plain language")],
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    timeout: options.Timeout = 300,
    max_dollars: options.MaxDollars = None,
    max_tokens: options.MaxTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the answer as JSON on standard output")] = False,
) -> None:
    """Answer a question about a run from its trace and files, with the events that say so. The run is not changed.

    Question and answer are kept in questions.jsonl in its folder. Exit status 3: there is no answer.
    """
    from agents.ask.asking import ask as answer_to
    from agents.crew.budget import Budget
    from agents.trace.words import visible

    with clear_errors():
        chosen = options.chosen_backend(backend, model, base_url, price, timeout, False)
        budget = Budget.model_validate(options.limits(max_dollars, max_tokens, None))
        answer = answer_to(run_dir, question, chosen, budget)
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=1) + "\n")
    else:
        out.print(Text(visible(answer.text)), soft_wrap=True)
    for cite in answer.cites:
        err.print(
            Text(f"  #{cite.event} {visible(cite.title) or 'there is no such event'}"), soft_wrap=True, style="dim"
        )
    if answer.fork:
        err.print(Text(f"This needs new work. To do it in a fork: {answer.fork}"), soft_wrap=True)
    if answer.is_llm:
        err.print(f"{answer.by}: {answer.model_calls} calls, ${answer.usage.dollars:.4f}", highlight=False)
    else:
        err.print("No LLM was involved: the built-in analyst looks up what the record says.", highlight=False)
    raise typer.Exit(0 if answer.answered else NO_ANSWER)

"""Agreement on how a request is understood, before anything is spent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer
from rich.panel import Panel
from rich.text import Text

from agents.cli.console import err, typed
from tasks.catalogue import DEFAULT, make_task

if TYPE_CHECKING:
    from agents.backends.base import Backend
    from agents.intake.card import Card


def agree(
    request: str | None,
    data: Path | None,
    file: Path | None,
    options: dict[str, Any],
    backend: Backend,
    yes: bool,
    later: bool = False,
) -> tuple[Card, bool]:
    """Return the card that is to be carried out, and whether somebody has accepted it.

    It comes from a file, or is filled and then accepted on a terminal; without one it is accepted `later`, when the
    run asks. `options` given by the operator replace those of the card. Without a request and data, it is the demo.
    Exits with status 2, and the questions, if something must be known first and nobody can be asked.
    """
    from agents.intake.card import Card

    if file:
        card = Card.read(file)
        return card.given(request or card.request, data, options), yes
    if request is None:
        if data is not None:
            raise ValueError("request: say in plain language what you want to know about these data")
        return Card(request=make_task(DEFAULT).request, task=DEFAULT, options=options), yes
    card = _filled(request, data, backend).given(request, data, options)
    here = sys.stdin.isatty() and not yes
    _show(card)
    if card.questions and not here:
        err.print(Text("Answer by --set NAME=VALUE, or in a file for --card."), soft_wrap=True)
        raise typer.Exit(2)
    if card.questions:
        answers = {each.about: typed(typer.prompt(each.text, err=True)) for each in card.questions}
        card = card.given(request, data, answers)
        _show(card)
    if yes or (later and not here):
        return card, yes
    return _accepted(card, here), True


def _filled(request: str, data: Path | None, backend: Backend) -> Card:
    """Return the card that the model fills, or the rules: small models cannot hold the options of all tasks."""
    from agents.backends.base import BackendLost
    from agents.intake.model import by_model
    from agents.intake.rules import by_rules
    from tools.events.sight import look

    sight = look(data) if data else None
    if not backend.is_llm or backend.name.startswith("local:"):
        return by_rules(request, sight)
    try:
        return by_model(request, sight, backend)
    except BackendLost as error:
        raise ValueError(f"the request could not be read: {error}") from None


def _accepted(card: Card, here: bool) -> Card:
    """Return the card once somebody has accepted it, perhaps edited."""
    from agents.intake.card import Card

    if not here:
        err.print(Text("Nobody is here to accept this card: add --yes, or give it as a file with --card."))
        raise typer.Exit(2)
    while True:
        answer = typer.prompt("Carry it out? yes, edit, no", default="yes", err=True).strip().lower()
        if answer in ("yes", "y"):
            return card
        if answer in ("no", "n"):
            raise typer.Exit(2)
        if answer in ("edit", "e") and (text := click.edit(card.text(), extension=".yaml")):
            card = Card.of(text)
            _show(card)


def _show(card: Card) -> None:
    from agents.intake.rules import told
    from agents.trace.words import visible

    title = told(card.task)
    err.print(Panel(Text(visible(card.text().rstrip())), title=Text(f"understood as: {title}"), title_align="left"))

"""Answers without a model: rules that look up in the record what a question is about, and say what they cannot."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from agents.ask import chosen, looks
from agents.ask.material import Material

NEW_WORK = re.compile(
    r"\b(what if|what happens|instead|wider|narrower|larger|smaller|more|less|other|try|redo|repeat|rerun|without|"
    r"would|could|should)\b",
    re.IGNORECASE,
)
CAN = (
    "what was claimed and what the harness found, which settings were handed in and tried, what changed between "
    "iterations, why it ended, costs, times, errors, options, approvals, plans, steps, tools, events by number (#12)"
)


class Rule(NamedTuple):
    """Words of a question, and who looks up what it asks for."""

    words: re.Pattern[str]
    look: Callable[[Material, str], list[str]]


def _rule(words: str, look: Callable[[Material, str], list[str]]) -> Rule:
    return Rule(re.compile(rf"\b({words})", re.IGNORECASE), look)


RULES = (
    _rule(r"cost|dollar|price|token|expens|cheap|money|budget|spen[dt]|pa(y|id)", looks.cost),
    _rule(r"how long|slow|fast|time\b|times\b|minutes?|hours?|seconds?|duration", looks.time),
    _rule(r"error|fail|wrong|problem|trouble|crash|refuse|lost\b", looks.troubles),
    _rule(r"chang|differ|improv|gain|between (the )?iteration|iterations?\b", looks.changes),
    _rule(r"option|setting|parameter|seed|config|version|input", looks.options),
    _rule(r"approv|allowed|who said|operator|person|unblind|answered", looks.approvals),
    _rule(r"(why|when|how).*\b(stop|end|converge|finish)|decision|decide", looks.decisions),
    _rule(
        r"claim|answer|result|conclu|f(ou|i)nd|number|agree|traced|p-value|signific|believe|trust|confirm|audit",
        looks.claim,
    ),
    _rule(r"plan|steps?\b|method|(what|how) did (it|they|the crew) (do|work|go)|what was done|approach", looks.plans),
)
# A question about something without a rule of its own is most often about what came out.
PLAIN = _rule(r"(is|are|was|were) there|how (many|much|large|big|sure|certain)|what (is|are|was|were) the", looks.claim)


def by_rules(question: str, material: Material) -> tuple[str, bool, bool]:
    """Return the text of an answer, whether it is one, and whether the question needs new work."""
    needs_work = bool(NEW_WORK.search(question))
    found = looks.events_named(material, question) or chosen.settings(material, question)
    found += chosen.names(material, question)
    if not found:
        for rule in RULES:
            if rule.words.search(question):
                found += rule.look(material, question)
    if not found and PLAIN.words.search(question):
        found = PLAIN.look(material, question)
    if not found:
        text = f"The built-in analyst looks up what the record says, and has no rule for this question. It knows {CAN}."
        return f"{text} A model (--model) understands more.", False, needs_work
    return "\n".join(dict.fromkeys(found)), True, needs_work

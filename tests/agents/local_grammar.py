"""A slow, plain reader of the GBNF that the local backend writes: as a regular expression, and as a random writer."""

from __future__ import annotations

import json
import random
import re

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z][A-Za-z0-9-]*|\{\d+(?:,\d+)?\}|[|()?]')
LETTERS = [chr(code) for code in range(32, 127)] + ["é", "µ"]


def rules(text: str) -> dict[str, list[str]]:
    """Name -> tokens of its body."""
    return {name: TOKEN.findall(body) for name, body in (line.split(" ::= ", 1) for line in text.splitlines())}


def expression(text: str) -> str:
    """The grammar as one regular expression: it has no recursion."""
    book = rules(text)

    def of(name: str) -> str:
        return "(?:" + "".join(piece(token) for token in book[name]) + ")"

    def piece(token: str) -> str:
        if token.startswith('"'):
            return "(?:" + re.escape(json.loads(token)) + ")"
        if token[0].isalpha():
            return of(token)
        return "(?:" if token == "(" else token

    return of("root")


def matches(text: str, value: str) -> bool:
    return re.fullmatch(expression(text), value) is not None


def generate(text: str, seed: int) -> str:
    """A random text of the grammar."""
    book, rng = rules(text), random.Random(seed)

    def options(tokens: list[str]) -> str:
        """One of the alternatives, written."""
        parts: list[list[str]] = [[]]
        depth = 0
        for token in tokens:
            depth += (token == "(") - (token == ")")
            if token == "|" and depth == 0:
                parts.append([])
            else:
                parts[-1].append(token)
        return sequence(rng.choice(parts))

    def sequence(tokens: list[str]) -> str:
        written, at = "", 0
        while at < len(tokens):
            start = at
            if tokens[at] == "(":
                depth = 1
                while depth:
                    at += 1
                    depth += (tokens[at] == "(") - (tokens[at] == ")")
            at += 1
            unit, times = tokens[start:at], 1
            if at < len(tokens) and tokens[at][0] in "{?":
                low, _, high = tokens[at].strip("{}").partition(",")
                times = rng.randint(0, 1) if low == "?" else rng.randint(int(low), min(int(high or low), int(low) + 3))
                at += 1
            written += "".join(one(unit) for _ in range(times))
        return written

    def one(unit: list[str]) -> str:
        first = unit[0]
        if first == "(":
            return options(unit[1:-1])
        if first.startswith('"'):
            return str(json.loads(first))
        if first.startswith("["):
            return rng.choice([letter for letter in LETTERS if re.fullmatch(first, letter)])
        return options(book[first])

    return options(book["root"])

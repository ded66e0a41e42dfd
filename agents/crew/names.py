"""The files that a recorded command names: what it may have read, as far as its text tells.

A tool call names files in its arguments, defaults included. A script can be told only by its text: each string, and
each expression that joins strings (f-strings, `+`, `/`, `%`, `format`, `join`), is a pattern with gaps, and names all
files that match it. Scripts that list folders, import code of the crew or start programs may read anything.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from agents.trace.events import Executed, ToolCalled
from sandbox.driver import WORKSPACE
from tools.catalogue import CATALOGUE
from tools.contract import ToolError

INPUTS = "/inputs"
# Functions and modules after which a script's text no longer tells what it reads.
LISTING = frozenset({"glob", "iglob", "rglob", "iterdir", "listdir", "scandir", "walk", "fwalk", "chdir", "system"})
RUNNING = frozenset({"exec", "eval", "__import__"})
STARTING = frozenset({"subprocess", "importlib", "runpy"})
RENAMING = frozenset({"with_name", "with_suffix", "with_stem"})
JOINING = frozenset({"join", "joinpath", "Path", "PurePath", "PosixPath", "PurePosixPath"})
WILDCARD = re.compile(r"\*+|\?|\[[^\]]*\]")
FORMAT = re.compile(r"%[-+ #0-9.*]*[a-zA-Z]|%\([^)]*\)[-+ #0-9.*]*[a-zA-Z]")
BRACES = re.compile(r"\{[^{}]*\}")
LONGEST = 4096  # characters of a path
Pieces = tuple[str, ...]  # a path in pieces, with a gap between any two of them


@dataclass
class Names:
    """What a command names."""

    exact: set[str] = field(default_factory=set)  # absolute paths
    patterns: set[Pieces] = field(default_factory=set)  # the same with gaps; without a first piece, any folder's
    written: set[Pieces] = field(default_factory=set)  # those written as absolute paths of the workspace
    modules: set[str] = field(default_factory=set)  # imported by a script
    anything: str = ""  # why it may have read anything; '' if its text tells

    def match(self, path: str, near: bool = True) -> bool:
        """Return whether a workspace path, or a folder around it, is named.

        `near=False`: not by a pattern without a first piece, which would match files of all steps.
        """
        full = PurePosixPath(WORKSPACE, path)
        places = [str(place) for place in (full, *full.parents)]
        return any(place in self.exact for place in places) or any(
            fits(pieces, place) for pieces in self.patterns if pieces[0] or near for place in places
        )

    def beginnings(self) -> set[str]:
        """Return how the named paths begin."""
        return self.exact | {pieces[0] for pieces in self.patterns}

    def add(self, pieces: Pieces) -> None:
        if len(pieces) > 1:
            self.patterns.add(pieces)
        elif pieces[0] != "/":  # on its own it separates things
            self.exact.add(pieces[0])


def fits(pieces: Pieces, path: str) -> bool:
    """Return whether a path has all pieces in order, begins with the first and ends with the last.

    >>> fits(("/a/scores_", ".npy"), "/a/scores_11.npy"), fits(("", "/b.npy"), "/a/b.npy"), fits(("/a",), "/a/b")
    (True, True, False)
    """
    first, *middle = pieces
    if not middle:
        return path == first
    if not path.startswith(first) or not path.endswith(middle[-1]):
        return False
    at, end = len(first), len(path) - len(middle[-1])
    for piece in middle[:-1]:
        found = path.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end


def names_of(event: Executed, read: Callable[[str], bytes]) -> Names:
    """Return what a recorded command names; `read` returns a blob."""
    if isinstance(event, ToolCalled):
        return _of_call(event)
    script = event.given.get(event.argv[1]) if len(event.argv) > 1 and event.argv[0] == "python" else None
    if script is None:
        return Names(anything="its command line is not that of a script")
    try:
        tree = ast.parse(read(script))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Names(anything="its script cannot be parsed here")
    reader = _Script(event.cwd)
    for text in event.argv[2:]:
        reader.add([text])
    try:
        reader.visit(tree)
    except RecursionError:
        reader.names.anything = "its script is nested too deeply"
    return reader.names


def _of_call(event: ToolCalled) -> Names:
    names = Names()
    try:
        arguments = CATALOGUE[event.tool].parse(event.arguments).model_dump(mode="json")
    except (KeyError, ToolError):
        return Names(anything=f"the defaults of {event.tool} are not known here")
    for text in texts(arguments):
        path = posixpath.normpath(posixpath.join(event.cwd, text))
        names.add((path,))
        if text.startswith(f"{WORKSPACE}/"):
            names.written.add((path,))
    return names


def texts(value: Any) -> Iterator[str]:
    """Yield all strings among the values of a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


class _Script(ast.NodeVisitor):
    """Collects the names in a script that runs in the folder `cwd`."""

    def __init__(self, cwd: str) -> None:
        self.names, self._cwd = Names(), cwd

    def visit(self, node: ast.AST) -> None:
        parts = _parts(node) if isinstance(node, ast.expr) else [node]
        if parts == [node]:
            super().visit(node)
            return
        self.add([part if isinstance(part, str) else None for part in parts])
        for part in parts:
            if not isinstance(part, str):
                self.visit(part)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in RUNNING:  # as a method, eval means something else
            self._unknown(f"its script uses {node.id}")
        self._called(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._called(node.attr)
        self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imported(node.module or "")
        for alias in node.names:
            self._called(alias.name)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in RENAMING:
            for given in node.args:
                self.add([None, *(part if isinstance(part, str) else None for part in _parts(given)), None])
        self.generic_visit(node)

    def _unknown(self, why: str) -> None:
        self.names.anything = self.names.anything or why

    def _called(self, name: str) -> None:
        if name in LISTING:
            self._unknown(f"its script uses {name}")

    def _imported(self, module: str) -> None:
        top = module.split(".")[0]
        if top in STARTING | LISTING:
            self._unknown(f"its script imports {top}")
        self.names.modules.add(top)
        for name in CATALOGUE:
            if CATALOGUE.place(name).split(":")[0] == module:
                self.add([name])

    def add(self, parts: Sequence[str | None]) -> None:
        """Add the pattern of a text in which None stands for what only the running script knew."""
        if len(parts) == 1 and parts[0] in CATALOGUE:
            for default in _defaults(str(parts[0])):
                self.add([default])
            return
        pieces = _pieces(parts)
        if not any(pieces) or max(map(len, pieces)) > LONGEST or any("\n" in piece for piece in pieces):
            return
        first = pieces[0]
        if re.fullmatch(r"\.\w+", first):  # a suffix, to be put after some name
            pieces = ["", *pieces]
        elif first:
            pieces[0] = posixpath.normpath(posixpath.join(self._cwd, first))
            if first.endswith("/") and len(pieces) > 1:
                pieces[0] += "/"
        if any(".." in piece.split("/") for piece in pieces):
            self._unknown("its script climbs folders")
        self.names.add(tuple(pieces))
        if first.startswith(f"{WORKSPACE}/"):
            self.names.written.add(tuple(pieces))


def _defaults(tool: str) -> list[str]:
    """Return the names that a tool uses if a script that calls it gives none."""
    return [found.default for found in CATALOGUE[tool].request.model_fields.values() if isinstance(found.default, str)]


def _pieces(parts: Sequence[str | None]) -> list[str]:
    """Return the texts between the gaps of a pattern; wildcards of a file pattern are gaps as well."""
    pieces, gap = [""], False
    for part in parts:
        if part is None:
            gap = True
            continue
        for number, text in enumerate(WILDCARD.split(part)):
            gap = gap or number > 0
            if gap and text:
                pieces.append(text)
                gap = False
            else:
                pieces[-1] += text
    return [*pieces, ""] if gap else pieces


def _parts(node: ast.AST) -> list[str | ast.AST]:
    """Return an expression as texts and gaps, in order; the node itself if it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [part for value in values for part in _parts(value)]
        case ast.FormattedValue(value=value):
            return [value]
        case ast.BinOp(left=left, op=ast.Add() | ast.Div() as op, right=right):
            before, after = _parts(left), _parts(right)
            if any(isinstance(part, str) for part in [*before, *after]):
                return [*before, *(["/"] if isinstance(op, ast.Div) else []), *after]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            return _filled(FORMAT.split(text), right)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"), args=args):
            return _filled(BRACES.split(text), *args, *(keyword.value for keyword in node.keywords))
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args) if name in JOINING:
            return _joined(args, node)
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=[_, *_] as args) if name in JOINING:
            if not isinstance(value, ast.Constant):  # ", ".join(...) makes a list
                return _joined([value, *args] if name == "joinpath" else args, node)
    return [node]


def _joined(parts: Sequence[ast.expr], node: ast.AST) -> list[str | ast.AST]:
    """Return the parts of a path that is put together from folders and a name."""
    joined: list[str | ast.AST] = []
    for part in parts:
        joined += [*(["/"] if joined else []), *_parts(part)]
    return joined if any(isinstance(piece, str) and piece != "/" for piece in joined) else [node]


def _filled(pieces: Sequence[str], *gaps: ast.expr) -> list[str | ast.AST]:
    """Return texts with gaps between them; the last one holds all that is left to fill in."""
    found: list[str | ast.AST] = [pieces[0]]
    for number, piece in enumerate(pieces[1:]):
        rest = gaps[number:] if number == len(pieces) - 2 else gaps[number : number + 1]
        found += [ast.Tuple(elts=list(rest)), piece]
    return found

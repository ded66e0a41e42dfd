"""A worker's submission: files of its workspace, and what the grader has to know about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import Field

from tools.contract import Frozen

MAX_BYTES = 512 * 2**20  # of a submitted file


class _InWorkspace:
    """Mark of the fields that name a file."""


File = Annotated[str, _InWorkspace()]  # a path in the workspace; `files` and `placed` find the fields of this type


class Submission(Frozen):
    """Hand in the result of the step."""

    method: str = Field("", description="how it was made, in a line")

    @classmethod
    def file_fields(cls) -> list[str]:
        """Return the fields that name files; the first one names the result itself."""
        return [name for name, field in cls.model_fields.items() if _InWorkspace in map(type, _marks(field))]

    def files(self) -> dict[str, str]:
        """Return the path of each submitted file by field."""
        named = {name: getattr(self, name) for name in self.file_fields()}
        return {name: path for name, path in named.items() if path is not None}

    def placed(self, place: Callable[[str], str]) -> Self:
        """Return the same submission with its paths mapped by `place`."""
        return self.model_copy(update={name: place(path) for name, path in self.files().items()})


def _marks(field: object) -> list[object]:
    """Return all metadata of a field's annotation, also inside an optional type."""
    marks = list(getattr(field, "metadata", ()))
    waiting = [getattr(field, "annotation", None)]
    while waiting:
        annotation = waiting.pop()
        marks += getattr(annotation, "__metadata__", ())
        waiting += getattr(annotation, "__args__", ())
    return marks

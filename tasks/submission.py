"""What a worker hands in: files of its workspace, and what the grader has to know about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import Field

from tools.contract import Frozen

MAX_BYTES = 512 * 2**20  # of a file that is handed in


class _InWorkspace:
    """Marks the fields that name a file."""


File = Annotated[str, _InWorkspace()]  # a path in the workspace; `files` and `placed` know which fields these are


class Submission(Frozen):
    """Hand in the result of the step."""

    method: str = Field("", description="a line on how it was made")

    @classmethod
    def file_fields(cls) -> list[str]:
        """The fields that name files; in the first of them lies the result itself."""
        return [name for name, field in cls.model_fields.items() if _InWorkspace in map(type, _marks(field))]

    def files(self) -> dict[str, str]:
        """Field -> path of each file that is handed in."""
        named = {name: getattr(self, name) for name in self.file_fields()}
        return {name: path for name, path in named.items() if path is not None}

    def placed(self, place: Callable[[str], str]) -> Self:
        """The same with other paths."""
        return self.model_copy(update={name: place(path) for name, path in self.files().items()})


def _marks(field: object) -> list[object]:
    """What an annotation says beside the type, also inside an optional one."""
    marks = list(getattr(field, "metadata", ()))
    waiting = [getattr(field, "annotation", None)]
    while waiting:
        annotation = waiting.pop()
        marks += getattr(annotation, "__metadata__", ())
        waiting += getattr(annotation, "__args__", ())
    return marks

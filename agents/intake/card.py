"""The card: which task, which data, which options, and what is still to be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError

from tasks.intake import Question
from tools.contract import Frozen


class Card(Frozen):
    """How a request was understood."""

    request: str = Field(description="what was asked")
    task: str = Field(description="name of the task that answers it")
    data: str | None = Field(None, description="file or folder of the operator")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the task")
    questions: list[Question] = Field(default_factory=list, description="what must be known before anything is spent")
    remarks: list[str] = Field(default_factory=list, description="what was assumed or left out")
    model_calls: int = Field(0, ge=0, description="calls of the model that filled it")
    usage: dict[str, float] = Field(default_factory=dict, description="its tokens and dollars")

    def arguments(self) -> dict[str, Any]:
        """Return the options of the task, the data among them."""
        return self.options | ({"data": self.data} if self.data else {})

    def given(self, request: str, data: Path | None, options: dict[str, Any]) -> Self:
        """Return the card with what the operator has given; a question about a given option is answered."""
        said = {name: value for name, value in options.items() if name != "data"}
        left = [question for question in self.questions if question.about not in said]
        update = {"request": request, "data": str(data) if data else self.data, "options": self.options | said}
        return self.model_copy(update=update | {"questions": left})

    def document(self) -> dict[str, Any]:
        """Return the card as a JSON document, without what is empty."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value not in (None, [], {}, 0)}

    def text(self) -> str:
        """Return the card as YAML, without what is empty."""
        return str(yaml.safe_dump(self.document(), sort_keys=False, allow_unicode=True, width=100))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the card in a file. Raises ValueError that names the file, the field and what is allowed."""
        return cls.of(path.read_text(), str(path))

    @classmethod
    def of(cls, text: str, where: str = "card") -> Self:
        """Return the card in a text. Raises ValueError that says where and what is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError(f"{where}: not YAML ({error})") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{where}: {'.'.join(map(str, first['loc'])) or 'card'}: {first['msg']}") from None

"""Steps of a training, plain or robust: the one place where the loops of all trainings move inputs or weights.

Settings are {"kind": "fgsm"}, {"kind": "pgd"}, {"kind": "sam"} or {"kind": "sparse_sam"} with their numbers, or a bare
kind. Of a training's seconds a plain step takes one pass, fgsm and the sams two, pgd as many as its steps and one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from tools.contract import ToolError, named
from tools.robust.attacks import Fgsm, Pgd, Reach
from tools.robust.weights import Sam, SparseSam

Robust = Annotated[
    Annotated[Fgsm | Pgd | Sam | SparseSam, Field(discriminator="kind")] | None,
    BeforeValidator(named),
    Field(description="'fgsm' or 'pgd' (moved inputs), 'sam' or 'sparse_sam' (moved weights), alone or with settings"),
]
# The same where the schema shows the kinds alone, which is all that most callers need, in a tenth of the text.
ByName = Annotated[Robust, WithJsonSchema({"enum": [None, "fgsm", "pgd", "sam", "sparse_sam"]})]


@dataclass(frozen=True)
class Steps:
    """Plain steps, or robust ones. `reach`: which inputs may move, and how far epsilon = 1 moves them.

    Raises ToolError for an attack on inputs of which none may move.
    """

    robust: Fgsm | Pgd | Sam | SparseSam | None = None
    reach: Reach | None = None

    def __post_init__(self) -> None:
        if isinstance(self.robust, Fgsm | Pgd) and self.reach is None:
            raise ToolError(
                "robust", self.robust.kind, "'sam' or 'sparse_sam': the inputs of this training cannot move"
            )

    def optimizer(self, make: Any, groups: Any, total: int, **options: Any) -> Any:
        """Return the optimiser of the class `make` for `total` steps."""
        if isinstance(self.robust, Sam | SparseSam):
            return self.robust.optimizer(make, groups, total, **options)
        return make(groups, **options)

    def inputs(self, x: Any, loss: Callable[[Any], Any], done: float) -> Any:
        """Return the inputs to train on; `loss(x)` is that of the batch, `done` the fraction of the training done."""
        if not isinstance(self.robust, Fgsm | Pgd):
            return x
        assert self.reach is not None
        import torch

        chosen = torch.rand(len(x), device=x.device) < self.robust.share * done
        moved = self.robust.move(x, loss, self.reach(x))
        return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), moved, x)

    def take(self, optimizer: Any, gradient: Callable[[], Any]) -> None:
        """Take a step by the gradients that are there; `gradient()` puts new ones in their place, at moved weights."""
        if isinstance(self.robust, Sam | SparseSam):
            optimizer.step(gradient)
        else:
            optimizer.step()

"""Weights moved against a network: sharpness-aware minimisation, whole or sparse.

Each step takes its gradient at w + e, where the loss is about the highest within rho of the weights w,

    e = rho g / |g|,    g = dL/dw,

so that training prefers flat minima (SAM: Foret et al., arXiv:2010.01412). The sparse form (SSAM: Mi et al.,
arXiv:2210.05177) moves only a part of the weights; `sparse.py` says which.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tools.contract import Frozen, ToolError


class Sam(Frozen):
    """All weights move by rho along the gradient before it is taken again: two passes a step."""

    kind: Literal["sam"] = "sam"
    rho: float = Field(0.05, gt=0, le=10, description="distance by which the weights move")
    adaptive: bool = Field(False, description="move large weights more (ASAM, arXiv:2102.11600)")

    def optimizer(self, make: Any, groups: Any, total: int, **options: Any) -> Any:
        """Return an optimiser around one of the class `make`; `options` are those of `make`."""
        return _package("SAM")(groups, make, rho=self.rho, adaptive=self.adaptive, **options)


class SparseSam(Frozen):
    """Only some of the weights move: those with the largest Fisher information, or a set that changes in training."""

    kind: Literal["sparse_sam"] = "sparse_sam"
    rho: float = Field(0.05, gt=0, le=10, description="distance by which all weights together would move")
    sparsity: float = Field(0.5, ge=0, lt=1, description="fraction of the weights that do not move")
    mask: Literal["fisher", "dynamic"] = Field("fisher", description="SSAM-F or SSAM-D")

    def optimizer(self, make: Any, groups: Any, total: int, **options: Any) -> Any:
        """Return an optimiser around one of the class `make` for `total` steps; `options` are those of `make`."""
        _package("SAM")
        from tools.robust.sparse import SparseSAM

        return SparseSAM(groups, make, self.sparsity, self.mask, total, rho=self.rho, **options)


def _package(name: str) -> Any:
    """Return a class of pytorch_optimizer; ToolError where it is not installed."""
    try:
        import pytorch_optimizer
    except ModuleNotFoundError as error:
        raise ToolError("robust", error.name, "is not installed here; the extra `jets` of beamcrew has it") from None
    return getattr(pytorch_optimizer, name)

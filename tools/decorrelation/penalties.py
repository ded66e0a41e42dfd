"""What a training adds to its loss, or to its weights, so that a score does not depend on the mass.

- DisCo (arXiv:2001.05310): the squared distance correlation of score and mass of the background.
- MoDe (arXiv:2010.09745): with F_b(s) the distribution of scores in the b-th of bins in mass, and its best polynomial
  in b of degree l (moments of Legendre polynomials up to l),

      sum over bins of int [F_b(s) - polynomial_b(s)]^2 ds.

  The paper integrates on a grid of scores. Here int (F_b - F_c)^2 ds = E|x - y| - E|x - x'|/2 - E|y - y'|/2, with x of
  b and y of c (Szekely's energy distance), gives the sum in closed form: with the projection R = 1 - P_l and
  D_bc = E|x_b - x_c|, it is -trace(R D R) / 2, because the rows of R sum to 0.
- Planing (arXiv:1709.10106): weights that give signal and background the same spectrum, which teaches no mass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.dependence import edges
from tools.types import Floats

LEAST = 8  # events in a bin of mass


def distance_correlation(x: Any, y: Any) -> Any:
    """Return the squared distance correlation of tensors (n, d) and (n, p): 0 for independent samples, at most 1."""
    import torch

    def centred(values: Any) -> Any:
        apart = values[:, None] - values[None]
        distance = apart[:, :, 0].abs() if values.shape[1] == 1 else torch.sqrt((apart**2).sum(dim=2) + 1e-12)
        return distance - distance.mean(dim=0) - distance.mean(dim=1, keepdim=True) + distance.mean()

    a, b = centred(x), centred(y)
    return (a * b).mean() / torch.sqrt((a * a).mean() * (b * b).mean() + 1e-20)


def moments(score: Any, place: Any, bins: int, degree: int) -> Any:
    """Return MoDe's sum over bins, divided by their number; score (n,) and bin in mass `place` (n,) are tensors.

    Bins with fewer than LEAST events are left out.
    """
    import torch

    member = torch.nn.functional.one_hot(place, bins).to(score.dtype)
    member = member[:, member.sum(dim=0) >= LEAST]
    share = member / member.sum(dim=0)
    apart = share.T @ (score[:, None] - score[None]).abs() @ share  # D
    # Of n events of one bin, n of the n^2 pairs are an event with itself.
    n = member.sum(dim=0)
    apart = apart * (1 + torch.diag(1 / (n - 1)))
    left = residual(len(n), degree).to(score.dtype)
    return -torch.trace(left @ apart @ left) / (2 * len(n))


def residual(bins: int, degree: int) -> Any:
    """Return the projection (bins, bins) that takes polynomials of this degree out of values in bins."""
    import torch

    x = np.linspace(-1, 1, bins)
    q, _ = np.linalg.qr(np.polynomial.legendre.legvander(x, min(degree, bins - 1)))
    return torch.as_tensor(np.eye(bins) - q @ q.T)


def planing(mass: Floats, is_signal: NDArray[np.bool_], bins: int) -> Floats:
    """Return weights (n,), at most 1 before they are normalised to mean 1 in each class: spectra become equal.

    With spectra p_S and p_B in bins, signal gets p_B / (p_S + p_B) and background p_S / (p_S + p_B): both then follow
    p_S p_B / (p_S + p_B). ValueError if they share no bin.
    """
    place = np.searchsorted(edges(mass, bins), mass, "right")
    signal, background = (np.bincount(place[rows], minlength=bins) / rows.sum() for rows in (is_signal, ~is_signal))
    share = (signal / np.maximum(signal + background, 1e-12))[place]
    weight = np.where(is_signal, 1 - share, share)
    if not min(weight[is_signal].sum(), weight[~is_signal].sum()) > 0:
        raise ValueError("signal and background have no mass in common")
    return np.asarray(np.where(is_signal, weight / weight[is_signal].mean(), weight / weight[~is_signal].mean()))

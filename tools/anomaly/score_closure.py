"""Closure test of a classifier's own score in signal-free data. A strong model can select events that the background
estimate does not describe, which a test of the features alone would never show (arXiv:2603.23593).

The classifier, trained in the signal region, scores events that it never saw: data in a held-out part of the sidebands,
and template events made for that part by a fit that left it out. There are three questions:

- closure: do both have the same distribution of scores (AUC 0.5), and does the same fraction pass each cut of the
  search? If n of N data and k of K template events pass, the template predicts k N / K: Fisher's exact test;
- sculpting: is the fraction of sideband events that pass smooth in mjj (`tools.bumphunt.sculpting`)?

The p-values of the first two are combined into one, those of the third into another, each as the probability of so
small a minimum among as many tests (Sidak; conservative, since the tests are correlated). Below ALPHA there is a
warning: with nothing wrong, each of the two occurs in at most 1% of searches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.bumphunt.counting import sidak
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.sculpting import sculpting
from tools.contract import Frozen
from tools.metrics import auc, auc_error
from tools.normal import p_value
from tools.types import Floats

ALPHA = 0.01
KEPT = 12  # sideband events that a cut must keep to be tested, as in the bump hunt


class CutClosure(Frozen):
    """Held-out sideband data and template after one cut."""

    efficiency: float = Field(description="fraction of all sideband events that the cut keeps")
    passing: int = Field(description="held-out data events that pass")
    expected: float = Field(description="number predicted by the template")
    expected_error: float = Field(description="statistical error of the template")
    p_value: float = Field(description="p-value for equal passing fractions of data and template")
    smooth_p: float = Field(description="p-value for a passing fraction of the sidebands that is smooth in the mass")


class ScoreClosure(Frozen):
    """Closure test of the classifier's own score, outside the signal region."""

    n_data: int
    n_template: int
    auc: float = Field(description="AUC of the score, held-out data against its template; 0.5 is perfect")
    auc_error: float
    cuts: list[CutClosure]
    p_closure: float = Field(description="combined p-value of AUC and passing fractions")
    p_sculpting: float = Field(
        description="combined p-value, over all cuts, for passing fractions that are smooth in the mass"
    )

    @property
    def warning(self) -> str | None:
        """Return why the score must not be trusted; None when it closes."""
        said = []
        if self.p_closure < ALPHA:
            text = (
                f"the score does not close (p = {self.p_closure:.1g}): outside the signal region the classifier can "
                f"tell data from the background template, AUC {self.auc:.3f} +- {self.auc_error:.3f}"
            )
            if self.cuts:
                worst = min(self.cuts, key=lambda cut: cut.p_value)
                text += (
                    f", and at background efficiency {worst.efficiency:g} {worst.passing} events pass where the "
                    f"template predicts {worst.expected:.0f} +- {worst.expected_error:.0f}"
                )
            said.append(f"{text}. Do not estimate the background after a cut on this score from the template.")
        if self.p_sculpting < ALPHA:
            worst = min(self.cuts, key=lambda cut: cut.smooth_p)
            said.append(
                f"the score sculpts the mass (p = {self.p_sculpting:.1g}): at background efficiency "
                f"{worst.efficiency:g} the passing fraction of the sidebands is not smooth. Do not trust a bump after "
                "this cut."
            )
        return " ".join(text[0].upper() + text[1:] for text in said) or None


def score_closure(
    data: Floats, template: Floats, sidebands: Floats, mjj: Floats, efficiencies: list[float] | None = None
) -> ScoreClosure:
    """Test the scores of held-out data (n,) against its template (m,), and of all sideband events (k,) with mjj.

    A cut at an efficiency keeps that fraction of the sideband events; cuts that keep fewer than KEPT are left out.
    """
    value = auc(data, template)
    n, m = len(data), len(template)
    error = auc_error(0.5, n, m)
    ordered = np.sort(sidebands)
    cuts = []
    for efficiency in efficiencies or EFFICIENCIES:
        kept = round(efficiency * len(sidebands))
        if kept >= KEPT:
            cuts.append(_behind(ordered[-kept], efficiency, data, template, sidebands, mjj))
    p_values = [2 * p_value(abs(value - 0.5) / error), *(cut.p_value for cut in cuts)]
    return ScoreClosure(
        n_data=n,
        n_template=m,
        auc=value,
        auc_error=error,
        cuts=cuts,
        p_closure=sidak(min(p_values), len(p_values)),
        p_sculpting=sidak(min((cut.smooth_p for cut in cuts), default=1.0), max(len(cuts), 1)),
    )


def _behind(
    cut: float, efficiency: float, data: Floats, template: Floats, sidebands: Floats, mjj: Floats
) -> CutClosure:
    from scipy.stats import fisher_exact  # slow to import

    passing, passed = _counts(data, cut), _counts(template, cut)
    return CutClosure(
        efficiency=efficiency,
        passing=int(passing[0]),
        expected=float(passed[0] * len(data) / len(template)),
        # One more event, so that the error is not 0 when none passes.
        expected_error=float(np.sqrt(passed[0] + 1) * len(data) / len(template)),
        p_value=min(1.0, float(fisher_exact(np.array([passing, passed])).pvalue)),
        smooth_p=sculpting(mjj, sidebands >= cut).smooth_p,
    )


def _counts(score: Floats, cut: float) -> NDArray[np.int64]:
    """Return the numbers of events that pass and fail."""
    passing = int((score >= cut).sum())
    return np.array([passing, len(score) - passing])

"""The Python file that the analyst writes for a cut study; its constants are defined at its top."""

CUT_STUDY = """
# Does the excess depend on one lucky cut? Significance and fitted mass over a range of cuts, and a figure.
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from tools.bumphunt.inputs import load_weighted
from tools.bumphunt.measure import measure, usable
from tools.bumphunt.spectrum import signal_shape

mass, score, weight = load_weighted(EVENTS, SCORES)
in_sidebands = np.sum((mass < WINDOW[0]) | (mass >= WINDOW[1]))
efficiencies = np.geomspace(max(5e-4, 12 / in_sidebands), 0.1, 8)  # a cut has to keep some events
if weight is not None:
    efficiencies = usable(efficiencies.tolist(), mass, tuple(WINDOW), score, weight)
cuts = [measure(mass, score, tuple(WINDOW), float(e), tuple(FIT_RANGE), weight=weight) for e in efficiencies]
for cut in cuts:
    fit = cut.fit
    print(f"efficiency {cut.efficiency:.2g}: z = {fit.z:.2f}, mass {fit.mass:.4g} +- {fit.mass_error:.2g} {UNIT}, "
          f"{fit.signal:.0f} +- {fit.signal_error:.0f} events")

best = max(cuts, key=lambda cut: cut.fit.z)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
left.semilogx(efficiencies, [cut.fit.z for cut in cuts], "o-")
left.set(xlabel="background efficiency of the cut", ylabel="local significance")
spectrum, fit = best.spectrum, best.fit
signal = fit.signal * spectrum.seen * signal_shape(spectrum.edges, fit.mass, fit.width)
passed, error = spectrum.passed / spectrum.scale, np.sqrt(spectrum.passed) / spectrum.scale
background = fit.background / spectrum.scale
right.errorbar(spectrum.centres, passed, error, fmt="k.", label="data")
right.stairs(background, spectrum.edges, label="background")
right.stairs(background + signal, spectrum.edges, label="with signal")
near = (spectrum.edges > 0.75 * fit.mass) & (spectrum.edges < 1.3 * fit.mass)
right.set(xlabel=f"{COLUMN} [{UNIT}]", ylabel=f"events, efficiency {best.efficiency:.2g}",
          xlim=(spectrum.edges[near][0], spectrum.edges[near][-1]))
right.legend()
figure.savefig("cut_study.png", dpi=110)
"""

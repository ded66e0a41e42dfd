"""Weak supervision for resonance searches: a background template for the signal region, then data against template."""

from tools.anomaly.cathode import cathode_template
from tools.anomaly.classify import classify
from tools.anomaly.sideband import sideband_template

__all__ = ["cathode_template", "classify", "sideband_template"]

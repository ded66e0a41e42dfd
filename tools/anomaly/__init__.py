"""Weak supervision for resonance searches: a background template for the signal region, then data against template."""

from tools.anomaly.classify import classify
from tools.anomaly.jets_classify import jet_classify
from tools.anomaly.jets_template import jet_template
from tools.anomaly.latent import latent
from tools.anomaly.template import template

__all__ = ["classify", "jet_classify", "jet_template", "latent", "template"]

"""Weakly supervised resonance search: background templates for the signal region and data-template classifiers."""

from tools.anomaly.classify import classify
from tools.anomaly.jets_classify import jet_classify
from tools.anomaly.jets_template import jet_template
from tools.anomaly.latent import latent
from tools.anomaly.survey import survey
from tools.anomaly.template import template

__all__ = ["classify", "jet_classify", "jet_template", "latent", "survey", "template"]

"""Resonances in a mass spectrum on a smooth background: found, counted, limited, injected."""

from tools.spectrum.hunt import hunt
from tools.spectrum.inject import inject
from tools.spectrum.limit import limit
from tools.spectrum.window import count_window

__all__ = ["count_window", "hunt", "inject", "limit"]

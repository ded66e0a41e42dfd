"""Resonances in a mass spectrum, found and counted on a smooth background."""

from tools.spectrum.hunt import hunt
from tools.spectrum.window import count_window

__all__ = ["count_window", "hunt"]

"""A narrow bump on a smooth background in mjj, after a cut on a score."""

from tools.bumphunt.scan import scan

__all__ = ["scan"]

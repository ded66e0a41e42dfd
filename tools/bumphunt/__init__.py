"""A bump on a smooth background in mjj, after a cut on a score."""

from tools.bumphunt.hunt import cut_and_count
from tools.bumphunt.region import measure_region
from tools.bumphunt.scan import scan
from tools.bumphunt.sculpting import sculpting_test

__all__ = ["cut_and_count", "measure_region", "scan", "sculpting_test"]

"""Repeating an analysis script: on all data, on halves and on bootstrap resamples, to see what its errors are worth.

The contract of a script is its command line, `analysis.py DATA OUT`, and the file that it writes, OUT/results.json
(`results.py`).
"""

from tools.analysis.repeat import repeat
from tools.analysis.results import Answer, Results

__all__ = ["Answer", "Results", "repeat"]

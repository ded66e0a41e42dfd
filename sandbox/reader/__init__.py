"""The only way files leave a workspace: what lies there was made by generated code and is believed in nothing.

Each component of a path is opened by itself, never through a link, and what was checked is what is read: the checks
look at the open file. Formats are those that only hold numbers or pixels; nothing is ever unpickled or executed, and
files of arrays are parsed in a process of their own.
"""

from sandbox.reader.arrays import read_npz, read_parquet, read_safetensors
from sandbox.reader.documents import PNG_START, read_json, read_png
from sandbox.reader.files import Listing, UnsafeFile, list_files, read_bytes

__all__ = [
    "PNG_START",
    "Listing",
    "UnsafeFile",
    "list_files",
    "read_bytes",
    "read_json",
    "read_npz",
    "read_parquet",
    "read_png",
    "read_safetensors",
]

"""The only way files leave a workspace, whose content was made by generated code and is not trusted at all.

Each component of a path is opened by itself, never through a link, and checks apply to the open file, so that the file
read is the file checked. Only formats that hold plain numbers or pixels are read; nothing is ever unpickled or
executed, and files of arrays are parsed in a separate process.
"""

from sandbox.reader.arrays import pixels, read_npz, read_parquet, read_safetensors
from sandbox.reader.documents import PNG_START, read_json, read_png
from sandbox.reader.files import Listing, UnsafeFile, list_files, read_bytes

__all__ = [
    "PNG_START",
    "Listing",
    "UnsafeFile",
    "list_files",
    "pixels",
    "read_bytes",
    "read_json",
    "read_npz",
    "read_parquet",
    "read_png",
    "read_safetensors",
]

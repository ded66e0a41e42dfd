"""Opening HDF5 files and reading their data sets, with nothing missing.

HDF5 fills what it cannot find with zeros: the parts of a virtual data set whose source is gone, and external storage.
Links to other files may lead nowhere. Here each of these is an error that names the missing part; so is a compression
filter that is not installed. Files are opened without locks, which network disks often do not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.contract import ToolError

# Registered numbers of filters that are not part of HDF5 itself.
FILTERS = {
    305: "lzo",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32026: "blosc2",
}
DEEPEST = 16  # groups within each other: links can make cycles


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file to read.

    Raises ToolError for a file that is not HDF5, empty, cut off, or whose links and data sets need files that are not
    there; FileNotFoundError if there is no file.
    """
    import h5py

    if path.is_file() and not path.stat().st_size:
        raise ToolError("path", str(path), "a file with data; it is empty (0 bytes)")
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ToolError("path", str(path), f"not a readable HDF5 file ({error})") from None
    with file:
        for name, node in nodes(path, file):
            if isinstance(node, h5py.Dataset):
                _whole(path, name, node)
        yield file


def nodes(path: Path, group: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (name, group or data set) of everything below an open group; ToolError for a link that leads nowhere."""
    import h5py

    for key in group:
        name = f"{group.name.rstrip('/')}/{key}"
        link = group.get(key, getlink=True)
        try:
            node = group[key]
        except (KeyError, OSError) as error:
            there = f"{link.path!r} of the file {link.filename!r}" if isinstance(link, h5py.ExternalLink) else None
            there = there or (f"{link.path!r}" if isinstance(link, h5py.SoftLink) else f"an object ({error})")
            allowed = f"the file is not whole: {name} is a link to {there}, which is missing"
            raise ToolError("path", str(path), allowed) from None
        yield name, node
        if isinstance(node, h5py.Group) and depth < DEEPEST and not isinstance(link, h5py.SoftLink):
            yield from nodes(path, node, depth + 1)


def rows_of(path: Path, data: Any, start: int = 0, stop: int | None = None) -> Any:
    """Return rows start..stop of a data set; ToolError names a missing filter, or says that the file is damaged."""
    _filters(path, data)
    try:
        return data[start:stop]
    except (OSError, RuntimeError) as error:
        allowed = f"{data.name} cannot be read: the file is damaged, get it anew ({error})"
        raise ToolError("path", str(path), allowed) from None


def _filters(path: Path, data: Any) -> None:
    import h5py

    made = data.id.get_create_plist()
    for code, _, _, text in (made.get_filter(k) for k in range(made.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            known = FILTERS.get(code, text.decode(errors="replace") or "unknown")
            raise ToolError(
                "path",
                str(path),
                f"{data.name} is compressed with the filter {known} ({code}), which is not installed: save the file "
                "again with gzip, e.g. h5repack -f GZIP=4 where the filter is installed",
            )


def _whole(path: Path, name: str, data: Any) -> None:
    """Raise ToolError unless all files are there from which a data set is put together."""
    folder = Path(data.file.filename).parent
    for part, _, _ in data.external or ():
        if not (folder / part).is_file():
            allowed = f"the file is not whole: {name} is stored in the file {str(part)!r}, which is missing"
            raise ToolError("path", str(path), allowed)
    if not data.is_virtual:
        return
    filled = 0
    for source in data.virtual_sources():
        _source(path, name, data, source)
        filled += source.vspace.get_select_npoints()
    if filled < data.size:
        allowed = f"the file is not whole: {name} has {data.size} values, its sources give {filled}"
        raise ToolError("path", str(path), allowed)


def _source(path: Path, name: str, data: Any, source: Any) -> None:
    """Raise ToolError unless a source of a virtual data set can be read as a whole."""
    import h5py

    said = f"the file is not whole: {name} takes data from {source.dset_name!r} of the file {source.file_name!r}, "
    if source.file_name == ".":
        missing = None if source.dset_name in data.file else "which has no such data set"
    else:
        there = [p for p in (Path(data.file.filename).parent / source.file_name, Path(source.file_name)) if p.is_file()]
        if not there:
            raise ToolError("path", str(path), said + "which is missing")
        try:
            with h5py.File(there[0], "r", locking=False) as file:
                found = file.get(source.dset_name)
                missing = None if isinstance(found, h5py.Dataset) else "which has no such data set"
                if isinstance(found, h5py.Dataset):
                    _filters(there[0], found)
                    if found.size < source.vspace.get_select_npoints():
                        missing = f"which has only {found.size} values there"
        except OSError as error:
            missing = f"which cannot be read ({error})"
    if missing:
        raise ToolError("path", str(path), said + missing)

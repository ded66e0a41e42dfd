"""The operator's files that a client may name: those below the allowed folders, and copies of them for the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.arrays import sha256
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.names import is_label
from tools.events.parquet import write_events
from tools.files import LONGEST

ODD = re.compile(r"[^A-Za-z0-9_.+-]")  # characters that a copy's name does not have
COPY_MAX = 4 << 30  # bytes of a file that is copied


class Roots:
    """Folders from which a client may name files. `closed`: a folder that stays out even if it lies in one of them.

    Hidden files stay out as well: keys are often kept in them.
    """

    def __init__(self, folders: Sequence[Path], closed: Path) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise ValueError(f"root={folder}: must be a folder")
        self.folders = [folder.resolve() for folder in folders]
        self._closed = closed.resolve()

    def place(self, field: str, path: str) -> Path:
        """Return the file or folder that a path means, without links; a relative one may lie in any of the folders.

        Raises ToolError naming `field` for everything outside, also for a folder with links that lead out.
        """
        try:
            found = next((each for root in self.folders if (each := root / path).exists()), None)
            real = found.resolve(strict=True) if found else None
        except (OSError, ValueError):  # a NUL byte, a loop of links, a name that is too long
            real = None
        if real is None or not self._within(real):
            raise ToolError(field, path, self._allowed())
        if real.is_dir():
            led_out = (each for each in real.rglob("*") if each.is_symlink() and not self._within(each.resolve()))
            if any(led_out):
                raise ToolError(field, path, f"a folder without links that lead out of it; {self._allowed()}")
        return real

    def copied(self, field: str, path: str, into: Path) -> Path:
        """Copy a file, read-only, into a folder under a harmless name; the same content is there only once.

        Raises ToolError naming `field`. What was opened is checked, and not only its name: that could change meanwhile.
        """
        real = self.place(field, path)
        if not real.is_file():  # opening a pipe or a device can have effects
            raise ToolError(field, path, f"must be a file; {self._allowed()}")
        with os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as source:
            status, opened = os.fstat(source.fileno()), Path(f"/proc/self/fd/{source.fileno()}").readlink()
            if not stat.S_ISREG(status.st_mode) or not self._within(opened):
                raise ToolError(field, path, f"must be a file; {self._allowed()}")
            if status.st_size > COPY_MAX:
                raise ToolError(field, path, f"has {status.st_size} bytes; at most {COPY_MAX} are copied")
            part = into / ".part"
            with part.open("wb") as target:
                shutil.copyfileobj(source, target)
        part.chmod(0o444)
        return part.rename(_free(into, real.name, sha256(part)))

    def checked(self, field: str, value: Any) -> Any:
        """Return options in which every text that is a path of this machine leads to an allowed place.

        Raises ToolError naming the option. Relative paths of existing files become absolute.
        """
        if isinstance(value, dict):
            return {name: self.checked(f"{field}.{name}", item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.checked(field, item) for item in value]
        return str(self.place(field, value)) if isinstance(value, str) and self._is_path(value) else value

    def _is_path(self, text: str) -> bool:
        try:
            return text.startswith(("/", "~")) or any((root / text).exists() for root in [*self.folders, Path.cwd()])
        except (OSError, ValueError):
            return False

    def _within(self, real: Path) -> bool:
        if real.is_relative_to(self._closed):
            return False
        return any(
            real.is_relative_to(root) and not any(part.startswith(".") for part in real.relative_to(root).parts)
            for root in self.folders
        )

    def _allowed(self) -> str:
        return f"what is not hidden in {', '.join(map(str, self.folders))}, and not in the folder of runs"


def as_parquet(copy: Path) -> Path | None:
    """Write the numbers of a copied table beside it as parquet, which tools read, and return its path; None if it is
    parquet, or no table. Columns whose names say that they are labels are left out."""
    if copy.suffix == ".parquet":
        return None
    try:
        table = read_table(copy)
    except ToolError:
        return None
    numbers = {name: each for name, each in table.items() if each.dtype.kind in "fiub" and not is_label(name)}
    target = copy.with_name(f"{copy.name}.parquet")
    if not numbers or target.exists():
        return target if numbers else None
    write_events(target, numbers)
    target.chmod(0o444)
    return target


def _free(into: Path, name: str, content: str) -> Path:
    """Return the path for a copy: a harmless form of its name, with part of its hash if another file has that name."""
    plain = Path(ODD.sub("_", name)[-LONGEST // 2 :].lstrip(".-") or "file")
    for target in (into / plain, into / f"{plain.stem}-{content[:12]}{plain.suffix}"):
        if not target.exists() or sha256(target) == content:
            return target
    raise AssertionError("two files with one hash")

"""What keeps secrets secret where code and seeds are public: a random salt of the run, kept with the sealed files.

Mixing, hold-out, audit and sealed simulation follow from the task's seed and the salt together. Agents and sandboxes
never see the salt; once the run has ended its trace names it, and the same salt makes the same run again.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

FILE = "salt"  # in the sealed folder


def fresh() -> str:
    """128 random bits, in hexadecimal digits."""
    return secrets.token_hex(16)


def secret_seed(salt: str, seed: int) -> int:
    """The first 128 bits of SHA-256(salt/seed); without a salt the seed itself, for data sets that hide nothing."""
    return int(hashlib.sha256(f"{salt}/{seed}".encode()).hexdigest()[:32], 16) if salt else seed


def keep(sealed_folder: Path, salt: str) -> None:
    """Put it beside the labels."""
    sealed_folder.mkdir(parents=True, exist_ok=True)
    path = sealed_folder / FILE
    path.touch(0o600)
    path.write_text(salt)


def kept(sealed_folder: Path) -> str:
    """The salt of a run; '' for one that was made without."""
    path = sealed_folder / FILE
    return path.read_text() if path.exists() else ""

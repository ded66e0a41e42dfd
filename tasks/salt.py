"""A random salt per run, kept with the sealed files: it keeps secrets secret although code and seeds are public.

Mixing, hold-out, audit and sealed simulation are drawn from the task's seed and the salt together. Agents and sandboxes
never see the salt; once the run has ended, its trace names it, and with the same salt the run can be reproduced.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

FILE = "salt"  # in the sealed folder


def fresh() -> str:
    """Return 128 random bits in hexadecimal digits."""
    return secrets.token_hex(16)


def secret_seed(salt: str, seed: int) -> int:
    """Return the first 128 bits of SHA-256(salt/seed); without a salt the seed itself, if nothing is to be hidden."""
    return int(hashlib.sha256(f"{salt}/{seed}".encode()).hexdigest()[:32], 16) if salt else seed


def keep(sealed_folder: Path, salt: str) -> None:
    """Store the salt in the sealed folder."""
    sealed_folder.mkdir(parents=True, exist_ok=True)
    path = sealed_folder / FILE
    path.touch(0o600)
    path.write_text(salt)


def kept(sealed_folder: Path) -> str:
    """Return the salt of a run; '' for a run without one."""
    path = sealed_folder / FILE
    return path.read_text() if path.exists() else ""

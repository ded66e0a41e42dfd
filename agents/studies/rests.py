"""Services whose quota is spent, as files in the study's folder: they rest, so that no cell asks them in vain.

A rest ends when the quota refills, if the service said when that is, or when the study is started again.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from agents.backends.base import Quota
from agents.studies.study import Arm
from tools.contract import Frozen
from tools.files import write_whole

RESTS = ".rests"  # no backend of a study, whose folders are beside it, can have this name


class Rest(Frozen):
    """A service that is not asked for now."""

    service: str
    refills: float | None = Field(description="when its quota refills, if it said so [seconds since the epoch]")

    @property
    def over(self) -> bool:
        return self.refills is not None and time.time() >= self.refills


def service_of(arm: Arm) -> str:
    """Return the account that an arm spends: the service's host and the variable with the key.

    >>> service_of(Arm(name="a", kind="openai", model="m"))
    'api.openai.com (OPENAI_API_KEY)'
    """
    return f"{urlsplit(arm.base_url).netloc} ({arm.api_key_env})" if arm.kind == "openai" else arm.kind


def rest(folder: Path, arm: Arm, quota: Quota) -> None:
    """Let the service of an arm rest."""
    made = Rest(service=service_of(arm), refills=quota.refills)
    path = _path(folder, made.service)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, made.model_dump_json().encode())


def resting(folder: Path, arm: Arm) -> Rest | None:
    """Return the rest of an arm's service; None if it may be asked."""
    try:
        found = Rest.model_validate_json(_path(folder, service_of(arm)).read_bytes())
    except FileNotFoundError:
        return None
    return None if found.over else found


def wake(folder: Path) -> None:
    """End all rests."""
    for path in (folder / RESTS).glob("*.json"):
        path.unlink(missing_ok=True)


def _path(folder: Path, service: str) -> Path:
    return folder / RESTS / f"{hashlib.sha256(service.encode()).hexdigest()[:16]}.json"

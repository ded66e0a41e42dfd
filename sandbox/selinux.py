"""Whether SELinux judges what a container may read."""

from __future__ import annotations

from pathlib import Path

ENFORCE = Path("/sys/fs/selinux/enforce")


def enforcing() -> bool:
    """Return whether SELinux refuses what its rules do not allow, such as the operator's files in a container.

    Containers are then started without a label of their own (`label=disable`): to relabel the operator's inputs would
    change files that are not ours. All other walls stand.
    """
    try:
        return ENFORCE.read_text().strip() == "1"
    except OSError:
        return False

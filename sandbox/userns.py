"""Why a host lets nobody but root make user namespaces, which bubblewrap, Apptainer and rootless engines need.

That a program is installed says nothing: only running it does. When that fails, the kernel's settings say why.
"""

from __future__ import annotations

from pathlib import Path

SYSCTL = Path("/proc/sys")
# Ubuntu since 23.10: a profile that changes nothing but this right.
PROFILE = """abi <abi/4.0>,
profile NAME PATH flags=(unconfined) { userns, }
"""


def advice(program: str, otherwise: str) -> str:
    """Return what forbids user namespaces here and what helps; `program` needs them, `otherwise` what does not."""
    if setting("user/max_user_namespaces") == 0:
        why = "this host allows no user namespaces: as root, sysctl user.max_user_namespaces=10000"
    elif setting("kernel/unprivileged_userns_clone") == 0:
        why = "only root may make user namespaces: as root, sysctl kernel.unprivileged_userns_clone=1"
    elif setting("kernel/apparmor_restrict_unprivileged_userns") == 1:
        text = PROFILE.replace("NAME", Path(program).name).replace("PATH", program).strip().replace("\n", " ")
        why = (
            f"AppArmor lets only programs with a profile use user namespaces: as root, write '{text}' to "
            f"/etc/apparmor.d/{Path(program).name} and load it (apparmor_parser -r), or "
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    else:
        why = "user namespaces may be forbidden here, as in most containers (--security-opt seccomp=unconfined there)"
    return f"{why}; {otherwise}"


def setting(name: str) -> int | None:
    """Return a setting of the kernel, or None if it has no such setting."""
    try:
        return int((SYSCTL / name).read_text())
    except (OSError, ValueError):
        return None

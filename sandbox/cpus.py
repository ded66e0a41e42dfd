"""CPUs for a sandbox without a cgroup that would share them out: preferably ones that no other sandbox uses."""

from __future__ import annotations

import os
import random
import socket


class Cpus:
    """`n` of the CPUs that this process may use, or all if there are fewer: free ones first.

    A CPU is reserved by an abstract socket with its name, which the kernel releases when the process ends, however that
    happens. Two concurrent runs on the same CPU would take twice as long while another CPU is idle.
    """

    def __init__(self, n: int) -> None:
        self._seats: list[socket.socket] = []
        usable = list(os.sched_getaffinity(0))
        random.shuffle(usable)
        free = [cpu for cpu in usable if len(self._seats) < n and self._take(cpu)]
        self.chosen = frozenset([*free, *(cpu for cpu in usable if cpu not in free)][:n])

    def _take(self, cpu: int) -> bool:
        seat = socket.socket(socket.AF_UNIX)
        try:
            seat.bind(f"\0beamcrew/cpu/{cpu}")
        except OSError:
            seat.close()
            return False
        self._seats.append(seat)
        return True

    def release(self) -> None:
        """Release the CPUs. May be called again."""
        for seat in self._seats:
            seat.close()

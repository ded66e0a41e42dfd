"""Which CPUs a sandbox keeps to that has no cgroup to share them out: those that no other sandbox keeps to."""

from __future__ import annotations

import os
import random
import socket


class Cpus:
    """`n` of the CPUs that this process may use, or all if they are fewer: free ones first.

    A CPU is taken by an abstract socket of its name, which the kernel gives back with the process, however that ends.
    Two runs side by side that had drawn the same CPU would take twice as long while another lies idle.
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
        """Leave them to others. May be called again."""
        for seat in self._seats:
            seat.close()

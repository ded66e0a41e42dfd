"""Figures: what a model sees of the PNG files that its commands make.

The files are not trusted: only their pixels come out of the reader's guarded process, and are drawn again here, small.
A model that cannot see is told names and sizes. What is shown is recorded, since libraries of another version would
draw other bytes.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from agents.backends.base import Figure
from agents.crew.shared import Crew
from agents.trace.events import Executed, Seen
from agents.trace.record import canonical_key
from sandbox.reader import UnsafeFile, pixels

SIDE = 768  # pixels; larger figures are made smaller, as services do it too
LARGEST = 200_000  # bytes of a figure
MOST = 4  # figures of one command


def look(crew: Crew, event: Executed) -> Seen | None:
    """Return the figures that a command made or changed; None without any."""
    made = {path: sha for path, sha in sorted(event.files.items()) if path.lower().endswith(".png")}
    if not made:
        return None
    key = canonical_key(made)
    seen = crew.record.take(Seen, key, event.where, made)
    return seen or crew.store.append(_drawn(crew, key, event, made))


def told(seen: Seen) -> dict[str, Any]:
    """Return figures in words: names, sizes, and what is not shown."""
    shown = {figure.name: f"{figure.width} x {figure.height} pixels" for figure in seen.figures}
    return {"figures": shown | {name: f"not shown: {why}" for name, why in seen.refused.items()}}


def _drawn(crew: Crew, key: str, event: Executed, made: dict[str, str]) -> Seen:
    figures, refused = list[Figure](), dict[str, str]()
    for path, sha in made.items():
        name = PurePosixPath(path).name
        if len(figures) == MOST:
            refused[name] = f"only {MOST} figures of one command are"
            continue
        try:
            picture = pixels(path, crew.store.get(sha), SIDE)
        except UnsafeFile as error:
            refused[name] = error.reason
            continue
        data = encoded(picture)
        while len(data) > LARGEST:  # noise, which does not compress
            picture = picture[::2, ::2]
            data = encoded(picture)
        height, width = picture.shape[:2]
        known = crew.store.put(data)
        figures.append(Figure(name=name, width=width, height=height, sha256=known))
    return Seen(key=key, where=event.where, figures=figures, refused=refused)


def encoded(picture: np.ndarray) -> bytes:
    """Return a PNG file of pixels (height, width, 3)."""
    from PIL import Image  # imported only when there is something to show

    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(held, "PNG", optimize=True)
    return held.getvalue()

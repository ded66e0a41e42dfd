"""A record that is only played: anything not recorded stops the replay and reports the first difference."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from agents.trace.differences import differences, shown
from agents.trace.events import AnyEvent, Event, Executed, Graded, ModelCalled, OutsideCalled
from agents.trace.record import Record, said, where_of
from agents.trace.store import Store
from agents.trace.where import Where

E = TypeVar("E", bound=Event)
PATIENCE = 10.0  # seconds; playing takes milliseconds


class Differs(RuntimeError):  # noqa: N818 - a finding, not an error of the program
    """The replay asked for something that was not recorded: where, the first field that differs, both values."""


class RecordEnds(RuntimeError):  # noqa: N818 - the expected end when the run was interrupted
    """The run was cut off here: nothing more was recorded for this place."""


class Strict(Record):
    """A record that never goes live. `ended`: the run ended regularly; otherwise its record may stop anywhere.

    When it stops for one worker, the others play on until nothing was played for `patience` seconds.
    """

    def __init__(self, store: Store, ended: bool, patience: float = PATIENCE) -> None:
        super().__init__(store.events())
        self._store, self._ended, self._patience = store, ended, patience

    def _missed(self, kind: type[Event], where: Where | None, asked: dict[str, Any]) -> AnyEvent | None:
        name = kind.model_fields["kind"].default
        there = [e for e in self.unplayed() if e.kind == name and where_of(e) == where]
        who = f"{name} {where or ''}".strip()
        if there:
            path, recorded, now = next(differences(self._document(there[0]), asked))
            raise Differs(f"{who}, line {there[0].index + 1}: {path} was {recorded}, the replay has {now}")
        if self._ended:
            raise Differs(f"{who}: the replay has more of these than the record: {shown(asked)}")
        self.wait_for_others(self._patience)
        raise RecordEnds(f"{who}: the record ends here")

    def recorded(self, kind: type[E]) -> E:
        """Return, without playing it, the next event of a kind that is not recomputed. Raises RecordEnds, Differs."""
        found = next((event for event in self.unplayed() if isinstance(event, kind)), None)
        if found is None:
            self._missed(kind, None, {})
        assert found is not None
        return found

    def _document(self, event: AnyEvent) -> Any:
        """Return what was asked or noted when an event was recorded."""
        if isinstance(event, ModelCalled):
            return json.loads(self._store.get(event.request))
        document = said(event)
        match event:
            case Executed():
                names = ["argv", "cwd", "given"]
            case OutsideCalled():
                names = ["tool", "arguments"]
            case Graded():
                names = ["iteration", "submission"]
            case _:
                names = list(document)
        return {name: document[name] for name in names}

"""What a request and a folder say about a tagger: which file holds jets of another simulation, if that is asked."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.intake import Intake, Offer, Question
from tasks.tagging.samples import FILE
from tools.events.sight import Sight

WORDS = (r"\btag(ging|ger|s)?\b", r"labels", r"told? from QCD|top jets|tell .* from QCD")
NAMES = r"herwig|vincia|sherpa|dire\b|alternative|data-?like"
ANOTHER = r"\b(an)?other|second|different|its|alternative"
SIMULATION = r"simulations?|generators?|(parton )?showers?|monte carlo|samples?"
ASKED = re.compile(rf"{NAMES}|({ANOTHER}) ({SIMULATION})|domain shift", re.IGNORECASE)
PATH = re.compile(r"[\w./~+-]+\.(?:h5|hdf5|root)\b")
OF_ANOTHER = re.compile(rf"{NAMES}|other", re.IGNORECASE)  # in the name of a file

AGAIN = ", which the crew does not get: its commands run once more at the end."


class TaggingIntake(Intake):
    """A folder with jets.h5, or none: the shipped jets."""

    def __init__(self) -> None:
        super().__init__(WORDS, (FILE,))

    def offer(self, request: str, sight: Sight | None) -> Offer:
        remarks = list(super().offer(request, sight).remarks)
        named = [found for found in PATH.findall(request) if Path(found).name != FILE]
        lying = [part for part in sight.parts if PATH.fullmatch(part) and OF_ANOTHER.search(part)] if sight else []
        found = named or [str(Path(sight.path) / part) for part in lying if sight]
        if not ASKED.search(request):
            if lying:
                said = f"Looks like jets of another simulation and is not used: {', '.join(lying)} (option `other`)."
                remarks.append(said)
            return Offer(remarks=remarks)
        if len(found) == 1:
            remarks.append(f"The tagger is also tested on the jets of {found[0]}{AGAIN}")
            return Offer(options={"other": found[0]}, remarks=remarks)
        text = (
            "Which file holds the jets of the other simulation? They need labels, tops among them. `beamcrew data "
            "simulate jets FILE --kinds quark,gluon,top --tune vincia --events 3000` makes some with another shower."
        )
        return Offer(questions=[Question(about="other", text=text)], remarks=remarks)

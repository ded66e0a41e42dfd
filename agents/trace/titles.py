"""One line for each event: what lists of events call it."""

from __future__ import annotations

from agents.trace import words
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    BudgetNear,
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Executed,
    GatesChecked,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    Repeated,
    Reviewed,
    RunFinished,
    RunResumed,
    RunStarted,
    SandboxRenewed,
    Sealed,
    Seen,
    ServiceAdapted,
    StepFinished,
    StepStarted,
    Told,
    ToolCalled,
    Trouble,
)
from agents.trace.result import ANSWERED
from agents.trace.words import duration
from tasks.writing import label, measured


def titled(event: AnyEvent) -> tuple[str, str, bool | None]:
    """Return title, note and success of an event (None: neither success nor failure)."""
    match event:
        case RunStarted():
            return "Run started", f"{event.backend}, in {event.sandbox.driver} {event.sandbox.version}", None
        case RunResumed():
            return "Run resumed", f"in {event.sandbox.driver} {event.sandbox.version}", None
        case SandboxRenewed():
            return "Fresh sandbox", f"lost at {event.where}, back after {duration(event.seconds)}", None
        case ServiceAdapted():
            return "Adapted to service", event.text, None
        case CanaryChecked():
            return ("Canaries held" if event.held else "Canaries did not hold"), "", event.held
        case ModelCalled():
            return f"{event.role} asks the model", event.model, None
        case ToolCalled():
            why = event.error or {}
            return event.tool, "; ".join(f"{name}: {text}" for name, text in why.items()), event.error is None
        case Executed():
            ok = event.exit_code == 0 and event.ended == "exit"
            note = "" if ok else f"{event.ended}, exit status {event.exit_code}"
            return " ".join(event.argv), note, ok
        case OutsideCalled():
            return f"{event.tool} (outside)", words.outside(event), event.ended == "answered"
        case Told():
            what = "a file" if "file" in event.facts else "time and budget"
            return f"Told of {what}", ", ".join(f"{name} {value}" for name, value in event.facts.items()), None
        case Seen():
            shown = ", ".join(figure.name for figure in event.figures)
            return f"{len(event.figures)} figures for the model", shown, None
        case Planned():
            return f"Plan of {len(event.plan.steps)} steps", "", None
        case GatesChecked():
            what = f"{len(event.findings)} findings" if event.findings else "nothing"
            return f"Gates of the {event.where.step}: {what}", "; ".join(f.text for f in event.findings), None
        case Reviewed():
            title = f"Review: {event.where.step} {'sent back' if event.send_back else 'may stay'}"
            return title, event.skipped or " ".join(event.reasons), None
        case Asked():
            return f"Asks a person: {event.gate}", event.text, None
        case Answered():
            return f"Answered: {event.answer}", words.answer(event), event.answer != "no"
        case BudgetNear():
            return "Budget nearly used up", words.near(event), None
        case StepStarted():
            return f"Step {event.step} started", "", None
        case StepFinished():
            done = event.observation
            return f"Step {done.step} {'done' if done.ok else 'failed'}", "", done.ok
        case Graded():
            score = event.score
            value = measured(score.value, score.error) if score.ok else "submission refused"
            return f"{label(score.metric).capitalize()}: {value}", score.reason, score.ok
        case Decided():
            return f"Decision: {event.decision.action}", event.decision.reason, None
        case Repeated():
            what = "all commands" if event.why_all else f"{len(event.left_out)} commands left out"
            return f"Repeats {len(event.parts)} commands", "; ".join(filter(None, (what, event.why_all))), None
        case Confirmed():
            score = event.score
            value = measured(score.value) if score.ok else "not confirmed"
            return f"{label(score.metric).capitalize()}: {value}", score.reason, score.ok
        case Claimed():
            return event.headline, "", None
        case Sealed():
            return "Sealed metrics opened", ", ".join(metric.name for metric in event.metrics), None
        case Trouble():
            return f"Trouble for the {event.who}", f"{event.where}: {event.text}", False
        case RunFinished():
            return f"Run {event.status}", event.reason, event.status in ANSWERED

"""The graph of a run: plan -> work (in parallel, wave by wave) -> grade -> plan again, or confirm -> report."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from agents.crew.confirm import audit, confirm
from agents.crew.memory import memory
from agents.crew.planner import plan
from agents.crew.reporter import report
from agents.crew.shared import Crew, ModelFailed
from agents.crew.worker import Worker
from agents.trace.events import Audited, Confirmed, Decided, Trouble
from agents.trace.observation import Observation
from agents.trace.where import Where
from tasks.claim import Claim
from tasks.convergence import Decision, decide, nothing
from tasks.plan import Plan, Step
from tasks.score import CheckedNumber, Score
from tasks.submission import Submission


class State(TypedDict, total=False):
    """The state passed between nodes. Lists only grow."""

    iteration: int
    plan: Plan | None
    observations: Annotated[list[Observation], operator.add]
    scores: Annotated[list[Score], operator.add]
    submissions: Annotated[list[Submission | None], operator.add]
    decision: Decision
    confirmed: Score | None  # of the best submission, repeated on held-out data, after the audit
    claim: Claim | None
    checks: list[CheckedNumber]
    step: Step  # the step sent to a worker


def build(crew: Crew) -> Any:
    """Return the compiled graph of a run."""
    rule = crew.task.rule

    def planning(state: State) -> State:
        iteration = len(state.get("scores", []))
        try:
            made = plan(crew, *_so_far(state))
        except ModelFailed as error:
            crew.note(Trouble(who="model", where=Where("planner", iteration), text=str(error)))
            made = None
        if made is None or not made.stop:
            return {"iteration": iteration, "plan": made}
        if made.null_result:
            decision = nothing(made.reasoning)
        else:
            best, reason = state["decision"].best, f"the planner expects no further gain: {made.reasoning}"
            decision = Decision(action="converged", best=best, reason=reason)
        crew.note(Decided(iteration=iteration, decision=decision))
        return {"iteration": iteration, "plan": made, "decision": decision}

    def waiting(state: State) -> State:
        return {}

    def next_wave(state: State) -> list[Send] | str:
        if state["plan"] is None:
            return "grade"
        if state["plan"].stop:
            return "confirm"
        done = {o.step for o in _current(state, state["iteration"])}
        ready = [s for s in state["plan"].steps if s.id not in done and set(s.depends_on) <= done]
        return [Send("work", state | {"step": step}) for step in ready] or "grade"

    def working(state: State) -> State:
        step = state["step"]
        done = {o.step: o for o in _current(state, state["iteration"]) if o.step in step.depends_on}
        scores, earlier = state.get("scores", []), memory(*_so_far(state))
        return {"observations": [Worker(crew, state["iteration"], step, scores, earlier).work(done)]}

    def grading(state: State) -> State:
        iteration = state["iteration"]
        handed_in = next((o.submission for o in _current(state, iteration) if o.submission), None)
        submission = crew.task.submission.model_validate(handed_in) if handed_in else None
        null = next((o.null_result for o in _current(state, iteration) if o.null_result), "")
        score = crew.grader.grade(iteration, submission, null)
        decision = decide([*state.get("scores", []), score], rule)
        if null and decision.action != "continue":
            decision = nothing(null)  # the last word of the crew, whatever it had submitted before
        crew.note(Decided(iteration=iteration, decision=decision))
        return {"scores": [score], "submissions": [submission], "decision": decision}

    def verdict(state: State) -> str:
        return "plan" if state["decision"].action == "continue" else "confirm"

    def confirming(state: State) -> State:
        best = state["decision"].best
        submission = None if best is None else state["submissions"][best]
        if not crew.confirms or best is None or submission is None:
            return {"confirmed": None}
        chosen, handed_in = state["scores"][best], submission.model_dump(mode="json")
        crew.meter.check(Where("claim"), model_call=False)
        score = confirm(crew.again, best, submission, chosen)
        crew.note(Confirmed(iteration=best, submission=handed_in, score=score))
        if crew.task.audit and (audited := audit(crew.again, best, submission, chosen, score)):
            crew.note(Audited(iteration=best, submission=handed_in, score=audited))
            score = audited
        return {"confirmed": score}

    def reporting(state: State) -> State:
        try:
            claim, checks = report(crew, state["scores"], state["observations"], state["decision"], state["confirmed"])
        except ModelFailed as error:
            crew.note(Trouble(who="model", where=Where("reporter"), text=str(error)))
            return {"claim": None, "checks": []}
        return {"claim": claim, "checks": checks}

    graph = StateGraph(State)
    graph.add_node("plan", planning)
    graph.add_node("wait", waiting)
    graph.add_node("work", working)
    graph.add_node("grade", grading)
    graph.add_node("confirm", confirming)
    graph.add_node("report", reporting)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "wait")
    graph.add_conditional_edges("wait", next_wave, ["work", "grade", "confirm"])
    graph.add_edge("work", "wait")
    graph.add_conditional_edges("grade", verdict, ["plan", "confirm"])
    graph.add_edge("confirm", "report")
    graph.add_edge("report", END)
    return graph.compile()


def _so_far(state: State) -> tuple[list[Score], list[Submission | None], list[Observation]]:
    """Return the scores and submissions of all iterations that have ended, and all observations."""
    return state.get("scores", []), state.get("submissions", []), state.get("observations", [])


def _current(state: State, iteration: int) -> list[Observation]:
    return [o for o in state.get("observations", []) if o.iteration == iteration]

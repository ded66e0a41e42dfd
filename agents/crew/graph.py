"""The graph of a run: plan -> work (in parallel, wave by wave) -> grade -> plan again, or confirm -> report."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from agents.crew.approval import Remark, approve_plan, approve_start, approve_unblinding
from agents.crew.confirm import audit, confirm
from agents.crew.memory import memory
from agents.crew.planner import plan
from agents.crew.reporter import report
from agents.crew.reviewer import review_plan, review_result
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
    review: dict[str, Any]  # what the reviewer sent back in this iteration or in the one before, with its reasons
    reopened: bool  # the run would have ended, had the reviewer not sent back its result
    remarks: Annotated[list[Remark], operator.add]  # what the operator said when asked
    confirmed: Score | None  # of the best submission, repeated on held-out data, after the audit
    claim: Claim | None
    checks: list[CheckedNumber]
    step: Step  # the step sent to a worker


def build(crew: Crew) -> Any:
    """Return the compiled graph of a run."""
    from langgraph.graph import END, START, StateGraph  # slow to import

    nodes, graph = Nodes(crew), StateGraph(State)
    graph.add_node("agree", nodes.agree)
    graph.add_node("plan", nodes.plan)
    graph.add_node("wait", nodes.wait)
    graph.add_node("work", nodes.work)
    graph.add_node("grade", nodes.grade)
    graph.add_node("unblind", nodes.unblind)
    graph.add_node("confirm", nodes.confirm)
    graph.add_node("report", nodes.report)
    graph.add_edge(START, "agree")
    graph.add_edge("agree", "plan")
    graph.add_edge("plan", "wait")
    graph.add_conditional_edges("wait", next_wave, ["work", "grade", "unblind"])
    graph.add_edge("work", "wait")
    graph.add_conditional_edges("grade", after_grade, ["plan", "unblind"])
    graph.add_conditional_edges("unblind", after_unblind, ["plan", "confirm"])
    graph.add_edge("confirm", "report")
    graph.add_edge("report", END)
    return graph.compile()


def next_wave(state: State) -> list[Any] | str:  # langgraph resolves these types when it builds the graph
    """Return all steps whose dependencies are done; the next node if there are none."""
    from langgraph.types import Send

    if state["plan"] is None:
        return "grade"
    if state["plan"].stop:
        return "unblind"
    done = {o.step for o in _current(state, state["iteration"])}
    ready = [s for s in state["plan"].steps if s.id not in done and set(s.depends_on) <= done]
    return [Send("work", state | {"step": step}) for step in ready] or "grade"


def after_grade(state: State) -> str:
    """Return the node that follows a grade."""
    return "plan" if state["decision"].action == "continue" else "unblind"


def after_unblind(state: State) -> str:
    """Return the node that follows the question whether to open the held-out inputs."""
    return "plan" if state["decision"].action == "continue" else "confirm"


class Nodes:
    """The nodes of the graph: each returns its changes to the state."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def agree(self, state: State) -> State:
        return {"remarks": approve_start(self._crew)}

    def plan(self, state: State) -> State:
        iteration, review = len(state.get("scores", [])), state.get("review", {})
        made = self._planned(state, review)
        if made and self._crew.reviews:
            scores, _, observations = _so_far(state)
            if reasons := review_plan(self._crew, made, scores, observations):
                review = review | {"plan": made.model_dump(mode="json"), "reasons_plan": reasons}
                made = self._planned(state, review) or made
        said: list[Remark] = []
        while made and (new := approve_plan(self._crew, made, iteration)):
            said += [remark | {"plan": made.model_dump(mode="json")} for remark in new]
            made = self._planned(state, review, said) or made
        if made is None or not made.stop:
            return {"iteration": iteration, "plan": made, "review": review, "remarks": said}
        if made.null_result:
            decision = nothing(made.reasoning)
        else:
            best, reason = state["decision"].best, f"the planner expects no further gain: {made.reasoning}"
            decision = Decision(action="converged", best=best, reason=reason)
        self._crew.note(Decided(iteration=iteration, decision=decision))
        return {"iteration": iteration, "plan": made, "decision": decision, "remarks": said}

    def _planned(self, state: State, review: dict[str, Any], said: Sequence[Remark] = ()) -> Plan | None:
        """Return a plan; None if the model gives none. `review`: what was sent back; `said`: what the operator said."""
        try:
            return plan(self._crew, *_so_far(state), review, [*state.get("remarks", []), *said])
        except ModelFailed as error:
            where = Where("planner", len(state.get("scores", [])))
            self._crew.note(Trouble(who="model", where=where, text=str(error)))
            return None

    def wait(self, state: State) -> State:
        return {}

    def work(self, state: State) -> State:
        step, iteration = state["step"], state["iteration"]
        done = {o.step: o for o in _current(state, iteration) if o.step in step.depends_on}
        scores, earlier = state.get("scores", []), memory(*_so_far(state))
        worker = Worker(self._crew, iteration, step, scores, earlier, _reasons(state))
        return {"observations": [worker.work(done)]}

    def grade(self, state: State) -> State:
        iteration, task = state["iteration"], self._crew.task
        observations = _current(state, iteration)
        handed_in = next((o.submission for o in observations if o.submission), None)
        submission = task.submission.model_validate(handed_in) if handed_in else None
        null = next((o.null_result for o in observations if o.null_result), "")
        score = self._crew.grader.grade(iteration, submission, null)
        scores = [*state.get("scores", []), score]
        decision = decide(scores, task.rule)
        best = decision.best
        if null and decision.action != "continue":
            decision = nothing(null)  # the last word of the crew, whatever it had submitted before
        reasons: list[str] = []
        reopened = state.get("reopened", False)
        if self._crew.reviews and state["plan"]:
            reasons = review_result(self._crew, scores, submission, observations, state["plan"])
        if reasons and decision.action == "converged" and len(scores) < task.rule.max_iterations and not reopened:
            reason = f"the reviewer sent the result back: {' '.join(reasons)}"
            decision, reopened = Decision(action="continue", best=best, reason=reason), True
        self._crew.note(Decided(iteration=iteration, decision=decision))
        return {
            "scores": [score],
            "submissions": [submission],
            "decision": decision,
            "review": {"reasons_result": reasons} if reasons else {},
            "reopened": reopened,
        }

    def unblind(self, state: State) -> State:
        """Ask before the held-out inputs are opened; words of the operator call for another iteration instead."""
        found = self._to_confirm(state)
        if found is None:
            return {}
        best, submission, chosen = found
        last = len(state["scores"]) - 1
        said = approve_unblinding(self._crew, last, best, submission, chosen)
        if not said:
            return {}
        reason = f"the operator asked for more: {' '.join(remark['words'] for remark in said)}"
        decision = Decision(action="continue", best=best, reason=reason)
        self._crew.note(Decided(iteration=last, decision=decision))
        return {"decision": decision, "remarks": said}

    def _to_confirm(self, state: State) -> tuple[int, Submission, Score] | None:
        """Return the best iteration with its submission and score; None if nothing is to be confirmed."""
        best = state["decision"].best
        submission = None if best is None else state["submissions"][best]
        if not self._crew.confirms or best is None or submission is None:
            return None
        return best, submission, state["scores"][best]

    def confirm(self, state: State) -> State:
        crew, found = self._crew, self._to_confirm(state)
        if found is None:
            return {"confirmed": None}
        best, submission, chosen = found
        handed_in = submission.model_dump(mode="json")
        crew.meter.check(Where("claim"), model_call=False)
        score = confirm(crew.again, best, submission, chosen)
        crew.note(Confirmed(iteration=best, submission=handed_in, score=score))
        if crew.task.audit and (audited := audit(crew.again, best, submission, chosen, score)):
            crew.note(Audited(iteration=best, submission=handed_in, score=audited))
            score = audited
        return {"confirmed": score}

    def report(self, state: State) -> State:
        crew, scores, observations = self._crew, state["scores"], state["observations"]
        try:
            claim, checks = report(crew, scores, observations, state["decision"], state["confirmed"])
        except ModelFailed as error:
            crew.note(Trouble(who="model", where=Where("reporter"), text=str(error)))
            return {"claim": None, "checks": []}
        return {"claim": claim, "checks": checks}


def _so_far(state: State) -> tuple[list[Score], list[Submission | None], list[Observation]]:
    """Return the scores and submissions of all iterations that have ended, and all observations."""
    return state.get("scores", []), state.get("submissions", []), state.get("observations", [])


def _reasons(state: State) -> dict[str, Any]:
    """Return why the plan and the result before it were sent back."""
    return {name: reasons for name, reasons in state.get("review", {}).items() if name != "plan"}


def _current(state: State, iteration: int) -> list[Observation]:
    return [o for o in state.get("observations", []) if o.iteration == iteration]

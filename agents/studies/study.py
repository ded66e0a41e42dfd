"""Study files: what is run, how often and how it is judged, fixed before the first run.

A study file contains everything that affects a result, and its SHA-256 is in every cell and in the result, so that any
later change shows. The location of data and the number of parallel cells are the operator's choice and not part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator, model_validator

from agents.backends.base import DEFAULT_URL, Effort
from agents.backends.built_in import CONTROLS
from agents.backends.price import Price
from agents.crew.budget import Budget
from sandbox.driver import Gpu
from tasks.catalogue import find_task, make_task
from tasks.study import Judge, Primary, Success
from tasks.task import TaskError
from tools.contract import Frozen, Problem, problems

HERE = files("tasks")
STUDY = "study.json"
LATER = {"pictures": True, "reviewer": False}  # fields added since, with their defaults
PLACE = "data"  # the task option with the path of official files on this machine
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]  # each is the name of a folder
Kind = Literal["analyst", "script", "random", "openai", "local"]


class Arm(Frozen):
    """One backend of a study. Keys are never in a file: `api_key_env` names the environment variable with the key."""

    name: Name
    kind: Kind
    model: str | None = Field(None, description="model name, for openai and local")
    base_url: str = Field(DEFAULT_URL, description="address of an OpenAI-compatible service")
    api_key_env: str = Field("OPENAI_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", description="name of the key's variable")
    price: Price | None = Field(None, description="dollars per million tokens: {prompt: 0.25, completion: 2}")
    timeout: float = Field(300, ge=1, description="seconds to wait for one reply")
    effort: Effort | None = Field(None, description="reasoning effort; null: the service's default")
    pictures: bool = Field(True, description="show figures until the service refuses one; false: only name them")
    reviewer: bool = Field(False, description="a reviewer reads plans and results, and may send each back once")
    budget: Budget | None = Field(None, description="budget of each run of this arm, instead of the study's")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.is_llm != (self.model is not None):
            raise ValueError(f"model: {'must be named' if self.is_llm else 'must be absent'} if kind is {self.kind}")
        if self.reviewer and self.kind in CONTROLS:
            raise ValueError(f"reviewer: must be false if kind is {self.kind}, a control")
        if urlsplit(self.base_url).password:
            raise ValueError("base_url: must not contain a password; name a variable with api_key_env")
        return self

    @property
    def is_llm(self) -> bool:
        return self.kind in ("openai", "local")


class DataSet(Frozen):
    """A data set, e.g. one with a signal: task options in addition to the study's."""

    name: Name
    options: dict[str, Any] = Field(default_factory=dict)
    fresh: bool = Field(
        False, description="true: each repeat draws its own events by its seed; false: all repeats see the same events"
    )


class BestOf(Frozen):
    """An arm made from another's runs: of every n repeats the one with the best steering metric, at the cost of all."""

    arm: Name
    n: int = Field(ge=2)


class Study(Frozen):
    """backends x wordings x data sets x repeats of one task."""

    name: Name
    question: str = Field("", description="the question that the study answers, and how")
    task: str
    options: dict[str, Any] = Field(default_factory=dict, description="options of the task, for all data sets")
    wordings: dict[Name, str] = Field(min_length=1, description="names of shipped wordings, or name: text")
    backends: list[Arm] = Field(min_length=1)
    datasets: list[DataSet] = Field(min_length=1)
    repeats: int = Field(ge=1, le=10_000)
    seed: int = Field(1, ge=0, description="all seeds of runs and of fresh data sets follow from it")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature; at 0 repeats hardly vary")
    budget: Budget = Field(Budget(), description="budget of each run")
    primary: Primary = Field(Primary(), validate_default=True, description="what is not given, the task gives")
    success: SerializeAsAny[Success] = Field(Success(), validate_default=True, description="the task has its fields")
    best_of: list[BestOf] = Field(default_factory=list)
    exclusions: list[str] = Field(
        default_factory=list, description="what will be left out, decided beforehand, as text"
    )
    attempts: int = Field(3, ge=1, description="maximum number of losses of a cell's service or sandbox, or kills")
    cpus: float = Field(1, gt=0, description="cores of a run's sandbox; parallel cells share a machine")
    gpu: Gpu = Field("none", description="GPU mode; unless none, each cell takes one GPU")

    @field_validator("wordings", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        """Replace names of shipped wordings by their texts, so that the hash covers the requests."""
        if not isinstance(given, list):
            return given
        shipped = shipped_wordings()
        texts: dict[Any, Any] = {}
        for entry in given:
            if not isinstance(entry, Mapping) and entry not in shipped:
                raise ValueError(
                    f"{entry!r} is not a shipped wording; select from {', '.join(shipped)}, or give name: text"
                )
            more = entry if isinstance(entry, Mapping) else {entry: shipped[entry]}
            if twice := more.keys() & texts.keys():
                raise ValueError(f"{', '.join(twice)} is given twice")
            texts |= more
        return texts

    @field_validator("task")
    @classmethod
    def _can_be_judged(cls, name: str) -> str:
        if _judge_of(name) is None:
            raise ValueError("does not define how its runs are judged in a study")
        return name

    @field_validator("primary")
    @classmethod
    def _measured(cls, given: Primary, info: ValidationInfo) -> Primary:
        """Return what is given, and the task's choice for the rest."""
        judge = _judge_of(info.data.get("task"))
        return judge.primary.model_copy(update=given.model_dump(exclude_unset=True)) if judge else given

    @field_validator("success", mode="before")
    @classmethod
    def _judged(cls, given: Any, info: ValidationInfo) -> Any:
        """Return the rule in the task's own type."""
        judge = _judge_of(info.data.get("task"))
        if judge is None:
            return Success()  # an error about the task is on its way
        try:
            return judge.success.model_validate(given.model_dump() if isinstance(given, Success) else given)
        except ValidationError as error:
            raise ValueError(worded(error)) from None

    @field_validator("backends", "datasets")
    @classmethod
    def _unique(cls, entries: list[Any]) -> list[Any]:
        names = [entry.name for entry in entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is given twice; names must differ")
        return entries

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        arms = [arm.name for arm in self.backends]
        for best in self.best_of:
            if best.arm not in arms:
                raise ValueError(f"best_of: {best.arm} is not a backend of this study; it has {', '.join(arms)}")
            if best.n > self.repeats:
                raise ValueError(f"best_of: n={best.n} of {best.arm} needs as many repeats; there are {self.repeats}")
        if self.best_of and all(dataset.fresh for dataset in self.datasets):
            raise ValueError("best_of: all data sets are fresh, so no events have N answers")
        for arm in self.backends:
            if arm.is_llm and self.budget_of(arm).dollars is not None and arm.kind == "openai" and arm.price is None:
                raise ValueError(f"backends: {arm.name} has a dollar limit, which needs its price")
        for dataset in self.datasets:
            given = self.options | dataset.options
            if PLACE in given:
                raise ValueError(f"{PLACE}: the path of files is not part of a study; give it on the command line")
            if dataset.fresh and "seed" in given:
                raise ValueError(
                    f"datasets: {dataset.name} is fresh, so its seed follows from the study's; leave it out"
                )
            make_task(self.task, given)
        return self

    @property
    def judge(self) -> Judge:
        """The task's part in this study."""
        judge = _judge_of(self.task)
        assert judge  # as validated
        return judge

    def budget_of(self, arm: Arm) -> Budget:
        """Return the budget of a run of this arm."""
        return arm.budget or self.budget

    def canonical(self) -> dict[str, Any]:
        """Return the study with all defaults, as hashed; fields added later appear only if they are used."""
        written = self.model_dump(mode="json")
        for arm in written["backends"]:
            for place, name in ((arm, "effort"), (arm["price"] or {}, "cached")):
                if place.get(name) is None:
                    place.pop(name, None)
            for name, default in LATER.items():
                if arm[name] == default:
                    del arm[name]
        return written

    def sha256(self) -> str:
        """Return the SHA-256 of the canonical JSON: key order and comments of the file do not matter."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def shipped_wordings() -> dict[str, str]:
    """Return the shipped wordings: name -> text."""
    texts: dict[str, str] = yaml.safe_load(HERE.joinpath("wordings.yaml").read_text())
    return texts


def shipped_studies() -> dict[str, str]:
    """Return the shipped studies: name -> YAML."""
    entries = sorted(HERE.joinpath("studies").iterdir(), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".yaml"): entry.read_text() for entry in entries if entry.name.endswith(".yaml")}


def read_study(place: str) -> Study:
    """Read a study from a file, or the shipped one with this name. Raises ValueError, like `parse_study`."""
    path = Path(place)
    if path.suffix not in (".yaml", ".yml"):
        shipped = shipped_studies()
        if place not in shipped:
            raise ValueError(f"study={place}: must be a file *.yaml or a shipped study: {', '.join(shipped)}")
        return parse_study(shipped[place], place)
    return parse_study(path.read_text(), place)


def parse_study(text: str, place: str) -> Study:
    """Parse a study from YAML. Raises ValueError naming field, value and what is allowed."""
    try:
        document = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{place}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{place}: must be a mapping with {', '.join(Study.model_fields)}")
    try:
        return Study.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{place}: {worded(error)}") from None


def _judge_of(task: str | None) -> Judge | None:
    """Return how a task judges runs; None if it does not. Raises ValueError for an unknown one."""
    try:
        return None if task is None else find_task(task).study
    except TaskError as error:
        raise ValueError(error.allowed) from None


def first_difference(one: Any, other: Any, at: str = "") -> str | None:
    """Return the first field in which two canonical studies differ, with both values; None if they are the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs: Iterator[tuple[Any, Any, Any]] = ((k, one.get(k), other.get(k)) for k in {**one, **other})
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = ((k, a, b) for k, (a, b) in enumerate(zip(one, other, strict=True)))
    else:
        return None if one == other else f"{at}: {_short(one)} before, {_short(other)} now"
    found = (first_difference(a, b, f"{at}.{k}" if at else str(k)) for k, a, b in pairs)
    return next((text for text in found if text), None)


def worded(error: ValidationError) -> str:
    """Describe the first few problems: field, value and what is allowed."""
    return "; ".join(map(_worded, problems(error)[:3]))


def _worded(wrong: Problem) -> str:
    field = wrong.field or "study"
    if wrong.unknown:
        return f"{field}: no such field"
    shown = "" if isinstance(wrong.value, dict | list) else f"={wrong.value!r}"
    return f"{field}{shown}: {wrong.said}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys and reads numbers like YAML 1.2 and JSON.

    PyYAML would take the last of two keys, read 1e-3 as text, and 3000_400_250, the name of a signal, as a number.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


NUMBERS = {"int": r"^[-+]?\d+$", "float": r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] not in NUMBERS]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list("-+.0123456789"))

"""Functions that start a run, or only prepare the events of a task, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamcrew.loaded import Run, load


def run(
    request: str | None = None,
    *,
    task: str = "lhco-demo",
    options: Mapping[str, Any] | None = None,
    backend: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    price: str | None = None,
    pictures: bool = True,
    servers: Path | str | None = None,
    runs: Path | str = "runs",
    **settings: Any,
) -> Run:
    """Carry out a request like `beamcrew run`, in a new folder below `runs`, and return the run.

    `request` defaults to that of the task; `options` are options of the task, such as seed, max_iterations or n_signal.
    `backend`, `model`, `base_url` and `price` ("IN,OUT" in dollars per million tokens) choose the model; the default is
    the service whose key is in the environment, or else, unless a model is named, the built-in analyst. `pictures`: its
    service is shown figures until it refuses one. `servers`: a YAML file of outside MCP servers whose tools the crew
    may use. `settings` are further fields of `agents.runs.run.Settings`: sandbox, gpu, limits, budget, workers,
    temperature, effort, reviewer, approve (such as {"plan": "first", "unblind": True}: the run is then returned as
    `waiting`, and `beamcrew approve` goes on with it).

    A failed run, or one that spent its budget, is also returned: check `result.status`. Raises ValueError (TaskError,
    pydantic's ValidationError) for an invalid argument.
    """
    from agents.backends.price import Price
    from agents.backends.select import choose_backend
    from agents.outside.servers import Servers
    from agents.runs.run import Settings, new_run_dir, start
    from tasks.catalogue import make_task

    prepared = make_task(task, dict(options or {}))
    chosen = Settings.model_validate(
        {"request": request or prepared.request, "task": task, "options": prepared.options(), **settings}
    )
    rates = Price.parse(price) if price else None
    answers = choose_backend(backend, model=model, base_url=base_url, price=rates, pictures=pictures)
    folder = new_run_dir(Path(runs), task)
    start(chosen, answers, folder, servers=Servers.read(Path(servers)) if servers else None)
    return load(folder)


def prepare(task: str, folder: Path | str, **options: Any) -> dict[str, Any]:
    """Write the events of a task below `folder`; return the facts about them that agents are told.

    `inputs/` has what a crew would see, `held_out/` the inputs of its claim if the task holds events out, `sealed/` the
    truth. Raises TaskError for an invalid option.
    """
    from tasks.catalogue import make_task

    inputs, held_out, sealed = (Path(folder) / name for name in ("inputs", "held_out", "sealed"))
    return make_task(task, options).prepare(inputs, held_out, sealed)

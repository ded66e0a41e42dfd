"""The file that names outside servers: how to reach each, which of its tools the crew may use, and how much."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from agents.backends.base import SHORTEST_SECRET
from agents.backends.select import is_loopback
from agents.trace.events import OutsideServer
from tools.catalogue import CATALOGUE
from tools.contract import Frozen, problems

NAME = r"^[a-z][a-z0-9_]{0,23}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
MOST = 8  # servers of a run
Variable = Annotated[str, Field(pattern=VARIABLE)]


class Server(Frozen):
    """A server: a program that speaks over its standard streams, or an address of streamable HTTP."""

    command: list[str] | None = Field(None, min_length=1, description="program and arguments, run beside the file")
    env: list[Variable] = Field([], description="environment variables that the program gets besides PATH, HOME ...")
    url: str | None = Field(None, description="https, or http on this machine")
    token_env: Variable | None = Field(None, description="environment variable with the token for `url`")
    tools: list[str] | None = Field(None, min_length=1, description="the only tools that are offered; null: all")
    timeout: float = Field(60, gt=0, le=3600, description="longest call [s]")
    calls: int = Field(100, gt=0, description="most calls in a run")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://none")
        if parts.username or parts.password:
            raise ValueError("an address without a name or password; a token is read from the variable in token_env")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url or "")):
            raise ValueError("an address that begins with https://, or with http:// on this machine")
        return url

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("either `command` or `url`")
        if self.command and self.token_env:
            raise ValueError("`token_env` is for `url`; a program is given variables by `env`")
        if self.url and self.env:
            raise ValueError("`env` is for `command`")
        return self

    @property
    def at(self) -> str:
        """Name of the program or of the host; arguments and paths may be private."""
        return Path(self.command[0]).name if self.command else urlsplit(self.url or "").netloc

    def secrets(self) -> list[str]:
        """Return the environment variables whose values must never be written."""
        return [*self.env, *([self.token_env] if self.token_env else [])]


class Servers(Frozen):
    """The servers of a file."""

    folder: Path = Field(description="of the file: programs run there")
    servers: dict[Annotated[str, Field(pattern=NAME)], Server] = Field(min_length=1, max_length=MOST)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the servers of a YAML file. Raises ValueError, which names the field and what is allowed."""
        if find_spec("mcp") is None:
            raise ValueError("servers: the protocol's SDK is not installed: pip install 'beamcrew[mcp]'")
        try:
            given: Any = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ValueError(f"servers: {path}: cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"servers: {path}: not YAML ({error})") from None
        try:
            found = cls.model_validate({"folder": path.resolve().parent, "servers": given})
        except ValidationError as error:
            wrong = problems(error)[0]
            field = re.sub(r"^servers\.?", "", wrong.field) or "the file"
            raise ValueError(f"servers: {path}: {field}={wrong.value!r}: {wrong.said}") from None
        ours = {name.split(".")[0] for name in CATALOGUE}
        if taken := sorted(ours & set(found.servers)):
            raise ValueError(f"servers: {path}: {taken[0]}: tools of beamcrew have this name; choose another")
        return found

    def secrets(self) -> list[str]:
        """Return the environment variables whose values must never be written."""
        return sorted({name for server in self.servers.values() for name in server.secrets()})

    def check_tokens(self) -> None:
        """Raise ValueError for a token that is not in the environment, or too short to be kept out of traces."""
        for name, server in self.servers.items():
            if server.token_env and len(os.environ.get(server.token_env, "").strip()) < SHORTEST_SECRET:
                raise ValueError(
                    f"servers: {name}: token_env={server.token_env}: put the token there, {SHORTEST_SECRET} characters "
                    "or more"
                )

    def check_run(self, begun: list[OutsideServer]) -> None:
        """Raise ValueError if these are not the servers with which a run began."""
        names = [server.name for server in begun]
        if missing := [name for name in names if name not in self.servers]:
            raise ValueError(f"servers: the file must name {', '.join(missing)}, with which the run began")
        if not names:
            raise ValueError("servers: the run began without outside servers; a new run can have them")

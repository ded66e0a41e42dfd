"""Choice of the backend, from the operator's options and the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from agents.backends.base import DEFAULT_URL, SHORTEST_SECRET, Backend
from agents.backends.built_in import FOLLOWS, BuiltIn
from agents.backends.price import Price

SPECS = ("auto", *FOLLOWS, "openai")
KEY_LIKE = re.compile(r"(^|_)(KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD)(_?\d+)?$", re.IGNORECASE)
IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")  # a password


def choose_backend(
    spec: str | None = None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    price: Price | None = None,
    timeout: float = 300.0,
    pictures: bool = True,
) -> Backend:
    """Return the backend for `spec`; auto: a service if a key or an address is given, else the built-in analyst.

    Without a `spec` it is chosen as for auto, but a model or a price is never replaced by the analyst.

    Reads from the environment the key in `api_key_env`, and OPENAI_BASE_URL and BEAMCREW_MODEL for missing arguments.
    Raises ValueError naming the field, its value and what is allowed.
    """
    asked, spec = spec, spec or "auto"
    if spec.startswith("local:"):
        from agents.backends.local import Local

        return Local(spec.removeprefix("local:"))
    if spec in FOLLOWS:
        return BuiltIn(spec)
    if spec not in SPECS:
        raise ValueError(f"backend: {spec!r} is unknown; allowed: {', '.join(SPECS)}, local:NAME")
    key = os.environ.get(api_key_env, "").strip()
    base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
    model = model or os.environ.get("BEAMCREW_MODEL") or None
    if not key and not base_url and spec == "auto":
        if asked is None and (model or price):
            raise ValueError(
                f"model: {model or 'a price'} was given, but neither a key nor an address: set {api_key_env}, or give "
                "--base-url; with --backend auto written out, the built-in analyst would do the work"
            )
        return BuiltIn("analyst")
    url = base_url or DEFAULT_URL
    if not model:
        raise ValueError(
            f"model: none given for {urlsplit(url).hostname}; name one with --model or BEAMCREW_MODEL, "
            "or use the built-in analyst with --backend analyst"
        )
    from agents.backends.openai_service import OpenAIService  # takes half a second, which other backends need not wait

    backend = OpenAIService(model, url, key, price, timeout, api_key_env=api_key_env, pictures=pictures)
    if not key and not is_loopback(url):
        raise ValueError(f"{api_key_env}: not set, and {backend.base_url} is not on this machine; put the key there")
    return backend


def again(name: str) -> list[str]:
    """Return the options that choose a backend of this name again. Its address, price and key are not recorded.

    >>> again("openai:gpt-5-mini"), again("analyst")
    (['--model', 'gpt-5-mini'], ['--backend', 'analyst'])
    """
    service, _, model = name.partition(":")
    return ["--model", model] if service == "openai" and model else ["--backend", name]


def is_loopback(url: str) -> bool:
    """Return True if the address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secrets(*names: str) -> list[str]:
    """Return the strings to redact from traces, longest first: values of `names` and of all environment variables
    named like keys, and passwords in URLs."""
    values = {value.strip() for name, value in os.environ.items() if name in names or KEY_LIKE.search(name)}
    values |= {password for value in os.environ.values() for password in IN_ADDRESS.findall(value)}
    return sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)

"""Which backend is chosen, and what the operator is told when none can be."""

from __future__ import annotations

import os

import pytest

from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.backends.select import choose_backend, is_loopback, secrets

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BEAMCREW_")):
            monkeypatch.delenv(name)


def test_nothing_given_means_the_analyst() -> None:
    for spec in (None, "auto", "analyst"):
        backend = choose_backend(spec)
        assert (backend.name, backend.is_llm) == ("analyst", False)


def test_a_key_means_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    price = Price(prompt=1, completion=2)
    backend = choose_backend(model="gpt-x", price=price)
    assert isinstance(backend, OpenAIService)
    assert (backend.name, backend.base_url, backend.price) == ("openai:gpt-x", "https://api.openai.com/v1", price)
    assert [choose_backend(name).name for name in ("analyst", "script", "random")] == ["analyst", "script", "random"]


def test_an_address_on_this_machine_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(model="m", base_url="http://127.0.0.1:1/v1").name == "openai:m"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    monkeypatch.setenv("BEAMCREW_MODEL", "from-environment")
    backend = choose_backend()
    assert isinstance(backend, OpenAIService)
    assert (backend.model, backend.base_url) == ("from-environment", "http://localhost:1/v1")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"backend: 'claude' is unknown; allowed: auto, analyst, script, random, openai, local:NAME"
    ):
        choose_backend("claude")
    with pytest.raises(ValueError, match=r"model: none given for localhost; .* BEAMCREW_MODEL"):
        choose_backend(base_url="http://localhost:1/v1")
    with pytest.raises(ValueError, match=r"MY_KEY: not set, and https://api.openai.com/v1 is not on this machine"):
        choose_backend("openai", model="m", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY)
    assert choose_backend(model="m", api_key_env="MY_KEY").is_llm


def test_loopback() -> None:
    assert all(is_loopback(url) for url in ("http://localhost/v1", "http://127.0.0.9:1/v1", "http://[::1]:8000/v1"))
    assert not any(is_loopback(url) for url in ("https://api.openai.com/v1", "http://10.0.0.1/v1", "nonsense"))


def test_secrets_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    monkeypatch.setenv("HF_TOKEN", KEY + "-and-longer")
    monkeypatch.setenv("OTHER_API_KEY_2", "short")
    monkeypatch.setenv("MY_LOGIN", "hunter2hunter2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-and-long")
    found = secrets()
    assert found.index(KEY + "-and-longer") < found.index(KEY)
    assert not {"short", "hunter2hunter2", "false-and-long"} & set(found)
    assert "hunter2hunter2" in secrets("MY_LOGIN")

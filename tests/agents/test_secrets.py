"""Keys planted wherever one could enter a run are nowhere in what it leaves: folder, report, replay, export, fork."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from chat_service import completion, refusal, running
from scripted import CLAIM, Scripted, TinyTask, call, hand_in, plan, python, step
from test_replay import beamcrew

from agents.backends.openai_service import OpenAIService
from agents.backends.select import choose_backend
from agents.runs.fork import fork
from agents.runs.run import Settings, start
from agents.trace.blobs import REDACTED, Redactor
from tasks import catalogue

KEY = "sk-planted-in-the-header-0123456789"
TOKEN = "token-planted-in-the-environment-9876543210"
PASSWORD = "hunter2-planted-in-an-address"
TYPED = "correct-horse-typed-into-the-request"
ALL = (KEY, TOKEN, PASSWORD, TYPED)
SAID = f"key {KEY}, token {TOKEN}, at https://joe:{PASSWORD}@example.org/x and ftp://joe:{TYPED}@example.org"
SETTINGS = Settings(
    request=f"Is there anything? {SAID}", task="tiny", sandbox="bubblewrap", options={"max_iterations": 1}
)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_SERVICE_TOKEN", TOKEN)
    monkeypatch.setenv("SOME_PROXY", f"http://joe:{PASSWORD}@proxy.example:3128")


def leaks(folder: Path) -> list[str]:
    """Files that hold a secret, plainly or as JSON or base64 has it."""
    words = [form for secret in ALL for form in (secret.encode(), base64.b64encode(secret.encode())[:-4])]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [
        str(path) for path in files if any(word in path.read_bytes() or word.decode() in path.name for word in words)
    ]


def test_what_is_planted_in_words_output_files_names_and_errors_stays_out(tmp_path: Path) -> None:
    binary = f"open('data.bin', 'wb').write(b'\\xff\\xfe' + {KEY!r}.encode())"
    code = f"print({SAID!r})\nopen('note.txt', 'w').write({SAID!r})\n{binary}"
    suggested = [{"tool": "events.describe", "arguments": {"k": SAID}}]
    script = {
        "planner/0": [
            SAID,
            plan(step("s", submits=True, calls=suggested)),
        ],
        "worker/0/s": [
            python(code),
            call("nonesuch", key=SAID),
            call("events.describe", events=SAID),
            python(f"raise ValueError({SAID!r})", "b.py"),
            *hand_in(),
        ],
        "reporter": [json.dumps(CLAIM | {"text": SAID})],
    }
    run_dir = tmp_path / "r"
    assert start(SETTINGS, Scripted(script), run_dir).status == "exhausted"
    assert any(REDACTED.encode() in path.read_bytes() for path in (run_dir / "blobs").rglob("*") if path.is_file())
    status, out, err = beamcrew("replay", str(run_dir), "--json", "--out", str(tmp_path / "replay"))
    assert status == 0, err
    for form in ("otel", "inspect"):
        assert (
            beamcrew("trace", "export", str(run_dir), "--format", form, "--out", str(tmp_path / f"{form}.json"))[0] == 0
        )
    fork(run_dir, "reporter", tmp_path / "child", Scripted(script))
    (tmp_path / "said").write_text(out + err)
    assert leaks(tmp_path) == [], "redacted from all that is kept"


def test_what_a_service_is_sent_and_says_stays_out(tmp_path: Path) -> None:
    with running() as service:
        service.answers = [refusal(401, f"Incorrect API key provided: {KEY}; {SAID}", {"X-Key": KEY})]
        backend = OpenAIService("m", service.url, KEY, sleep=lambda _: None)
        assert start(SETTINGS, backend, tmp_path / "refused").status == "lost"
        assert service.keys == [f"Bearer {KEY}"]
        service.answers = [completion(SAID)]
        assert start(SETTINGS, OpenAIService("m", service.url, KEY), tmp_path / "rambling").status == "failed"
    for name in ("refused", "rambling"):
        status, out, err = beamcrew("replay", str(tmp_path / name))
        assert status == 0, err
        (tmp_path / f"{name} said").write_text(out + err)
    assert leaks(tmp_path) == []
    assert "the key was refused" in (tmp_path / "refused" / "report.md").read_text()


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="without user, password or query") as refused:
        choose_backend("openai", model="m", base_url=f"https://joe:{PASSWORD}@example.org/v1")
    assert PASSWORD not in str(refused.value)


def test_passwords_in_addresses_are_known_by_their_place() -> None:
    redactor = Redactor()
    assert redactor.text("see http://joe:s3cret@host:80/a@b and x") == f"see http://joe:{REDACTED}@host:80/a@b and x"
    assert redactor.data(b"git+ssh://u:p@h") == f"git+ssh://u:{REDACTED}@h".encode()
    for harmless in ("http://host:80/a@b", "mailto:a@b", "http://joe@host", "a://b c:d@e"):
        assert redactor.text(harmless) == harmless
    binary = b"\xff://joe:s3cret@host"
    assert redactor.data(binary) == binary  # numbers may look like anything, and must stay what they are


@pytest.mark.parametrize("before", [b"", b"k", b"ke", b"key=", b"\x00" * 7])
def test_a_key_is_found_however_it_was_written(before: bytes) -> None:
    redactor = Redactor([KEY])
    plain = before + KEY.encode() + b" and more"
    forms = [
        base64.b64encode(plain),
        base64.urlsafe_b64encode(plain),
        plain.hex().encode(),
        plain.hex().upper().encode(),
    ]
    for form in forms:
        assert REDACTED.encode() in redactor.data(form), form
    assert redactor.data(base64.b64encode(b"nothing of the kind, at some length")) == base64.b64encode(
        b"nothing of the kind, at some length"
    )


def test_keys_of_variables_that_only_a_study_names_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_ACCESS", odd := "a-key-whose-variable-has-an-odd-name")
    script = {"planner/0": [plan(step("s", submits=True))], "worker/0/s": [python(f"print({odd!r})"), *hand_in()]}
    script["reporter"] = [json.dumps(CLAIM)]
    start(SETTINGS, Scripted(script), tmp_path / "r", keys_in=["LAB_ACCESS"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and odd.encode() in path.read_bytes()]

"""Building the image: which docker command, what reaches the engine, and what is in the image in the end.

The Docker tests start from an image with Python that needs no registry (BEAMCREW_TEST_BASE). Packages come from an
index of the test on the host's loopback, behind a certificate of the test's own, as behind a company's mirror.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import ssl
import subprocess
import tarfile
import threading
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandbox.docker import Docker
from sandbox.driver import Limits, SandboxLost
from sandbox.image import LABEL, build_image, docker_command, requirements_hash

ROOT = Path(__file__).parents[2]
BASE = {"BASE": os.environ.get("BEAMCREW_TEST_BASE", "beamcrew-base:test")}
PYPROJECT = """
[project]
dependencies = ["numpy>=9,<10", "openai>=9"]
[project.optional-dependencies]
tools = ["little>=1"]
jets = ["little>=1"]
"""


def program(folder: Path, script: str) -> Path:
    folder.mkdir()
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_docker_without_buildkit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = program(tmp_path / "a", "echo 'ERROR: the buildx component is missing' >&2; exit 1")
    builds = program(tmp_path / "b", '[ "$DOCKER_BUILDKIT" = 1 ] && echo "  --secret stringArray  Secret file"')
    monkeypatch.setenv("PATH", f"{without.parent}:{builds.parent}")
    assert docker_command() == str(builds)
    monkeypatch.setenv("PATH", str(without.parent))
    with pytest.raises(SandboxLost, match=f"{without}.*docker-buildx"):
        docker_command()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxLost, match="not on the PATH"):
        docker_command()


def test_what_is_missing_is_said_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(SandboxLost, match="not a checkout"):
        build_image(tmp_path)
    with pytest.raises(SandboxLost, match=r"no certificate file .*/none\.pem"):
        build_image(ROOT, certificates=tmp_path / "none.pem")


@pytest.fixture
def tag() -> Iterator[str]:
    name = f"beamcrew-build-test:{uuid.uuid4().hex[:8]}"
    yield name
    client = docker.from_env()
    if client.images.list(name):
        client.images.remove(name, force=True)
    client.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Self-signed, for 127.0.0.1; the key lies beside it."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*words.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True)
    return tmp_path / "cert"


@pytest.fixture
def index(tmp_path: Path, certificate: Path) -> Iterator[str]:
    """A package index with two tiny packages."""
    for name, version in (("numpy", "9.9"), ("little", "1.0")):
        folder = tmp_path / "index" / name
        folder.mkdir(parents=True)
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "answer = 42\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.docker
def test_an_image_behind_a_mirror_holds_the_packages_and_the_tools_and_nothing_of_the_way_to_them(
    tmp_path: Path, tag: str, index: str, certificate: Path
) -> None:
    root = tmp_path / "checkout"
    for name in ("agents", "tasks", "sandbox", "tools"):
        shutil.copytree(ROOT / name, root / name)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "constraints.txt").write_text("numpy==9.9\nopenai==9.9\nlittle==1.0\n")
    said: list[str] = []
    build_args = {**BASE, "PIP_INDEX_URL": index}
    with pytest.raises(SandboxLost, match="failed"):
        build_image(root, tag, build_args, network="host", say=said.append)
    assert any("CERTIFICATE_VERIFY_FAILED" in line or "SSLError" in line for line in said)
    digest = build_image(root, tag, build_args, certificates=certificate, network="host", say=said.append)
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)

    client = docker.from_env()
    image = client.images.get(tag)
    assert image.id == digest
    assert image.labels[LABEL] == requirements_hash(root)
    assert index not in str(image.history()) + str(image.attrs)
    with (tmp_path / "image.tar").open("wb") as file:
        file.writelines(image.save())
    client.close()
    ours, all_bytes = layers(tmp_path / "image.tar")
    assert ours == {"tools"}
    for secret in (certificate.read_bytes().splitlines()[1], index.encode()):
        assert secret not in all_bytes

    for folder in ("inputs", "workspace"):
        (tmp_path / folder).mkdir()
    with Docker(tmp_path / "inputs", tmp_path / "workspace", root / "tools", Limits(), image=digest) as box:
        assert box.info.image == digest
        assert box.exec(["python", "-c", "import numpy, little; print(little.answer)"]).stdout == "42\n"


def layers(saved: Path) -> tuple[set[str], bytes]:
    """What of beamcrew is in the layers of a saved image, and the content of every file that is not the base's."""
    ours, content = set(), []
    with tarfile.open(saved) as image:
        for member in image:
            file = image.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            try:
                layer = tarfile.open(fileobj=file)  # noqa: SIM115 - closed below
            except tarfile.ReadError:
                content.append(image.extractfile(member).read())  # type: ignore[union-attr]
                continue
            with layer:
                names = [name.removeprefix("./") for name in layer.getnames()]
                ours |= {name.split("/")[2] for name in names if re.match("opt/beamcrew/.", name)}
                ours |= {n.split("/")[0] for n in names} & {"agents", "tasks", "sandbox", "run/secrets"}
                if not any(name.startswith("usr/bin") for name in names):
                    content += [f.read() for m in layer if m.isfile() and (f := layer.extractfile(m))]
    return ours, b"".join(content)


@pytest.mark.docker
@pytest.mark.timeout(3600)
@pytest.mark.skipif("BEAMCREW_TEST_BUILD" not in os.environ, reason="gigabytes: BEAMCREW_TEST_BUILD=1 asks for it")
def test_the_whole_image_runs_every_tool(tmp_path: Path, tag: str) -> None:
    bundle = os.environ.get("PIP_CERT")
    build_image(ROOT, tag, BASE, certificates=Path(bundle) if bundle else None, network="host")
    for folder in ("inputs", "workspace"):
        (tmp_path / folder).mkdir()
    with Docker(tmp_path / "inputs", tmp_path / "workspace", ROOT / "tools", Limits(), image=tag) as box:
        code = "import torch, zuko, h5py; from tools.catalogue import CATALOGUE; print(len(CATALOGUE), torch.ones(2))"
        assert (done := box.exec(["python", "-c", code])).ok, done.stderr

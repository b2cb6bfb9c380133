"""What is published: one wheel that serves from an empty environment."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import Omixa

ROOT = Path(__file__).parent.parent
DATA = (
    "omixa/py.typed",
    "omixa/catalogue/data/models/mai-image-2.5.toml",
    "omixa/catalogue/data/providers/foundry.toml",
    "omixa/storage/migrations/env.py",
    "omixa/web/errors.toml",
    "omixa/web/static/app.css",
    "omixa/web/templates/model.html",
    "omixa/web/vendor/geist.woff2",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree with the tools that are installed."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    """The command in an environment that holds the wheel and, without this tree, its dependencies."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # A path file in this directory brings in the packages beside it, but not what those find through path files of their own:
    # the editable install of this tree is such a one.
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    directory = tmp_path_factory.mktemp("elsewhere")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")}, environment / "bin" / "omixa")


def test_the_wheel_holds_all_that_is_read_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    source = ROOT / "src"
    tree = {path.relative_to(source).as_posix() for path in (source / "omixa").rglob("*") if path.is_file()}
    wanted = {name for name in tree if "__pycache__" not in name}
    assert wanted <= set(names)
    assert set(DATA) <= wanted
    assert "License-Expression: Apache-2.0" in metadata
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} >= {"LICENSE", "NOTICE"}
    assert not any(name.startswith(("tests/", "bench/", "scripts/")) for name in names)


def test_the_command_comes_from_the_wheel(installed: Omixa) -> None:
    python = installed.executable.with_name("python")
    found = subprocess.run(
        [python, "-c", "import omixa; print(omixa.__file__)"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert Path(found.stdout.strip()).is_relative_to(installed.executable.parent.parent)


def test_serve_answers_from_an_empty_environment(installed: Omixa) -> None:
    key = installed("keys", "create", "--mode", "test")
    with installed.serving("serve", "--port", "0") as server:
        with server.client(key) as client:
            answer = client.post(
                "/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "A lamp on a desk"}
            )
            assert answer.status_code == 200, answer.text[:500]
            assert answer.json()["usage"]["billed_amount"] == answer.headers["omixa-cost"]
            assert client.get("/openapi.json").status_code == 200
            page = client.get("/docs/models/MAI-Image-2.5").text
            files = re.findall(r'(?:src|href)="\.\./\.\./(static/[^"]+)"', page)
            assert len(files) > 5
            assert [client.get(f"/{file}").status_code for file in files] == [200] * len(files)
        assert server.stop() == 0
    assert installed("ledger", "verify").endswith("The ledger is clean.")

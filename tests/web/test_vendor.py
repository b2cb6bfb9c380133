"""What is taken from others is what its manifest says, byte for byte, and lies beside its licence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import omixa.web

VENDOR = Path(omixa.web.__file__).parent / "vendor"
AXE = Path(__file__).parent / "axe"


@pytest.mark.parametrize("folder", [VENDOR, AXE], ids=["vendor", "axe"])
def test_files_are_those_of_the_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    assert manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in found.items()
    }
    assert any(name.startswith("LICENSE") for name in found)


def test_every_icon_is_used_and_every_used_one_is_there() -> None:
    icons = set(json.loads((VENDOR / "icons.json").read_text()))
    package = VENDOR.parent
    sources = [path.read_text() for path in (*package.glob("*.py"), *package.rglob("*.html"))]
    assert {name for name in icons if any(f'"{name}"' in source for source in sources)} == icons

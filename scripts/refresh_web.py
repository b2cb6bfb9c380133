"""Rebuild what the pages of the web room take from others: icons and fonts, and what their tests check accessibility with.

Sources, each named with its version and the sha256 of its archive in SOURCES:
* lucide-static                       icons                              ISC
* @fontsource-variable/geist          the Geist typeface                 OFL-1.1
* @fontsource-variable/geist-mono     its companion for code             OFL-1.1
* axe-core                            accessibility rules, tests only    MPL-2.0

`npm` fetches the archives by name and version:

    python scripts/refresh_web.py

It writes the icons that are used, the Latin part of both fonts, the licence texts and a manifest with the hash of every file.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
VENDOR_DIR: Final = ROOT / "src" / "omixa" / "web" / "vendor"
AXE_DIR: Final = ROOT / "tests" / "web" / "axe"


@dataclass(frozen=True)
class Source:
    """One archive: package name, version, sha256 of the archive and the licence of what is taken from it."""

    package: str
    version: str
    sha256: str
    licence: str


LUCIDE: Final = Source(
    "lucide-static", "1.62.0", "386f9080c440d6f5049cefe3456ae8357f7a0c7f76e59670cd1cb83bc7050a44", "ISC"
)
GEIST: Final = Source(
    "@fontsource-variable/geist",
    "5.3.0",
    "533dd66117795ac12316fb05fce27736c4bc63c31613b302d0a5285ca3a291d7",
    "OFL-1.1",
)
GEIST_MONO: Final = Source(
    "@fontsource-variable/geist-mono",
    "5.3.0",
    "af7a9f156602b859efa95cd1acb824a5322c51a1eca53afb38ed033885736a70",
    "OFL-1.1",
)
AXE: Final = Source("axe-core", "4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745", "MPL-2.0")
ICONS: Final = """
    arrow-right book-open brush check code-xml copy download file-text flask-conical history image image-plus images
    key layers link moon play receipt-text repeat-2 scroll-text search server shield-check sun timer trash-2 undo-2 wallet x
    zap
    """


def fetch(source: Source, folder: Path) -> Path:
    """Fetch and unpack one archive by package name and version; refuse it when its sha256 differs."""
    target = folder / source.package.replace("/", "-").lstrip("@")
    target.mkdir()
    spec = f"{source.package}@{source.version}"
    subprocess.run(["npm", "pack", spec, "--silent"], cwd=target, check=True, stdout=subprocess.DEVNULL)
    archive = next(target.glob("*.tgz"))
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != source.sha256:
        raise SystemExit(f"{spec}: sha256 is {found}, expected {source.sha256}")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / "package"


def icon_shapes(package: Path) -> dict[str, str]:
    """Return the shapes of each icon, without the <svg> around them: a page gives its own."""
    shapes = {}
    for name in ICONS.split():
        text = (package / "icons" / f"{name}.svg").read_text()
        match = re.search(r"<svg[^>]*>(.*)</svg>", text, re.DOTALL)
        assert match is not None, name
        shapes[name] = re.sub(r"\s*\n\s*", "", match[1])
    return shapes


def write(folder: Path, sources: tuple[Source, ...], files: Mapping[str, bytes]) -> None:
    """Write the files of a folder, and the manifest that says where they come from."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = {
        "sources": [asdict(source) for source in sources],
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main() -> None:
    """Fetch and write everything."""
    with tempfile.TemporaryDirectory() as temporary:
        lucide, geist, mono, axe = (fetch(source, Path(temporary)) for source in (LUCIDE, GEIST, GEIST_MONO, AXE))
        icons = json.dumps(icon_shapes(lucide), indent=1, sort_keys=True) + "\n"
        files = {
            "LICENSE-geist.txt": (geist / "LICENSE").read_bytes(),
            "LICENSE-lucide.txt": (lucide / "LICENSE").read_bytes(),
            "geist-mono.woff2": (mono / "files" / "geist-mono-latin-wght-normal.woff2").read_bytes(),
            "geist.woff2": (geist / "files" / "geist-latin-wght-normal.woff2").read_bytes(),
            "icons.json": icons.encode(),
        }
        write(VENDOR_DIR, (LUCIDE, GEIST, GEIST_MONO), files)
        rules = {
            "LICENSE.txt": (axe / "LICENSE").read_bytes(),
            "axe.min.js": (axe / "axe.min.js").read_bytes(),
        }
        write(AXE_DIR, (AXE,), rules)


if __name__ == "__main__":
    main()

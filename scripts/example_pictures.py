"""Rebuild the pictures of the model pages: each model's example request, as a test key gets it.

    python scripts/example_pictures.py

It starts a gateway, sends the examples and writes a small WebP for each model into the static files of the pages.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image

from omixa.catalogue.loader import load_catalogue

STATIC: Final = Path(__file__).parent.parent / "src" / "omixa" / "web" / "static"
# Twice what the page shows it at would be 768.
SIDE: Final = 768


def main() -> None:
    """Send every example and write the pictures."""
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"OMIXA_DATA_DIR": data}
        omixa = [sys.executable, "-m", "omixa"]
        key = subprocess.run(
            [*omixa, "keys", "create", "--mode", "test"], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        server = subprocess.Popen([*omixa, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            address = re.search(r"http://\S+", server.stderr.readline())
            assert address is not None
            for model in load_catalogue().models.values():
                picture = ask(f"{address[0]}/images/generations", key, dict(model.example))
                picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(
                    STATIC / f"{model.id.lower()}.webp", quality=82, method=6
                )
        finally:
            server.terminate()
            server.wait()


def ask(address: str, key: str, body: dict[str, str | int | bool]) -> Image.Image:
    """Return the picture that a request brings."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(address, msgspec.json.encode(body | {"output_format": "png"}), headers)
    with urllib.request.urlopen(request) as answer:
        data = msgspec.json.decode(answer.read())["data"][0]["b64_json"]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


if __name__ == "__main__":
    main()

"""Rebuild the pictures of the model pages: each model's example request, as a test key gets it.

    python scripts/example_pictures.py

It starts a gateway, sends the examples and writes a small WebP for each model into the static files of the pages. Of a model that
reworks pictures, the left half shows what it was given and the right half what it made of it.
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
from typing import Any, Final

import msgspec
from PIL import Image

from omixa.catalogue.loader import load_catalogue

STATIC: Final = Path(__file__).parent.parent / "src" / "omixa" / "web" / "static"
# Twice what the page shows it at would be 768.
SIDE: Final = 768
SQUARE: Final = 32
PHOTOGRAPHS: Final = Path(__file__).parent.parent / "tests" / "photographs"
# What models that rework pictures are given: a photograph and the square of it.
GIVEN: Final = {
    "omixa-upscale-1": ("astronaut.png", (136, 10, 328, 202)),
    "omixa-cutout-1": ("camera.png", (0, 0, 512, 512)),
}


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
                given = GIVEN.get(model.id)
                body = dict(model.example) | ({} if given is None else {"input_images": [data_url(photograph(*given))]})
                picture = ask(f"{address[0]}/images/generations", key, body)
                if given is not None:
                    picture = beside(photograph(*given), picture)
                picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(
                    STATIC / f"{model.id.lower()}.webp", quality=82, method=6
                )
        finally:
            server.terminate()
            server.wait()


def photograph(name: str, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a square of a photograph."""
    return Image.open(PHOTOGRAPHS / name).convert("RGB").crop(box)


def data_url(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def beside(before: Image.Image, after: Image.Image) -> Image.Image:
    """Return the left half of one picture and the right half of the other, which lies on squares where it is transparent."""
    size = (SIDE, SIDE)
    joined = Image.new("RGB", size, "#ffffff")
    for y in range(0, SIDE, SQUARE):
        for x in range(0, SIDE, SQUARE):
            if (x + y) // SQUARE % 2:
                joined.paste("#d4d4d4", (x, y, x + SQUARE, y + SQUARE))
    made = after.convert("RGBA").resize(size, Image.Resampling.BICUBIC)
    joined.paste(made, mask=made.getchannel("A"))
    joined.paste(before.resize(size, Image.Resampling.BICUBIC).crop((0, 0, SIDE // 2, SIDE)), (0, 0))
    joined.paste("#ffffff", (SIDE // 2 - 2, 0, SIDE // 2 + 2, SIDE))
    return joined


def ask(address: str, key: str, body: dict[str, Any]) -> Image.Image:
    """Return the picture that a request brings."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(address, msgspec.json.encode(body | {"output_format": "png"}), headers)
    with urllib.request.urlopen(request) as answer:
        data = msgspec.json.decode(answer.read())["data"][0]["b64_json"]
    return Image.open(io.BytesIO(base64.b64decode(data)))


if __name__ == "__main__":
    main()

"""cURL with what it does by itself: forms with files, 100-continue, streams, retries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import Books
from tests.support.clients import environment
from tests.support.pictures import mask
from tests.support.servers import Simulator

MODEL = "omixa-illustrator-1"
BODY = json.dumps({"model": MODEL, "prompt": "A red kite over a stubble field at dusk"})
JSON = ("-H", "Content-Type: application/json")


@pytest.fixture
def curl(books: Books) -> Callable[..., str]:
    """The command, with the key."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed: `apt-get install curl`")

    def run(path: str, *options: str) -> str:
        command = [program, "--silent", "--show-error", f"{books.gateway.api}{path}", *options]
        command += ["-H", f"Authorization: Bearer {books.key}"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def pictures(answer: str) -> list[str]:
    made: dict[str, Any] = json.loads(answer)
    return [picture["b64_json"] for picture in made["data"]]


def test_an_edit_of_several_files_within_a_mask(
    curl: Callable[..., str], books: Books, files: list[str], tmp_path: Path, opened: Callable[[str], Image.Image]
) -> None:
    hole = tmp_path / "mask.png"
    hole.write_bytes(mask(512, 512, (0, 0, 256, 256)))
    form = [f"model={MODEL}", "prompt=put it there", "n=2", *(f"image[]=@{file}" for file in files), f"mask=@{hole}"]
    answer = curl("/images/edits", *(part for field in form for part in ("-F", field)))
    assert [opened(picture).size for picture in pictures(answer)] == [(512, 512)] * 2
    assert books.charges() == [("0.004000", 2)]


def test_a_form_that_waits_for_a_continue(curl: Callable[..., str], books: Books, tmp_path: Path) -> None:
    # From a megabyte on, cURL asks before it sends the body.
    noise = tmp_path / "noise.png"
    Image.effect_noise((1400, 1400), 100).save(noise)
    assert noise.stat().st_size > 1024 * 1024
    form = ("-F", f"model={MODEL}", "-F", "prompt=snow", "-F", f"image=@{noise}")
    head, _, answer = curl("/images/edits", "--include", *form).rpartition("\n\n")
    assert re.findall(r"^HTTP/1.1 (\d+)", head, re.MULTILINE) == ["100", "200"]
    assert len(pictures(answer)) == 1
    assert books.charges() == [("0.002000", 1)]


def test_a_stream(curl: Callable[..., str], books: Books) -> None:
    body = json.dumps({**json.loads(BODY), "stream": True, "partial_images": 1})
    answer = curl("/images/generations", "--no-buffer", *JSON, "-d", body)
    assert re.findall(r"^event: (.+)$", answer, re.MULTILINE) == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert books.charges() == [("0.002000", 1)]


def test_its_retries(curl: Callable[..., str], books: Books, foundry: Simulator) -> None:
    foundry.play("429(retry_after=1)")
    body = BODY.replace(MODEL, "MAI-Image-2.5")
    answer = curl("/images/generations", "--retry", "2", "--fail-with-body", *JSON, "-d", body)
    assert '"b64_json"' in answer
    assert books.charges() == [("0.033900", 1)]


def test_a_body_without_its_type_is_told_which_header_to_send(curl: Callable[..., str], books: Books) -> None:
    error = json.loads(curl("/images/generations", "-d", BODY))["error"]
    assert error["message"] == (
        "Send the body as application/json and say so in the header Content-Type, which says"
        ' "application/x-www-form-urlencoded".'
    )
    assert books.log() == []

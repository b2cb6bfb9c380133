"""The programs that pages print: each runs as it stands there, and sends exactly what it was made from."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import tree_sitter_c_sharp
from PIL import Image, ImageChops, ImageDraw
from tree_sitter import Language as Grammar
from tree_sitter import Parser

from omixa.catalogue.loader import load_catalogue
from omixa.imaging.inspect import InputFormat
from omixa.web.guide import CHAPTERS
from omixa.web.samples import LANGUAGES, Language, checked_on, sample, samples
from omixa.webhooks import sign
from tests.support.clients import NODE, ROOT, environment, missing
from tests.support.console import invited
from tests.support.servers import Gateway

CATALOGUE = load_catalogue()
RUNNING = [language for language in LANGUAGES if language.is_run]
RUN_TIMEOUT_S = 300


def needs(language: Language) -> Callable[[Path], list[str]]:
    """Return what makes the command that runs a program. Skips the test where something is not installed."""
    if language.id == "openai-node" and (reason := missing("openai_node")) is not None:
        pytest.skip(reason)
    commands: dict[str, list[str]] = {
        "bash": ["bash", "-euo", "pipefail"],
        "javascript": [str(NODE) if NODE.exists() else "node"],
        "python": [sys.executable],
        "php": ["php"],
        "go": ["go", "run"],
    }
    command = commands[language.lexer]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}, for {language.name}")

    def run(file: Path) -> list[str]:
        if language.id == "openai-node":
            modules = file.parent / "node_modules"
            if not modules.exists():
                modules.symlink_to(ROOT / "tests" / "clients" / "openai_node" / "node_modules")
        return [*command, str(file)]

    return run


def run(language: Language, source: str, directory: Path, key: str) -> str:
    """Run a program to its end and return what it prints."""
    command = needs(language)
    # A file named like a module would be found in its place.
    file = directory / f"sample.{language.template.rpartition('.')[2]}"
    file.write_text(source, encoding="utf-8")
    done = subprocess.run(
        command(file),
        cwd=directory,
        env=environment(OMIXA_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed(page: str, language: Language) -> str:
    """Return a program as the page prints it."""
    section = page.partition(f"\n## {language.name}\n")[2]
    match = re.search(rf"```{language.lexer}\n(.*?)\n```", section, re.DOTALL)
    assert match is not None
    return match[1] + "\n"


# The size of the picture that each program brings, of a photograph of 256 x 256 where the model wants one.
SIZES = {
    "MAI-Image-2.5": (1024, 1024),
    "gpt-image-2": (1024, 1024),
    "flux-2-pro": (1024, 1024),
    "omixa-cutout-1": (256, 256),
    "omixa-illustrator-1": (1024, 1024),
    "omixa-upscale-1": (512, 512),
}


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A ball on a table, as a PNG."""
    picture = Image.new("RGB", (256, 256), "#d8dee4")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 180, 256, 256), fill="#8a6d4f")
    draw.ellipse((68, 60, 188, 200), fill="#c0392b")
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("model", SIZES)
@pytest.mark.parametrize("language", RUNNING, ids=lambda language: language.id)
def test_a_program_runs_as_printed(
    gateway: Gateway, test_client: httpx.Client, tmp_path: Path, language: Language, model: str, photo: bytes
) -> None:
    needs(language)
    (tmp_path / "photo.png").write_bytes(photo)
    key = test_client.headers["authorization"].removeprefix("Bearer ")
    source = printed(test_client.get(f"/docs/models/{model}.md").text, language)
    told = run(language, source, tmp_path, key)
    with Image.open(tmp_path / "image.png") as picture:
        picture.load()
        assert picture.size == SIZES[model]
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    assert made["state"] == "captured"
    assert "image.png" in told
    assert made["billed_amount"] in told


def test_a_page_tells_when_its_programs_were_run(test_client: httpx.Client) -> None:
    page = test_client.get("/docs/models/MAI-Image-2.5").text
    for language in LANGUAGES:
        day = checked_on(language)
        # A template that was changed has to be run again: make samples.
        assert (day is not None) == language.is_run, language.name
        section = page.partition(f'id="code-{language.id}"')[2].partition("</section>")[0]
        assert (f'last on <time datetime="{day}">' in section) == language.is_run
        assert ("not run" in section) != language.is_run


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[str, list[Any]]]:
    """A server that keeps the bodies it gets, and answers with a picture of three letters."""
    bodies: list[Any] = []
    answer = {
        "created": 0,
        "data": [{"b64_json": "cGlj"}],
        "usage": {"billed_amount": "0.1"},
        "omixa": {"request_id": "r"},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            bodies.append(json.loads(sent) if self.headers["content-type"] == "application/json" else sent)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


# Whatever ends a string, begins an expression, or is no letter, somewhere.
HOSTILE = (
    "'\"`\\ $HOME ${x} $(id) #{x} {x} {{x}} %s <?php ?> </script> '''\"\"\" \n\t\u2028 \u202e ä 😀"
    " 'EOF'\nEOF\n\\u0041 \\' //"
)
BODY: dict[str, str | int | bool] = {"model": HOSTILE, "prompt": HOSTILE, "n": 2, "stream": False, "unusual": HOSTILE}


@pytest.mark.parametrize("language", RUNNING, ids=lambda language: language.id)
def test_whatever_a_request_holds_arrives(echo: tuple[str, list[Any]], tmp_path: Path, language: Language) -> None:
    address, bodies = echo
    (sample,) = [one for one in samples(BODY, base_url=address, timeout_s=60) if one.language is language]
    bodies.clear()
    run(language, sample.source, tmp_path, "omx_test_key")
    assert bodies == [BODY]
    # Of two pictures, as many are saved as came.
    assert [file.name for file in tmp_path.glob("image*")] == ["image-1.png"]
    assert (tmp_path / "image-1.png").read_bytes() == b"pic"


def test_words_of_a_form_never_name_a_file(echo: tuple[str, list[Any]], tmp_path: Path, photo: bytes) -> None:
    address, bodies = echo
    curl, *_ = LANGUAGES
    (tmp_path / "photo.png").write_bytes(photo)
    for prompt in ("@photo.png", "<photo.png", "a;type=text/html", HOSTILE):
        bodies.clear()
        body: dict[str, str | int | bool] = {"model": "m", "prompt": prompt}
        run(
            curl, sample(curl, body, base_url=address, timeout_s=60, pictures=("png",)).source, tmp_path, "omx_test_key"
        )
        assert b'name="prompt"\r\n\r\n' + prompt.encode() + b"\r\n--" in bodies[0]
        assert photo in bodies[0]


@pytest.mark.parametrize("language", RUNNING, ids=lambda language: language.id)
def test_what_the_playground_copies_sends_pictures_and_a_mask(
    gateway: Gateway, test_client: httpx.Client, tmp_path: Path, language: Language, photo: bytes
) -> None:
    needs(language)
    (tmp_path / "photo.png").write_bytes(photo)
    with Image.open(io.BytesIO(photo)) as picture:
        picture.resize((64, 64)).save(tmp_path / "photo-2.jpg", "JPEG")
        mask = Image.new("RGBA", picture.size, "black")
    mask.paste((0, 0, 0, 0), (0, 0, 128, 128))
    mask.save(tmp_path / "mask.png")
    question = {
        "language": language.id,
        "body": {"model": "omixa-illustrator-1", "prompt": "paint it blue", "n": 2, "stream": True},
        "pictures": ["png", "jpeg"],
        "mask": True,
    }
    told = test_client.post("/playground/code", json=question).json()
    assert told["left_out"] == ["stream"]
    key = test_client.headers["authorization"].removeprefix("Bearer ")
    run(language, "".join(text for _, text in told["pieces"]), tmp_path, key)
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    assert made["operation"] == "edit"
    details = test_client.get(f"/api/v1/requests/{made['id']}/receipt").json()
    assert [one["format"] for one in details["input_images"]] == ["png", "jpeg"]
    for name in ("image-1.png", "image-2.png"):
        with Image.open(io.BytesIO(photo)) as before, Image.open(tmp_path / name) as after:
            changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
        assert changed.getbbox() is not None
        changed.paste((0, 0, 0), (0, 0, 128, 128))
        assert changed.getbbox() is None


@pytest.mark.parametrize("pictures", [(), ("png",), ("png", "jpeg", "webp")], ids=len)
@pytest.mark.parametrize("body", [BODY, *(CATALOGUE.resolve(model).example for model in SIZES)], ids=str)
def test_what_is_not_run_is_at_least_a_program_of_its_language(
    body: dict[str, str | int | bool], pictures: tuple[InputFormat, ...]
) -> None:
    checked = [
        sample(language, body, timeout_s=590, pictures=pictures, has_mask=bool(pictures))
        for language in LANGUAGES
        if not language.is_run
    ]
    assert [one.language.id for one in checked] == ["csharp"]
    tree = Parser(Grammar(tree_sitter_c_sharp.language())).parse(checked[0].source.encode())
    assert not tree.root_node.has_error
    strings = []

    def collect(node: Any) -> None:
        if node.type == "string_literal":
            strings.append(json.loads(node.text))
        for child in node.children:
            collect(child)

    collect(tree.root_node)
    assert [strings.count(value) for value in body.values() if isinstance(value, str)] >= [1]


@dataclass(frozen=True)
class Block:
    """A piece of code in the guide."""

    page: str
    language: str
    source: str


def blocks(client: httpx.Client) -> list[Block]:
    """Return what the guide prints in Python, and as calls of cURL without a place for the reader to fill in."""
    found = []
    for chapter in CHAPTERS:
        text = client.get(f"/docs/{chapter.slug}.md").text
        found += [Block(chapter.slug, *match) for match in re.findall(r"```(python|sh)\n(.*?)\n```", text, re.DOTALL)]
    return [
        one for one in found if one.language == "python" or ("curl " in one.source and "REQUEST_ID" not in one.source)
    ]


def management_key(gateway: Gateway, name: str) -> str:
    """Let somebody in whom the guide names, and return a key that makes keys in their name."""
    invited(gateway, name, "admin")

    async def create(services: Any) -> str:
        _, secret = await services.workspaces.create_key(
            workspace="default", mode="live", name="", models=None, actor="test", scopes=["manage_keys"], acts_for=name
        )
        return str(secret.reveal())

    return gateway.call(create)


def test_what_the_guide_prints_runs(gateway: Gateway, test_client: httpx.Client, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    key = test_client.headers["authorization"].removeprefix("Bearer ")
    found = blocks(test_client)
    assert {one.page for one in found} >= {
        "quickstart",
        "authentication",
        "streaming",
        "edits",
        "results",
        "billing",
        "usage",
        "events",
    }
    # Operators run commands where the data directory is.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {
        "OMIXA_API_KEY": key,
        "OMIXA_MANAGEMENT_KEY": management_key(gateway, "ada@example.org"),
        "OMIXA_SIGNING_SECRET": "omx_sign_x",
        "OMIXA_DATA_DIR": gateway.settings.data_dir,
        "PATH": programs,
    }
    for block in found:
        file = tmp_path / "block"
        file.write_text(block.source, encoding="utf-8")
        command = [sys.executable] if block.language == "python" else ["bash", "-euo", "pipefail"]
        done = subprocess.run(
            [*command, str(file)],
            cwd=tmp_path,
            env=environment(**given),
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{block.page}: {block.source}\n{done.stderr}"
        assert '"error"' not in done.stdout, f"{block.page}: {done.stdout[:500]} {done.stderr}"
    with Image.open(tmp_path / "kite.png") as picture:
        picture.load()
    with Image.open(tmp_path / "kite.png") as before, Image.open(tmp_path / "masked.png") as after:
        quarter = (0, 0, before.width // 2, before.height // 2)
        changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
        assert changed.crop(quarter).getbbox() is not None
        changed.paste((0, 0, 0), quarter)
        assert changed.getbbox() is None
    assert (tmp_path / "usage.csv").read_text().startswith("request_id")


def test_the_guide_tells_a_genuine_event_from_another(test_client: httpx.Client) -> None:
    (block,) = [one for one in blocks(test_client) if one.page == "events"]
    names: dict[str, Any] = {}
    exec(block.source, names)
    key, body, now = b"k" * 24, b'{"type":"balance.low"}', int(time.time())
    secret = "whsec_" + base64.b64encode(key).decode()

    def event(at: int) -> dict[str, str]:
        return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": sign(key, "msg_1", at, body)}

    assert names["is_genuine"](event(now), body, secret)
    assert not names["is_genuine"](event(now), body + b" ", secret)
    assert not names["is_genuine"](event(now - 1000), body, secret)

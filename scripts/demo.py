"""What Omixa does, end to end, on this machine: `make demo`, and `make demo JOB=edit` or another of the table JOBS.

The main job starts a stand-in for Microsoft Foundry and an Omixa server that is configured to call it over HTTP, creates a
workspace with credit and a live key, sends one request with a reference picture, saves what comes back, and reads the bill. The
other jobs do the same with photographs and the models that come with Omixa, and save what went in beside what came out.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from omixa.engines.illustrator import Illustrator

PROMPT = "A premium black and white product dashboard, clean glass UI, high contrast."
REFERENCE_PROMPT = "One red running shoe, minimal white studio, soft light"
EXPECTED_BILL = "0.039000"
OUTPUT = Path("demo-output")
OMIXA = Path(sys.executable).with_name("omixa")
PHOTOGRAPHS = Path(__file__).parent.parent / "tests" / "photographs"
START_TIMEOUT_S = 30
STEPS = 7

_started = time.monotonic()


@dataclass(frozen=True)
class Ask:
    """One request to a model that comes with Omixa: what is given, and the name under which the result is saved.

    `pictures` are photographs or what an earlier request of the job has saved. `mask` is the box of the first picture that may
    change (left, top, right, bottom).
    """

    model: str
    pictures: tuple[str, ...]
    saves: str
    fields: Mapping[str, object] = field(default_factory=dict)
    mask: tuple[int, int, int, int] | None = None


JOBS: Mapping[str, tuple[Ask, ...]] = {
    "upscale": (Ask("omixa-upscale-1", ("coffee.png",), "after.png", {"scale": 2}),),
    "cutout": (Ask("omixa-cutout-1", ("coffee.png",), "after.png"),),
    "edit": (
        Ask(
            "omixa-illustrator-1",
            ("rocket.jpg",),
            "after.png",
            {"prompt": "Remove the tower on the right"},
            mask=(420, 105, 472, 427),
        ),
    ),
    "merge": (
        Ask("omixa-cutout-1", ("astronaut.png",), "cut-out.png"),
        Ask(
            "omixa-illustrator-1",
            ("rocket.jpg", "cut-out.png"),
            "after.png",
            {"prompt": "Put the astronaut in front of the launch pad"},
        ),
    ),
}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else "image"
    if name != "image" and name not in JOBS:
        print(f"There is no job {name}; there are: image, {', '.join(JOBS)}", file=sys.stderr)
        return 2
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    return paint() if name == "image" else embedded(JOBS[name])


def embedded(asks: tuple[Ask, ...]) -> int:
    """Do a job with the models that come with Omixa; nothing is configured and nothing leaves the machine."""
    port, total = free_port(), 2 + len(asks)
    environment = own_environment(port)
    omixa = command(environment)
    step(1, f"Start Omixa on port {port}, with nothing configured, and create a workspace with $5.00 of credit", total)
    with running(["serve"], environment, port, "omixa.log"):
        omixa("credits", "grant", "--workspace", "demo", "--mode", "live", "--amount", "5.00", "--reason", "demo")
        key = omixa("keys", "create", "--workspace", "demo", "--mode", "live")
        for number, ask in enumerate(asks, 2):
            step(number, f"POST /api/v1/images/generations: {ask.model}", total)
            fulfil(port, key, ask)
        step(total, "A check of the whole ledger", total)
        for line in omixa("ledger", "verify").splitlines():
            say(line)
    print(f"\nDone in {time.monotonic() - _started:.1f} s. Look at the pictures in {OUTPUT}: before and after.")
    return 0


def fulfil(port: int, key: str, ask: Ask) -> None:
    """Send a request, save what went in and what came out, and print the bill."""
    body: dict[str, object] = {"model": ask.model, **ask.fields}
    body["input_images"] = [data_url(given(name)) for name in ask.pictures]
    if ask.mask is not None:
        with Image.open(given(ask.pictures[0])) as shown:
            mask = Image.new("RGBA", shown.size, (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), ask.mask)
        mask.save(OUTPUT / "mask.png")
        body["mask"] = data_url(OUTPUT / "mask.png")
        say(f"mask      {OUTPUT / 'mask.png'}: only what is transparent in it may change, {ask.mask}")
    for name in ask.pictures:
        say(f"given     {keep(name)}")
    for name, value in ask.fields.items():
        say(f"{name:<9} {value}")
    started = time.monotonic()
    answer, headers = call(port, key, "/api/v1/images/generations", body)
    (OUTPUT / ask.saves).write_bytes(base64.b64decode(answer["data"][0]["b64_json"]))
    say(
        f"made      {OUTPUT / ask.saves}  ({answer['size']} {answer['output_format']}, {time.monotonic() - started:.2f} s)"
    )
    for image in answer["omixa"]["input_images"]:
        say(f"counted   {image['size']} {image['format']}: {image['pixels']:,} pixels, {image['tokens']:,} tokens")
    say(f"billed    ${headers['omixa-cost']}")


def given(name: str) -> Path:
    """Return what an earlier request has saved under a name, or the photograph of that name."""
    return OUTPUT / name if (OUTPUT / name).exists() else PHOTOGRAPHS / name


def keep(name: str) -> Path:
    """Lay a photograph beside the results, so that before and after can be compared."""
    source = given(name)
    if source.parent != OUTPUT:
        shutil.copy(source, OUTPUT / f"before-{name}")
        return OUTPUT / f"before-{name}"
    return source


def data_url(path: Path) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else path.suffix[1:]
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def own_environment(port: int, **variables: str) -> dict[str, str]:
    """Return the environment of the demo's commands, with nothing of the caller's own configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMIXA_")}
    return kept | {"OMIXA_DATA_DIR": str(OUTPUT / "data"), "OMIXA_PORT": str(port)} | variables


def command(environment: Mapping[str, str]) -> Callable[..., str]:
    """Return a function that runs an omixa command to its end and gives what it prints."""

    def omixa(*arguments: str) -> str:
        done = subprocess.run([OMIXA, *arguments], env=dict(environment), check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return omixa


def paint() -> int:
    """Do the main job."""
    provider_key, provider_port, port = secrets.token_hex(16), free_port(), free_port()
    environment = own_environment(
        port,
        OMIXA_FOUNDRY_ENDPOINT=f"http://127.0.0.1:{provider_port}",
        OMIXA_FOUNDRY_API_KEY=provider_key,
    )
    omixa = command(environment)

    step(1, "Start a stand-in for Microsoft Foundry (its wire format, its rules, painted pictures)")
    foundry = ["simulate", "foundry", "--port", str(provider_port), "--api-key", provider_key]
    with running(foundry, environment, provider_port, "simulator.log"):
        step(2, f"Start Omixa on port {port}, configured to call that address with a key")
        with running(["serve"], environment, port, "omixa.log"):
            step(3, "Create workspace 'demo' with $5.00 of credit and a live key")
            omixa("credits", "grant", "--workspace", "demo", "--mode", "live", "--amount", "5.00", "--reason", "demo")
            key = omixa("keys", "create", "--workspace", "demo", "--mode", "live")
            say(f"key   {key[:13]}…{key[-4:]}  (shown once, stored as a keyed hash)")

            step(4, "Paint a reference picture, 1024x1024 PNG")
            reference = Illustrator().paint(REFERENCE_PROMPT, width=1024, height=1024)
            (OUTPUT / "reference.png").write_bytes(reference)

            step(5, "POST /api/v1/images/generations")
            say(f'prompt  "{PROMPT}"')
            answer, headers, elapsed_s = generate(port, key, reference)
            picture = OUTPUT / "picture.png"
            picture.write_bytes(base64.b64decode(answer["data"][0]["b64_json"]))
            receipt = {name: value for name, value in answer.items() if name != "data"}
            (OUTPUT / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n")
            say(f"200 in {elapsed_s:.2f} s   Server-Timing: {headers['server-timing']}")
            say(
                f"picture saved: {picture}  ({answer['size']} {answer['output_format']}, {picture.stat().st_size:,} bytes)"
            )

            step(6, "The receipt")
            print_receipt(answer, headers)

            step(7, "What the gateway recorded, and a check of the whole ledger")
            print_record(port, key, answer["omixa"]["request_id"])
            for line in omixa("usage", "list", "--workspace", "demo").splitlines():
                say(line)
            say()
            for line in omixa("ledger", "verify").splitlines():
                say(line)
    billed = answer["usage"]["billed_amount"]
    if billed != EXPECTED_BILL:
        print(f"\nThe bill is ${billed} and should be ${EXPECTED_BILL}.", file=sys.stderr)
        return 1
    print(
        f"\nDone in {time.monotonic() - _started:.1f} s: one request, one picture, charged once and exactly: ${billed}"
    )
    print(f"Look at {picture}. Start your own server: .venv/bin/omixa serve")
    return 0


def generate(port: int, key: str, reference: bytes) -> tuple[dict[str, Any], Any, float]:
    """Send the example request and return the answer, its headers and the seconds it took."""
    url = "data:image/png;base64," + base64.b64encode(reference).decode()
    body = {
        "model": "MAI-Image-2.5",
        "prompt": PROMPT,
        "n": 1,
        "size": "1024x1024",
        "quality": "high",
        "output_format": "png",
        "input_images": [{"type": "image_url", "image_url": {"url": url}}],
    }
    started = time.monotonic()
    answer, headers = call(port, key, "/api/v1/images/generations", body)
    return answer, headers, time.monotonic() - started


def call(port: int, key: str, path: str, body: object = None) -> tuple[dict[str, Any], Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response), response.headers
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{path} answered {error.code}: {error.read().decode()}") from error


def print_receipt(answer: dict[str, Any], headers: Any) -> None:
    omixa = answer["omixa"]
    say(f"request         {omixa['request_id']}")
    say(f"model           {omixa['model']}  by {omixa['route']}, {len(omixa['attempts'])} attempt")
    say(f"price version   {omixa['price_version']}")
    for item in omixa["line_items"]:
        unit = f"${item['unit_price']} per {item['per']:,}"
        say(f"  {item['component']:<14}{item['quantity']:>8,} x {unit:<24} ${item['amount']}")
    say(f"  {'exact':<48} ${omixa['exact_amount']}")
    say(
        f"  {'billed, rounded ' + omixa['rounding'] + ' once to $' + omixa['rounded_to']:<48} ${omixa['billed_amount']}"
    )
    say(f"held before     ${omixa['held_amount']}  (the highest this request could cost; the rest was given back)")
    say(f"ignored         {', '.join(omixa['ignored_parameters']) or 'nothing'}")
    say(f"header          Omixa-Cost: {headers['omixa-cost']}")


def print_record(port: int, key: str, request_id: str) -> None:
    record, _ = call(port, key, f"/api/v1/requests/{request_id}")
    balance, _ = call(port, key, "/api/v1/balance")
    say(f"GET /requests/…  state {record['state']}, billed ${record['billed_amount']}")
    say(f"GET /balance     posted ${balance['posted']}, held ${balance['held']}, available ${balance['available']}")


@contextlib.contextmanager
def running(arguments: list[str], environment: dict[str, str], port: int, log: str) -> Iterator[None]:
    """Run an omixa command until the block ends; its log stays beside the picture."""
    with (OUTPUT / log).open("w") as output:
        process = subprocess.Popen([OMIXA, *arguments], env=environment, stdout=output, stderr=output)
        try:
            wait_for(port, process, OUTPUT / log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"it did not start:\n{log.read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"it did not listen within {START_TIMEOUT_S} s:\n{log.read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def step(number: int, text: str, total: int = STEPS) -> None:
    print(f"\n[{number}/{total}] {text}   ({time.monotonic() - _started:.1f} s)", flush=True)


def say(text: str = "") -> None:
    print(f"      {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

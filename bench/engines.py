"""`python -m bench.engines`: how good and how fast the networks are that enlarge and cut out, and what the gateway adds to them.

Quality is measured on the photographs of the tests, against Lanczos and, where OpenCV is installed, against its GrabCut. Time is
measured over HTTP, a request at a time, and in turn with the engine alone in this process, on the same picture with equally many
threads.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from PIL import Image

from bench.machine import facts
from bench.meter import Meter
from omixa.engines.cutout import Cutter, Cutting
from omixa.engines.upscaler import Enlargement, Upscaler
from omixa.engines.workers import Engine, Workers
from tests.support.quality import (
    CUT_OUT,
    ENLARGED,
    Array,
    boundary_error,
    halved,
    intersection_over_union,
    mask_of,
    photograph,
    psnr,
    ssim,
)

RESULTS = Path(__file__).with_name("results") / "engines.md"
# A request may take this much of what the engine alone takes.
TARGET = 1.2
# GrabCut is told that the thing lies inside this margin, a share of each side.
GRABCUT_MARGIN = 0.04
GRABCUT_ROUNDS = 5


@dataclass(frozen=True)
class Work:
    """A job as the engine gets it and as a request says it, and what both took in each round.

    Times are in seconds, on the clock and of processors; those of a request are the server's and its worker's together.
    """

    name: str
    engine: Callable[[], Engine[Any, bytes]]
    job: Enlargement | Cutting
    body: Mapping[str, Any]
    alone_s: list[float] = field(default_factory=list)
    request_s: list[float] = field(default_factory=list)
    alone_cpu_s: list[float] = field(default_factory=list)
    request_cpu_s: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios on the clock."""
        return _ratio(self.request_s, self.alone_s)

    @property
    def cpu_ratio(self) -> float:
        """Return the median of the rounds' ratios of processor time."""
        return _ratio(self.request_cpu_s, self.alone_cpu_s)


def _ratio(some: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(some, others, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description="The networks: quality, time, memory.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often times are measured (5)")
    parser.add_argument("--quick", action="store_true", help="time only the two jobs that the target is about")
    options = parser.parse_args(arguments)
    works = [_enlarging("2x of 512x512", 512, 2), _cutting("cut-out of 1024x1024", 1024)]
    if not options.quick:
        works += [
            _enlarging("4x of 512x512", 512, 4),
            _enlarging("2x of 1024x1024", 1024, 2),
            _cutting("cut-out of 4096x4096", 4096),
        ]
    _measure(works, options.rounds)
    text = "\n".join([*_head(), *_enlarged(), *_cut_out(), *_times(works)]) + "\n"
    print(text)
    RESULTS.write_text(text)
    return 0


def _enlarging(name: str, side: int, scale: int) -> Work:
    png = _png(photograph("astronaut.png").resize((side, side), Image.Resampling.LANCZOS))
    body = {"model": "omixa-upscale-1", "scale": scale, "input_images": [_data_url(png)]}
    return Work(name, Upscaler, Enlargement(png, scale), body)


def _cutting(name: str, side: int) -> Work:
    png = _png(photograph("astronaut.png").resize((side, side), Image.Resampling.LANCZOS))
    return Work(name, Cutter, Cutting(png), {"model": "omixa-cutout-1", "input_images": [_data_url(png)]})


# ------------------------------------------------------------------------------------------------------------------- time


def _measure(works: Sequence[Work], rounds: int) -> None:
    engines = {Upscaler: Upscaler(), Cutter: Cutter()}
    with _server() as (address, key, pid):
        meter = Meter(pid)
        for turn in range(rounds + 1):
            for work in works:
                begin, cpu = time.perf_counter(), time.process_time()
                *_, alone = engines[work.engine].carry_out(work.job)  # type: ignore[index, attr-defined]
                alone_cpu_s = time.process_time() - cpu
                meter.start()
                between = time.perf_counter()
                made = _ask(address, key, work.body)
                end = time.perf_counter()
                request_cpu_s = meter.stop().cpu_s or 0.0
                assert made == alone, "both must make the same of it"
                # The first turn loads the networks and starts the worker.
                if turn:
                    work.alone_s.append(between - begin)
                    work.request_s.append(end - between)
                    work.alone_cpu_s.append(alone_cpu_s)
                    work.request_cpu_s.append(request_cpu_s)


@contextmanager
def _server() -> Iterator[tuple[str, str, int]]:
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"OMIXA_DATA_DIR": data}
        omixa = [sys.executable, "-m", "omixa"]
        made = subprocess.run(
            [*omixa, "keys", "create", "--mode", "test"], env=environment, capture_output=True, check=True
        )
        server = subprocess.Popen([*omixa, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            address = re.search(r"http://\S+", server.stderr.readline())
            assert address is not None
            yield address[0], made.stdout.decode().strip(), server.pid
        finally:
            server.terminate()
            server.wait()


def _ask(address: str, key: str, body: Mapping[str, Any]) -> bytes:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{address}/images/generations", msgspec.json.encode(body), headers)
    with urllib.request.urlopen(request) as answer:
        return base64.b64decode(msgspec.json.decode(answer.read())["data"][0]["b64_json"])


def _peak_mb(work: Work) -> int | None:
    """Return the most memory that a worker's process takes for this work alone; None where the system does not tell."""

    async def run(workers: Workers) -> None:
        await workers.finished(work.engine, work.job, timeout_s=600)

    with Workers(1) as workers:
        asyncio.run(run(workers))
        (pid,) = workers.pids
        status = Path(f"/proc/{pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if found is None else int(found[1]) // 1024


def _times(works: Sequence[Work]) -> Iterator[str]:
    load, processors = os.getloadavg()[0], os.cpu_count()
    yield from ("", "## Time and memory", "")
    yield f"Medians of {len(works[0].alone_s)} rounds, one request at a time. Where other programs load the machine, trust"
    yield from (f"processor time: at the end {load:.1f} wanted to run at once on {processors} processors.", "")
    yield "| job | request, s | engine alone, s | ratio | request, s of CPU | alone, s of CPU | ratio | peak memory, MB |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"
    for work in works:
        request, alone = statistics.median(work.request_s), statistics.median(work.alone_s)
        request_cpu, alone_cpu = statistics.median(work.request_cpu_s), statistics.median(work.alone_cpu_s)
        yield (
            f"| {work.name} | {request:.2f} | {alone:.2f} | {work.ratio:.2f}"
            f" | {request_cpu:.2f} | {alone_cpu:.2f} | {work.cpu_ratio:.2f} | {_peak_mb(work) or '?'} |"
        )
    for kind, worst, ratio in (
        ("on the clock", max(works, key=lambda work: work.ratio), max(work.ratio for work in works)),
        ("of processor time", max(works, key=lambda work: work.cpu_ratio), max(work.cpu_ratio for work in works)),
    ):
        verdict = "within" if ratio <= TARGET else "above"
        yield from (
            "",
            f"The highest ratio {kind} is that of {worst.name}: {ratio:.2f}, {verdict} the target of {TARGET}.",
        )


# ---------------------------------------------------------------------------------------------------------------- quality


def _enlarged() -> Iterator[str]:
    yield from ("", "## Enlarging", "", "A photograph is halved with Lanczos and made twice as large again.", "")
    yield "| photograph | PSNR Lanczos, dB | PSNR network, dB | SSIM Lanczos | SSIM network |"
    yield "| --- | --: | --: | --: | --: |"
    engine, rows = Upscaler(), []
    for name in ENLARGED:
        whole, half = halved(photograph(name))
        original, plain = np.asarray(whole), np.asarray(half.resize(whole.size, Image.Resampling.LANCZOS))
        *_, result = engine.carry_out(Enlargement(_png(half), 2))
        made = _pixels(result)
        rows.append((psnr(plain, original), psnr(made, original), ssim(plain, original), ssim(made, original)))
        yield "| {} | {:.2f} | {:.2f} | {:.4f} | {:.4f} |".format(name, *rows[-1])
    yield "| mean | {:.2f} | {:.2f} | {:.4f} | {:.4f} |".format(*np.mean(rows, axis=0))


def _cut_out() -> Iterator[str]:
    yield from ("", "## Cutting out", "", "Against masks drawn by hand (`tests/photographs/README.md`).", "")
    yield "| photograph | IoU GrabCut | IoU network | boundary GrabCut, px | boundary network, px |"
    yield "| --- | --: | --: | --: | --: |"
    engine = Cutter()
    for name in CUT_OUT:
        picture, mask = photograph(name), mask_of(name)
        (result,) = engine.carry_out(Cutting(_png(picture)))
        mine, theirs = _pixels(result)[..., 3], _grabcut(picture)
        shared, apart = intersection_over_union(mine, mask), boundary_error(mine, mask)
        if theirs is None:
            yield f"| {name} | ? | {shared:.3f} | ? | {apart:.1f} |"
            continue
        others = intersection_over_union(theirs, mask), boundary_error(theirs, mask)
        yield f"| {name} | {others[0]:.3f} | {shared:.3f} | {others[1]:.1f} | {apart:.1f} |"


def _grabcut(picture: Image.Image) -> Array | None:
    """Return OpenCV's mask of what lies inside a margin, or None where OpenCV is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    pixels = np.asarray(picture)[..., ::-1].copy()
    height, width = pixels.shape[:2]
    margins = int(width * GRABCUT_MARGIN), int(height * GRABCUT_MARGIN)
    inside = (*margins, width - 2 * margins[0], height - 2 * margins[1])
    mask = np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, mask, inside, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    return np.where((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------- helpers


def _head() -> Iterator[str]:
    known = facts(Path(__file__).parent)
    where = ", ".join(known[name] for name in ("system", "processor", "memory"))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = f"Python {known['python']}, onnxruntime {onnxruntime.__version__}, commit {known['commit']}"
    yield from ("# Enlarging and cutting out", "", f"{now}, {where}, {versions}.")


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _pixels(png: bytes) -> Array:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


if __name__ == "__main__":
    raise SystemExit(main())

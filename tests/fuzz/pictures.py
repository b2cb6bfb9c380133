"""`python -m tests.fuzz.pictures --inputs 1000000 --seed 1`: broken pictures against what looks at them before any decoder.

Each input is a seed of `corpus/` that was cut, spliced, repeated, overwritten or lied about, many of them with checksums and
lengths put right again, so that they come past the first look. Every input must be described, or refused with
UnacceptableImage; what is accepted must keep what `load_input` promises; and the memory of the process must not grow. An input
that breaks this is printed in hexadecimal.
"""

from __future__ import annotations

import argparse
import random
import re
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omixa.domain.images import Image
from omixa.imaging.codec import convert
from omixa.imaging.inputs import MAX_SIDE_RATIO, load_input
from omixa.imaging.inspect import MAX_INPUT_PIXELS, UnacceptableImage, examine, look
from tests.fuzz.seeds import seeds

MAX_INPUT_BYTES = 20_000
# Of resident memory, between a tenth of the way and the end: what an allocator keeps here and there.
MAX_GROWTH_BYTES = 16 * 1024 * 1024

_INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    127,
    128,
    255,
    256,
    257,
    16_383,
    16_384,
    32_767,
    32_768,
    65_535,
    2**24 - 1,
    2**31 - 1,
)
_WORDS = (
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"eXIf", b"caBX", b"acTL", b"fdAT", b"zTXt",
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xe1", b"\xff\xe2", b"\xff\xeb", b"\xff\xee",
    b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"EXIF", b"ICCP", b"C2PA", b"jumb", b"jumdc2pa",
    b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe", b"JFIF\0", b"II*\0", b"MM\0*", b"acsp", b"<svg", b"PK\3\4",
)  # fmt: skip


@dataclass(slots=True)
class Found:
    """What came of the inputs: how many of each outcome, the slowest input, and memory in bytes early and at the end."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    seconds: float = 0.0
    early_bytes: int = 0
    end_bytes: int = 0

    @property
    def growth_bytes(self) -> int:
        """Return by how much resident memory grew."""
        return self.end_bytes - self.early_bytes


class Broken(AssertionError):
    """An input did what no input may do. The message holds it in hexadecimal."""


def run(inputs: int, seed: int, *, decode_every: int = 0, tell: Callable[[str], None] = lambda _: None) -> Found:
    """Try so many inputs, and decode each so-manieth of those that are accepted. Raises Broken."""
    chance, corpus, found = random.Random(seed), seeds(), Found()
    begin = time.perf_counter()
    for number in range(inputs):
        data = mutated(chance, corpus)
        started = time.perf_counter()
        try:
            outcome = _try(data, decode=decode_every > 0 and number % decode_every == 0)
        except Exception as error:
            raise Broken(
                f"seed {seed}, input {number}: {type(error).__name__}: {error}; the input is {data.hex()}"
            ) from error
        found.slowest_s = max(found.slowest_s, time.perf_counter() - started)
        found.outcomes[outcome] += 1
        if number == inputs // 10:
            found.early_bytes = _resident_bytes()
        if (number + 1) % 50_000 == 0:
            tell(f"{number + 1:>9,} inputs, {_resident_bytes() / 2**20:.1f} MiB, {time.perf_counter() - begin:.0f} s")
    found.seconds, found.end_bytes = time.perf_counter() - begin, _resident_bytes()
    return found


def _try(data: bytes, *, decode: bool) -> str:
    try:
        look(data)
        image = load_input(data)
    except UnacceptableImage as error:
        return error.reason_code
    _check(image)
    if decode:
        _decode(image)
    return "needs decoding" if image.needs_decoding else "accepted"


def _check(image: Image) -> None:
    info = image.info
    assert 0 < info.width * info.height <= MAX_INPUT_PIXELS
    assert max(info.width, info.height) <= MAX_SIDE_RATIO * min(info.width, info.height)
    if image.needs_decoding:
        return
    described, structure = examine(image.data)
    assert described == info
    assert structure.is_bare
    assert structure.metadata_bytes == structure.further_bytes == 0
    assert load_input(bytes(image.data)).data == image.data


def _decode(image: Image) -> None:
    """Decode a small picture; one that cannot be is refused, and one that can is as its structure says."""
    if image.info.width * image.info.height > 1_000_000:
        return
    try:
        done = convert(image.data, format=image.info.format)
    except UnacceptableImage:
        return
    assert (done.info.width, done.info.height) == (image.info.width, image.info.height)


# --------------------------------------------------------------------------------------------------------------- mutations


def mutated(chance: random.Random, corpus: Mapping[str, bytes]) -> bytes:
    """Return a seed with some damage, of at most MAX_INPUT_BYTES."""
    names = list(corpus)
    data = bytearray(corpus[chance.choice(names)])
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        chance.choice(_MUTATIONS)(chance, data)
        if chance.random() < 0.05:
            other = corpus[chance.choice(names)]
            data[chance.randint(0, len(data)) :] = other[chance.randint(0, len(other)) :]
    del data[MAX_INPUT_BYTES:]
    if chance.random() < 0.6:
        _put_right(data)
    return bytes(data)


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _lie(chance: random.Random, data: bytearray) -> None:
    """Write a number where there may be a length or a size."""
    value, form = chance.choice(_INTERESTING), chance.choice((">H", "<H", ">I", "<I"))
    packed = struct.pack(form, value % (2**16 if form[1] == "H" else 2**32))
    place = chance.randint(0, min(len(data), chance.choice((32, 64, MAX_INPUT_BYTES))))
    data[place : place + len(packed)] = packed


def _insert(chance: random.Random, data: bytearray) -> None:
    place = chance.randint(0, len(data))
    data[place:place] = chance.choice(
        (chance.choice(_WORDS), chance.randbytes(chance.randint(1, 12)), bytes(chance.randint(1, 90)))
    )


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randint(0, len(data)) :]


def _drop(chance: random.Random, data: bytearray) -> None:
    place = chance.randint(0, len(data))
    del data[place : place + chance.choice((1, 2, 4, 12, 60))]


def _repeat(chance: random.Random, data: bytearray) -> None:
    place = chance.randint(0, len(data))
    piece = data[place : place + chance.choice((4, 12, 40, 200))]
    data[place:place] = piece * chance.choice((1, 1, 2, 8))


def _append(chance: random.Random, data: bytearray) -> None:
    data += chance.choice((b"\n", b"PK\3\4" + bytes(20), bytes(40), b"\xff\xd9", bytes(data)))


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _overwrite, _overwrite, _lie, _lie, _lie, _insert, _cut, _drop, _repeat, _append,
)  # fmt: skip

_PNG_CHUNK = re.compile(rb"(?s:....)([A-Za-z]{4})")


def _put_right(data: bytearray) -> None:
    """Correct a PNG's checksums as far as its chunks can be followed, or a WebP's length."""
    if data[:4] == b"RIFF" and len(data) >= 12:
        data[4:8] = struct.pack("<I", len(data) - 8)
    elif data[:4] == b"\x89PNG":
        position = 8
        while position + 12 <= len(data) and _PNG_CHUNK.match(data, position):
            end = position + 8 + int.from_bytes(data[position : position + 4], "big")
            if end + 4 > len(data):
                return
            data[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
            position = end + 4


def _resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the system does not tell it so."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and tell; return 0 when nothing broke and memory stayed flat."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.pictures", description="Broken pictures, by the million."
    )
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="how many (1,000,000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the damage (1)")
    parser.add_argument("--decode-every", type=int, default=0, metavar="N", help="also decode every N-th (none)")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}, {len(seeds())} files to begin with", flush=True)
    try:
        found = run(
            options.inputs, options.seed, decode_every=options.decode_every, tell=lambda line: print(line, flush=True)
        )
    except Broken as error:
        print(error, file=sys.stderr)
        return 1
    for outcome, number in found.outcomes.most_common():
        print(f"{number:>9,}  {outcome}")
    print(
        f"{options.inputs:,} inputs in {found.seconds:.0f} s, the slowest {found.slowest_s * 1000:.1f} ms; memory"
        f" {found.early_bytes / 2**20:.1f} MiB early, {found.end_bytes / 2**20:.1f} MiB at the end"
    )
    return 0 if found.growth_bytes <= MAX_GROWTH_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())

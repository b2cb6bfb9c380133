"""Rebuild the illustrator's vendored data: pictures, the words that mean them, and its font.

Sources, each named with its version and the sha256 of its archive in SOURCES:
* @iconify-json/noto   Noto Emoji as SVG bodies                        Apache-2.0
* emojilib             words for emoji                                 MIT
* @fontsource/inter    the Inter typeface, split by script             OFL-1.1

Run it in a throw-away environment that holds fonttools, brotli, pillow and resvg-py; `npm` fetches the archives:

    python scripts/refresh_illustrator.py

It writes subjects.json.xz, the fonts, the licence texts and manifest.json into the package's data folder.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import json
import lzma
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
DATA_DIR: Final = ROOT / "src" / "omixa" / "engines" / "illustrator" / "data"


@dataclass(frozen=True)
class Source:
    """One archive: package name, version, sha256 of the archive and the licence file to keep."""

    package: str
    version: str
    sha256: str
    licence: str


SOURCES: Final = (
    Source(
        "@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", "Apache-2.0"
    ),
    Source("emojilib", "4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303", "MIT"),
    Source("@fontsource/inter", "5.3.0", "02034af8d41dcc67ac8eab88f642e129bb8a2e8922abf30229c32725f54d8fd6", "OFL-1.1"),
)
FONTS: Final = ("latin-500", "latin-700", "latin-ext-700", "cyrillic-700", "greek-700")
CANVAS: Final = 128
NOTO_NOTICE: Final = """Noto Emoji, Copyright Google LLC, licensed under the Apache License, Version 2.0.
Changes made here: a selection of the pictures, compiled into one file, with ids renamed and boxes and colours added.

"""

KEPT_CATEGORIES: Final = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
KEPT_OTHERS: Final = """
    artist astronaut baby baby-angel ballet-dancer bone boy brain construction-worker cook detective elf eye factory-worker
    fairy farmer firefighter genie girl guard handshake health-worker horse-racing judge mage man man-dancing
    man-in-suit-levitating man-running man-standing man-walking man-fairy man-superhero mechanic mermaid merman ninja
    office-worker old-man old-woman people-holding-hands person person-biking person-bouncing-ball person-cartwheeling
    person-climbing person-fencing person-golfing person-in-bed person-in-lotus-position person-juggling
    person-lifting-weights person-playing-handball person-rowing-boat person-running person-standing person-surfing
    person-swimming person-taking-bath person-walking pilot police-officer prince princess santa-claus scientist singer skier
    snowboarder student superhero supervillain teacher technologist troll vampire woman woman-and-man-holding-hands
    woman-biking woman-dancing woman-fairy woman-in-lotus-position woman-running woman-standing woman-superhero
    woman-surfing woman-walking zombie anatomical-heart thumbs-up waving-hand
    alien alien-monster clown-face ghost goblin ogre robot skull red-heart pile-of-poo smiling-face-with-sunglasses
    grinning-face smiling-face-with-heart-eyes
    """
DROPPED: Final = """
    airplane-arrival airplane-departure bridge-at-night brick bus-stop cityscape cityscape-at-dusk cigarette club-suit
    construction desert diamond-suit fog foggy heart-suit kaaba map-of-japan milky-way national-park night-with-stars
    spade-suit sunrise sunrise-over-mountains sunset station suspension-railway mountain-railway
    motorway railway-track globe-with-meridians cyclone hot-springs bell-with-slash muted-speaker level-slider
    speaker-low-volume speaker-medium-volume broken-chain low-battery yen-banknote dollar-banknote euro-banknote
    pound-banknote chart-increasing-with-yen drop-of-blood locked-with-pen umbrella-with-rain-drops wing wind-face shooting-star
    fireworks sparkler
    love-hotel wedding new-moon-face first-quarter-moon-face last-quarter-moon-face full-moon-face sun-with-face
    moon-viewing-ceremony
    waning-crescent-moon waning-gibbous-moon waxing-crescent-moon waxing-gibbous-moon first-quarter-moon last-quarter-moon
    microbe pig-nose cricket-game oncoming-police-car oncoming-taxi oncoming-bus cooking
    card-index-dividers optical-disk x-ray leaf-fluttering-in-wind paw-prints rosette landslide metro
    closed-mailbox-with-raised-flag open-mailbox-with-lowered-flag closed-mailbox-with-lowered-flag
    womans-clothes bookmark-tabs incoming-envelope envelope-with-arrow mobile-phone-with-arrow
    """
DROPPED_PATTERN: Final = re.compile(r"oclock|thirty|skin-tone|-tone\d|flag-|medal-|sun-behind|cloud-with|map-")


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


def render(body: str, width: int, height: int) -> Any:
    import resvg_py
    from PIL import Image

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="{CANVAS}" height="{CANVAS}">{body}</svg>'
    )
    return Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))).convert("RGBA")


def main_colour(picture: Any) -> str:
    """Give the colour, averaged over its most frequent shade, that covers most of the picture."""
    buckets: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for *channels, alpha in picture.resize((48, 48)).get_flattened_data():
        if alpha > 200:
            buckets.setdefault(tuple(v // 32 for v in channels), []).append(tuple(channels))
    largest = max(buckets.values(), key=len)
    return "#" + "".join(f"{sum(channel) // len(largest):02x}" for channel in zip(*largest, strict=True))


def dominant_hue(picture: Any) -> int:
    """Give the hue, in degrees, that covers most saturated pixels; -1 for a grey picture."""
    votes = [0.0] * 24
    visible = 0
    for red, green, blue, alpha in picture.resize((48, 48)).get_flattened_data():
        if alpha < 128:
            continue
        visible += 1
        hue, light, saturation = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
        if saturation > 0.25 and 0.12 < light < 0.93:
            votes[int(hue * 24) % 24] += saturation
    smooth = [votes[k - 1] + 2 * votes[k] + votes[(k + 1) % 24] for k in range(24)]
    if sum(votes) < 0.06 * max(visible, 1):
        return -1
    return round((smooth.index(max(smooth)) + 0.5) * 15) % 360


def with_open_ids(body: str) -> str:
    """Name the ids ~0, ~1, … so that a user of the body can make them unique by replacing the tilde."""
    assert "~" not in body
    names = sorted(set(re.findall(r'\bid="([^"]+)"', body)), key=len, reverse=True)
    for number, name in enumerate(names):
        body = re.sub(rf'(id="|url\(#|href="#){re.escape(name)}(?=["\)])', rf"\g<1>~{number}", body)
    return body


def compile_icon(icon: dict[str, Any]) -> list[Any]:
    """Give [body, left, top, right, bottom, hue, colour]: the box of visible pixels on a canvas of 128 x 128."""
    width, height = icon.get("width", CANVAS), icon.get("height", CANVAS)
    picture = render(icon["body"], width, height)
    left, top, right, bottom = picture.getchannel("A").point(lambda value: 255 * (value > 40)).getbbox()
    body = with_open_ids(icon["body"])
    if (width, height) != (CANVAS, CANVAS):
        body = f'<g transform="scale({CANVAS / width:.5f})">{body}</g>'
    return [body, left, top, right, bottom, dominant_hue(picture), main_colour(picture)]


def kept_names(icons: dict[str, Any], categories: dict[str, list[str]]) -> list[str]:
    wanted = {name for key in KEPT_CATEGORIES for name in categories[key]} | set(KEPT_OTHERS.split())
    dropped = set(DROPPED.split())
    return sorted(n for n in wanted if n in icons and n not in dropped and not DROPPED_PATTERN.search(n))


def compile_words(names: list[str], chars: dict[str, str], keywords: dict[str, list[str]]) -> dict[str, str]:
    """Give each word or phrase the icon it fits best: whole names first, then parts of names, then keywords."""
    best: dict[str, tuple[float, str]] = {}

    def offer(word: str, score: float, name: str) -> None:
        if len(word) > 2 and score > best.get(word, (0.0, ""))[0]:
            best[word] = (score, name)

    for name in names:
        parts = name.split("-")
        offer(" ".join(parts), 10, name)
        offer(parts[-1], 6 - len(parts), name)
        offer(parts[0], 3 - 0.1 * len(parts), name)
    kept = set(names)
    for char, words in sorted(keywords.items()):
        icon = chars.get("-".join(f"{ord(c):x}" for c in char if c != "\ufe0f"))
        if icon in kept:
            for position, word in enumerate(words):
                offer(word.replace("_", " ").lower(), 2 - 0.02 * position, str(icon))
    return {word: name for word, (_, name) in sorted(best.items()) if re.fullmatch(r"[a-z][a-z ]+", word)}


def write_fonts(folder: Path) -> None:
    from fontTools.ttLib import TTFont

    for name in FONTS:
        font = TTFont(folder / "files" / f"inter-{name}-normal.woff2")
        font.flavor = None
        font["head"].modified = font["head"].created
        font.save(DATA_DIR / f"inter-{name}.ttf")


def write_manifest() -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(DATA_DIR.iterdir())
        if path.name != "manifest.json"
    }
    sources = [{"package": s.package, "version": s.version, "sha256": s.sha256, "licence": s.licence} for s in SOURCES]
    (DATA_DIR / "manifest.json").write_text(json.dumps({"sources": sources, "files": files}, indent=2) + "\n")


def main() -> None:
    """Fetch, compile and write everything."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        noto, words, inter = (fetch(source, Path(temporary)) for source in SOURCES)
        icons = json.loads((noto / "icons.json").read_text())["icons"]
        categories = json.loads((noto / "metadata.json").read_text())["categories"]
        names = kept_names(icons, categories)
        pack = {
            "icons": {name: compile_icon(icons[name]) for name in names},
            "words": compile_words(
                names,
                json.loads((noto / "chars.json").read_text()),
                json.loads((words / "dist" / "emoji-en-US.json").read_text()),
            ),
        }
        text = json.dumps(pack, separators=(",", ":"), sort_keys=True).encode()
        (DATA_DIR / "subjects.json.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
        write_fonts(inter)
        (DATA_DIR / "LICENSE-noto-emoji.txt").write_text(NOTO_NOTICE + (ROOT / "LICENSE").read_text())
        (DATA_DIR / "LICENSE-emojilib.txt").write_bytes((words / "LICENSE").read_bytes())
        (DATA_DIR / "LICENSE-inter.txt").write_bytes((inter / "LICENSE").read_bytes())
    write_manifest()
    print(f"{len(pack['icons'])} pictures, {len(pack['words'])} words")


if __name__ == "__main__":
    main()

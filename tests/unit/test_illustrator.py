"""The embedded illustrator: words to plan, plan to SVG, SVG to pixels; edits; the vendored data."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from statistics import correlation

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from omixa.engines.illustrator import Illustrator
from omixa.engines.illustrator.colour import GRADES, hls, light, regrade, towards
from omixa.engines.illustrator.edit import read_reference
from omixa.engines.illustrator.finish import writable
from omixa.engines.illustrator.library import DATA_DIR, FONT_FILES, Library, load_library
from omixa.engines.illustrator.masked import make_wish
from omixa.engines.illustrator.plan import MAX_COUNT, MAX_SUBJECTS, Plan, Subject, make_plan
from omixa.engines.illustrator.scene import BACKDROPS, draw_scene
from omixa.engines.illustrator.words import ALIASES
from omixa.errors import InvalidRequest

README_PROMPT = "A premium black and white product dashboard, clean glass UI, high contrast."
SIDE = 256  # small pictures keep the tests fast; the drawing is the same at any size
MAX_FILE_BYTES = 1_400_000
MAX_DATA_BYTES = 3_000_000


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def illustrator() -> Illustrator:
    return Illustrator()


@pytest.fixture(scope="module")
def reference(illustrator: Illustrator) -> bytes:
    return illustrator.paint("a red car driving through the mountains", width=384, height=256)


def decoded(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return picture.convert("RGB")


def difference(first: Image.Image, second: Image.Image) -> float:
    """Give the mean difference of two pictures of one size, 0..255."""
    return sum(ImageStat.Stat(ImageChops.difference(first, second)).mean) / 3


def likeness(first: Image.Image, second: Image.Image) -> float:
    """Give the correlation of the brightness of two pictures at 32 x 32."""
    pixels = [list(p.convert("L").resize((32, 32)).get_flattened_data()) for p in (first, second)]
    return correlation(*pixels)


# ------------------------------------------------------------------------------------------------------- words to plan


@pytest.mark.parametrize(
    ("prompt", "place", "time", "style"),
    [
        (README_PROMPT, "ui", "day", "mono"),
        ("a cat on the beach at sunset", "sea", "sunset", None),
        ("neon city street at night", "city", "night", "neon"),
        ("blueprint of a bowl", "studio", "day", "blueprint"),
        ("a whale", "underwater", "day", None),
        ("tropical fish on a coral reef", "underwater", "day", None),
        ("a perfume bottle", "studio", "day", None),
        ("loneliness", "abstract", "day", None),
        ("desert planet seen from orbit", "space", "day", None),
        ("retro synthwave skyline", "city", "day", "neon"),
    ],
)
def test_words_decide_place_time_and_style(
    library: Library, prompt: str, place: str, time: str, style: str | None
) -> None:
    plan = make_plan(prompt, library)
    assert (plan.place, plan.time, plan.style) == (place, time, style)


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("a red car", [Subject("automobile", 1, "#e23b3b")]),
        ("three penguins", [Subject("penguin", 3)]),
        ("two cats and a blue bird", [Subject("cat", 2), Subject("bird", 1, "#2f6fed")]),
        ("an elephant family", [Subject("elephant", 3)]),
        ("fireworks over an ice cream truck", [Subject("soft-ice-cream"), Subject("delivery-truck")]),
        ("flying cars", [Subject("automobile", 3, flying=True)]),
        ("two astronauts playing guitar", [Subject("astronaut", 2), Subject("guitar", 1)]),
        ("a stack of books", [Subject("books", 1)]),
        ("turquoise water with palm trees", [Subject("palm-tree", 3)]),
        ("black and white cat", [Subject("cat", 1)]),
        ("a beautiful big modern premium look", []),
    ],
)
def test_nouns_become_subjects(library: Library, prompt: str, subjects: list[Subject]) -> None:
    assert list(make_plan(prompt, library).subjects) == subjects


def test_a_scene_paints_its_own_features(library: Library) -> None:
    assert make_plan("a full moon over snowy mountains with trees", library).subjects == ()


def test_quotes_are_kept_apart_from_the_words(library: Library) -> None:
    plan = make_plan('a sign that says "Red Cat Café" in a park', library)
    assert plan.quotes == ("Red Cat Café",)
    assert all(s.icon != "cat" for s in plan.subjects)


def test_prompt_and_variant_make_the_seed(library: Library) -> None:
    seeds = {
        make_plan(prompt, library, variant=v).seed
        for prompt in ("a", "b", "c" * 100_000, "c" * 100_000 + "d")
        for v in (0, 1)
    }
    assert len(seeds) == 8


def test_every_alias_names_a_picture(library: Library) -> None:
    assert set(ALIASES.values()) <= set(library.pictures)
    assert set(library.words.values()) <= set(library.pictures)


# --------------------------------------------------------------------------------------------------------- plan to SVG


def svg_of(prompt: str, library: Library, width: int = SIDE, height: int = SIDE) -> str:
    return draw_scene(make_plan(prompt, library), library, width, height)


SCENES = [
    README_PROMPT,
    "a phone app",
    "two sailboats and a duck on a lake",
    'three red balloons over the sea with "Hi"',
    "blueprint of a rocket",
    "a fox and a lion, watercolor",
    "a wizard in a castle, vintage",
    "aurora over a village, snowing",
    "rainbow in the fog",
    *(f"{place.replace('_', ' ')} with two dogs" for place in BACKDROPS),
]


@pytest.mark.parametrize("prompt", SCENES)
def test_documents_are_well_formed_closed_and_free_of_references_outwards(library: Library, prompt: str) -> None:
    svg = svg_of(prompt, library, 300, 200)
    root = ET.fromstring(svg)
    ids = Counter(element.get("id") for element in root.iter() if element.get("id"))
    assert set(ids.values()) <= {1}
    links = [v for element in root.iter() for k, v in element.attrib.items() if k.endswith("href")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    used = {
        part.split(")")[0] for element in root.iter() for v in element.attrib.values() for part in v.split("url(#")[1:]
    }
    assert used <= set(ids)
    assert "~" not in svg
    assert (root.get("width"), root.get("height")) == ("300", "200")


@pytest.mark.parametrize(
    "prompt", ['"<script>alert(1)</script>"', '"a & b <c>" dashboard', "“]]>&lt;!--”", '"<image href=x>" blueprint']
)
def test_quoted_markup_stays_text(library: Library, prompt: str) -> None:
    root = ET.fromstring(svg_of(prompt, library))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "image", "c", "foreignObject"}


def test_a_colour_repaints_the_subject_and_keeps_its_greys(library: Library) -> None:
    car = library.pictures["automobile"]
    repaint = towards("#2f6fed", car.hue_deg)
    assert 200 < hls(repaint("#ff2a23"))[0] < 240
    assert repaint("#808080") == "#808080"
    assert regrade(car.body, repaint) != car.body


def test_grades_map_colours_to_colours() -> None:
    for grade in GRADES.values():
        for colour in ("#000000", "#ffffff", "#e23b3b", "#2f6fed", "#7f7f7f"):
            assert len(grade(colour)) == 7
            assert 0 <= light(grade(colour)) <= 1
    red, green, blue = (int(GRADES["mono"]("#e23b3b")[k : k + 2], 16) for k in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) <= 3


def test_regrading_leaves_words_alone() -> None:
    svg = '<text fill="#ff0000">fill=#ff0000 #ff0000</text>'
    assert regrade(svg, lambda _: "#000000") == '<text fill="#000000">fill=#ff0000 #ff0000</text>'


def test_only_drawable_letters_are_set() -> None:
    assert writable("Grüße, Мир, Ωμέγα") == "Grüße, Мир, Ωμέγα"
    assert writable("سلام 你好 🎉 ok\x07") == "ok"


# ---------------------------------------------------------------------------------------------------------- to pixels


@pytest.mark.parametrize("size", [(1024, 1024), (832, 1248), (1248, 832), (768, 2048), (2048, 768), (777, 1001)])
def test_sizes_are_exact(illustrator: Illustrator, size: tuple[int, int]) -> None:
    assert decoded(illustrator.paint("a house", width=size[0], height=size[1])).size == size


def test_the_same_request_gives_the_same_bytes_in_another_process(illustrator: Illustrator) -> None:
    prompt = 'two blue birds over a lake at dawn, "Morning"'
    program = (
        "import sys, hashlib; from omixa.engines.illustrator import Illustrator; "
        f"print(hashlib.sha256(Illustrator().paint(sys.argv[1], width={SIDE}, height={SIDE}, variant=3)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program, prompt], capture_output=True, text=True, check=True)
    here = illustrator.paint(prompt, width=SIDE, height=SIDE, variant=3)
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_threads_share_one_illustrator() -> None:
    fresh = Illustrator()
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda _: fresh.paint("a tree by a lake", width=SIDE, height=SIDE), range(4)))
    assert len(set(pictures)) == 1


def test_other_prompts_and_variants_give_visibly_other_pictures(illustrator: Illustrator) -> None:
    requests = [(p, 0) for p in ("a cat", "a dog", "zxqv", "zxqw", "loneliness", README_PROMPT)] + [
        ("a cat", 1),
        ("zxqv", 1),
    ]
    pictures = [decoded(illustrator.paint(p, width=SIDE, height=SIDE, variant=v)) for p, v in requests]
    assert min(difference(a, b) for a, b in combinations(pictures, 2)) > 4


def test_the_readme_picture_is_a_grey_high_contrast_dashboard(illustrator: Illustrator) -> None:
    picture = decoded(illustrator.paint(README_PROMPT, width=512, height=512))
    red, green, blue = picture.split()
    spread = (
        ImageStat.Stat(ImageChops.difference(red, blue)).mean[0]
        + ImageStat.Stat(ImageChops.difference(red, green)).mean[0]
    )
    assert spread < 8
    dark, bright = picture.convert("L").getextrema()
    assert dark < 20
    assert bright > 245


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " ",
        "?!…",
        "\x00\x01\x1f",
        "🦊🚀",
        "مرحبا بالعالم",
        "\ud800",
        "<svg><script>&\"'",
        "cat " * 25_000,
        '"' * 5_000,
        '"' + "x" * 100_000 + '"',
        "'" * 9_999,
    ],
)
def test_any_text_gives_a_picture(illustrator: Illustrator, prompt: str) -> None:
    assert decoded(illustrator.paint(prompt, width=128, height=128)).size == (128, 128)


PROMPT_WORDS = st.sampled_from(
    [
        *BACKDROPS,
        *GRADES,
        "red",
        "two",
        "dog",
        "dogs",
        "ui",
        "phone",
        "rain",
        "fog",
        "night",
        "and",
        '"Hi"',
        "sailboat",
        "lion",
        "wizard",
        "blueprint",
        "rocket",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=80), st.lists(PROMPT_WORDS, max_size=9).map(" ".join)), st.integers(0, 3))
@example("&#0;", 0)
def test_any_plan_can_be_painted(illustrator: Illustrator, library: Library, prompt: str, variant: int) -> None:
    plan: Plan = make_plan(prompt, library, variant=variant)
    assert len(plan.subjects) <= MAX_SUBJECTS
    assert all(1 <= s.count <= MAX_COUNT for s in plan.subjects)
    assert decoded(illustrator.paint(prompt, width=64, height=96, variant=variant)).size == (64, 96)


# ---------------------------------------------------------------------------------------------------------------- edit


@pytest.mark.parametrize(
    "prompt",
    [
        "make it night",
        "black and white",
        "add a balloon",
        "let it snow",
        'write "HELLO"',
        "vintage",
        "golden light",
        "xyzzy plugh",
        "",
    ],
)
def test_an_edit_changes_the_picture_and_keeps_it_recognisable(
    illustrator: Illustrator, reference: bytes, prompt: str
) -> None:
    before = decoded(reference)
    after = decoded(illustrator.edit(prompt, reference, width=before.width, height=before.height))
    assert after.size == before.size
    assert difference(before, after) > 1.5
    assert likeness(before, after) > 0.45


def test_edits_are_deterministic_and_depend_on_prompt_and_variant(illustrator: Illustrator, reference: bytes) -> None:
    edits = [
        illustrator.edit(p, reference, width=SIDE, height=SIDE, variant=v)
        for p, v in (("abc", 0), ("abc", 0), ("abd", 0), ("abc", 1))
    ]
    assert edits[0] == edits[1]
    assert len(set(edits)) == 3


@pytest.mark.parametrize("prompt", ["a glass dashboard", "put it in a forest"])
def test_an_edit_can_frame_the_reference_in_a_new_scene(illustrator: Illustrator, prompt: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "#00ff00").save(stream, "JPEG", quality=95)
    picture = decoded(illustrator.edit(prompt, stream.getvalue(), width=400, height=400))
    pixels = [(r, g, b) for r, g, b in picture.get_flattened_data() if g > 240 and r < 20 and b < 20]
    assert 0.1 < len(pixels) / 400**2 < 0.7


def test_a_reference_is_never_stretched(illustrator: Illustrator) -> None:
    stream = io.BytesIO()
    square = Image.new("RGB", (200, 200), "#ffffff")
    square.paste("#000000", (50, 50, 150, 150))
    square.save(stream, "PNG")
    wide = (
        decoded(illustrator.edit('"."', stream.getvalue(), width=600, height=300)).convert("L").crop((150, 0, 450, 300))
    )
    left, top, right, bottom = wide.point(lambda v: 255 * (v < 60)).getbbox() or (0, 0, 0, 0)
    assert abs((right - left) - (bottom - top)) <= 4


def test_a_transparent_reference_lies_on_white(illustrator: Illustrator) -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(stream, "PNG")
    picture = decoded(illustrator.edit('"."', stream.getvalue(), width=64, height=64))
    assert picture.getpixel((5, 60)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("large", [False, True])
def test_a_reference_stands_upright_whatever_its_size(format: str, large: bool) -> None:
    stream = io.BytesIO()
    width, height = (4000, 2000) if large else (400, 200)
    sideways = Image.new("RGB", (width, height), "#ff0000")
    sideways.paste("#0000ff", (0, 0, width // 2, height))
    exif = Image.Exif()
    exif[274] = 6  # the right side of what is stored is the bottom
    sideways.save(stream, format, exif=exif)
    upright = read_reference(stream.getvalue())
    assert upright.height == pytest.approx(2 * upright.width, abs=2)
    assert upright.width * upright.height <= 4_194_304
    middle = upright.width // 2
    top, bottom = (upright.getpixel((middle, y)) for y in (upright.height // 4, 3 * upright.height // 4))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert (top[2] > 200, bottom[0] > 200) == (True, True)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a" + b"\0" * 40])
def test_an_unreadable_reference_is_the_callers_fault(illustrator: Illustrator, data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        illustrator.edit("night", data, width=64, height=64)


@pytest.mark.parametrize(
    ("prompt", "empties", "things"),
    [
        ("remove the tower", True, []),
        ("Remove the man with the hat by the sea", True, []),
        ("erase the dog and add a cat", True, ["cat"]),
        ("replace the car with a red balloon", True, ["balloon"]),
        ("a fox instead of the cup", True, ["fox"]),
        ("add a fox", False, ["fox"]),
        ("a clear blue sky", False, []),
        ("paint it red", False, []),
    ],
)
def test_what_is_removed_or_replaced_is_not_drawn(
    library: Library, prompt: str, empties: bool, things: list[str]
) -> None:
    wish = make_wish(prompt, library)
    assert wish.empties == empties
    assert [subject.icon for subject in (wish.plan.subjects if wish.plan else ())] == things


# ---------------------------------------------------------------------------------------------------------------- data


def test_vendored_files_match_the_manifest_and_are_small() -> None:
    manifest = json.loads((DATA_DIR / "manifest.json").read_text())
    found = {p.name: p.read_bytes() for p in DATA_DIR.iterdir() if p.name != "manifest.json"}
    assert {n: hashlib.sha256(b).hexdigest() for n, b in found.items()} == {
        n: f["sha256"] for n, f in manifest["files"].items()
    }
    assert max(map(len, found.values())) < MAX_FILE_BYTES
    assert sum(map(len, found.values())) < MAX_DATA_BYTES
    assert {source["licence"] for source in manifest["sources"]} == {"Apache-2.0", "MIT", "OFL-1.1"}
    assert {n for n in found if n.startswith("LICENSE")} == {
        "LICENSE-noto-emoji.txt",
        "LICENSE-emojilib.txt",
        "LICENSE-inter.txt",
    }
    assert all(name.startswith(str(DATA_DIR)) for name in FONT_FILES)


def test_vendored_pictures_hold_shapes_only(library: Library) -> None:
    assert len(library.pictures) > 800
    tags = Counter(
        element.tag
        for picture in library.pictures.values()
        for element in ET.fromstring(f'<svg xmlns:xlink="x">{picture.body.replace("~", "i")}</svg>').iter()
    )
    assert not set(tags) & {"script", "image", "foreignObject", "style", "a", "text"}
    assert all(0 <= p.left < p.right <= 128 and 0 <= p.top < p.bottom <= 128 for p in library.pictures.values())

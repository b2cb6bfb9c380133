"""The playground in a real browser: from a first visit to a picture with its receipt, with a pointer and without one."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import Browser, Page, expect

from omixa.domain.money import parse_usd
from omixa.web.models import short_usd
from omixa.web.samples import LANGUAGES, sample
from tests.support.browser import PHONE, Theme, opened
from tests.support.servers import Gateway, running_gateway

THEMES: tuple[Theme, ...] = ("light", "dark")
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
ILLUSTRATOR = "omixa-illustrator-1"
MAI = "MAI-Image-2.5"
# What Chromium says of an answer that is an error, whoever expected it.
REFUSED = "Failed to load resource"
HOSTILE = (
    "<img src=x onerror=document.title='broken'> <svg onload=alert(1)> </script> </textarea> \u202e '\"` &lt; ${x} {{ 7*7 }} "
    + "A" * 10_000
)


@pytest.fixture
def key(gateway: Gateway, workspace: str) -> str:
    """A test key of the test's workspace."""
    return gateway.key("test", workspace)


@pytest.fixture
def tolerant(browser: Browser) -> Iterator[Page]:
    """A page on which the gateway may say no, and nothing else may go wrong."""
    with opened(browser) as (page, wrong):
        yield page
        assert [one for one in wrong if not one.startswith(REFUSED)] == []


def picture(size: tuple[int, int] = (256, 192)) -> bytes:
    """Return a ball on a table, as a PNG."""
    drawn = Image.new("RGB", size, "#d8dee4")
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, size[1] * 3 // 4, *size), fill="#8a6d4f")
    draw.ellipse((size[0] // 3, size[1] // 4, size[0] * 2 // 3, size[1] * 4 // 5), fill="#c0392b")
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def visit(page: Page, gateway: Gateway, key: str, address: str = "") -> None:
    """Open the playground and paste a key."""
    page.goto(f"{gateway.url}/playground{address}")
    page.get_by_label("API key").fill(key)


def field(page: Page, name: str) -> Any:
    """Return the control of a parameter in the form that is shown."""
    return page.locator(f"fieldset:not([hidden]) [data-field={name}]")


def ceiling(client: httpx.Client, **body: Any) -> int:
    """Return what the API says that a request costs at most, in micro-USD."""
    return parse_usd(client.post("/api/v1/images/estimate", json=body).json()["ceiling"]["amount"])


def run(page: Page) -> None:
    """Press the button as soon as it says what that costs, and wait for the end."""
    expect(page.locator("#run-price")).to_have_text(re.compile(r"^\$"))
    page.locator("#run").click()
    expect(page.locator("#run-label")).to_have_text(re.compile("^Run( both)?$"))


def assert_readable(page: Page) -> None:
    page.evaluate(AXE)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(theme, one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


def test_from_a_first_visit_to_a_first_picture(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client, tmp_path: Path
) -> None:
    page.goto(gateway.url)
    page.get_by_role("link", name="Try it").click()
    page.wait_for_url(f"{gateway.url}/playground*")
    expect(page.locator("#mode")).to_contain_text("No key yet")
    page.get_by_label("API key").fill(key)
    expect(page.locator("#mode")).to_contain_text("Test mode")
    page.get_by_label("Model", exact=True).select_option(ILLUSTRATOR)
    field(page, "prompt").fill("a red fox in the snow")
    page.evaluate(
        """() => {
          window.previews = 0;
          new MutationObserver((changes) => {
            for (const change of changes) for (const node of change.addedNodes) {
              if (node.querySelector?.("img[alt^=Preview]")) window.previews += 1;
            }
          }).observe(document.getElementById("results"), { childList: true, subtree: true });
        }"""
    )
    expect(page.locator("#run-price")).to_have_text(
        f"${short_usd(ceiling(test_client, model=ILLUSTRATOR, prompt='a red fox in the snow'))}"
    )
    run(page)
    assert page.evaluate("window.previews") >= 1
    card = page.locator(".result")
    expect(card.locator("header .state")).to_have_text("done")
    assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 1024
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    receipt = test_client.get(f"/api/v1/requests/{made['id']}/receipt").json()
    expect(card.locator(".lines")).to_contain_text(f"Charged once${receipt['billed_amount']}")
    expect(card.locator(".lines")).to_contain_text(receipt["price_version"])
    for item in receipt["line_items"]:
        expect(card.locator(".lines")).to_contain_text(f"{item['quantity']:,} × ${item['unit_price']}")
    expect(card.locator(".timeline li")).to_have_count(len(receipt["attempts"]))
    expect(card.locator(".timeline")).to_contain_text(receipt["attempts"][0]["route"])
    with page.expect_download() as download:
        card.get_by_text("Download").click()
    assert download.value.suggested_filename == f"{made['id']}-1.png"
    download.value.save_as(tmp_path / "saved.png")
    stored = test_client.get(f"/api/v1/requests/{made['id']}/result").json()["data"][0]["b64_json"]
    assert (tmp_path / "saved.png").read_bytes() == base64.b64decode(stored)
    # The key is in the tab and nowhere else.
    assert key not in page.url
    assert page.evaluate("sessionStorage.getItem('omixa.key')") == key
    assert key not in json.dumps(page.evaluate("Object.entries(localStorage)"))
    assert_readable(page)
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def test_the_band_tells_modes_apart_and_a_wrong_key_goes_nowhere(page: Page, gateway: Gateway, workspace: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.headers.get("authorization", "")))
    page.goto(f"{gateway.url}/playground?model={ILLUSTRATOR}")
    band = page.locator("#mode")
    page.get_by_label("API key").fill("sk-somebody-elses-secret")
    expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    expect(band).to_have_attribute("data-mode", "none")
    gateway.grant(1_000_000, workspace=workspace)
    page.get_by_label("API key").fill(gateway.key("live", workspace))
    expect(band).to_contain_text("Live mode")
    expect(page.locator("#run-price")).to_have_text(re.compile(r"^\$"))
    expect(page.locator("#price-note")).to_contain_text("Available: $1.00")
    live = band.evaluate("band => getComputedStyle(band).background")
    page.get_by_label("API key").fill(gateway.key("test", workspace))
    expect(band).to_contain_text("Test mode")
    assert band.evaluate("band => getComputedStyle(band).background") != live
    expect(page.locator("#price-note")).to_contain_text("play money")
    page.get_by_role("button", name="Forget it").click()
    expect(band).to_contain_text("No key yet")
    assert page.evaluate("sessionStorage.getItem('omixa.key')") is None
    assert not [header for header in sent if "sk-" in header]


def test_two_models_are_compared_with_time_and_price(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    visit(page, gateway, key, f"?model={MAI.lower()}")
    expect(page.get_by_label("Model", exact=True)).to_have_value(MAI)
    field(page, "prompt").fill("a lamp on a desk")
    field(page, "size").select_option("1536x1024")
    page.get_by_label("Compare with").select_option(ILLUSTRATOR)
    highest = [
        ceiling(test_client, model=model, prompt="a lamp on a desk", size="1536x1024") for model in (MAI, ILLUSTRATOR)
    ]
    expect(page.locator("#run-label")).to_have_text("Run both")
    expect(page.locator("#run-price")).to_have_text(f"${short_usd(sum(highest))}")
    run(page)
    cards = page.locator(".result")
    expect(cards).to_have_count(2)
    amounts = []
    for place, model in enumerate((MAI, ILLUSTRATOR)):
        expect(cards.nth(place).locator("header .name")).to_have_text(model)
        expect(cards.nth(place).locator("header .state")).to_have_text("done")
        text = cards.nth(place).locator(".facts-of .sum dd").text_content() or ""
        amounts.append(int(text.strip("$").replace(".", "")))
    versus = page.locator("#versus")
    percent = round(100 * (amounts[1] - amounts[0]) / amounts[0])
    expect(versus).to_contain_text(f"Price−{-percent} %")
    expect(versus).to_contain_text(re.compile(r"Time(the same|[−+]\d+ %)"))
    expect(versus).to_contain_text("1,000 such requests$2.00, not $")
    assert_readable(page)
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def test_a_request_is_made_again_beside_what_it_brought(
    page: Page, gateway: Gateway, key: str, workspace: str, test_client: httpx.Client
) -> None:
    body = {"model": ILLUSTRATOR, "prompt": "a red fox", "size": "1536x1024"}
    made = test_client.post("/api/v1/images/generations", json=body).raise_for_status().json()["omixa"]["request_id"]
    visit(page, gateway, key, f"#model={ILLUSTRATOR}&size=1536x1024&before={made}")
    expect(page.locator("#replay-id")).to_have_text(made)
    expect(page.locator("#price-note")).to_contain_text("needs a prompt first")
    expect(field(page, "size")).to_have_value("1536x1024")
    field(page, "prompt").fill("a blue fox")
    run(page)
    cards = page.locator(".result")
    expect(cards).to_have_count(2)
    expect(cards.nth(0).locator(".progress")).to_contain_text("shown again")
    expect(cards.nth(1).locator("header .state")).to_have_text("done")
    for place in range(2):
        image = cards.nth(place).locator("img")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1536
    expect(page.locator("#versus")).to_contain_text("Pricethe same")
    expect(page.locator("#versus")).to_contain_text(re.compile(r"Time(the same|[−+]\d+ %)"))
    # It is a new request, and charged as one.
    assert [one["billed_amount"] for one in test_client.get("/api/v1/usage/requests").json()["data"]] == [
        "0.002000"
    ] * 2
    assert_readable(page)
    page.get_by_role("button", name="Without it").click()
    expect(page.locator("#replay")).to_be_hidden()


def test_what_the_second_model_does_not_take_is_told(page: Page, gateway: Gateway, key: str) -> None:
    visit(page, gateway, key, f"#model={ILLUSTRATOR}&compare={MAI}&prompt=a+fox&background=transparent")
    expect(page.locator("#prices")).to_contain_text("B · does not take: background")
    page.get_by_label("Compare with").select_option("omixa-upscale-1")
    expect(page.locator("#price-note")).to_contain_text("omixa-upscale-1 needs a picture first")


def add_picture(page: Page, name: str = "ball.png") -> bytes:
    data = picture()
    page.locator("#files").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    expect(page.locator("#given li")).to_have_count(1)
    return data


def sent_body(page: Page) -> dict[str, Any]:
    """Run, and return the body that was sent and what came back, as a picture."""
    with page.expect_request("**/images/generations") as request:
        run(page)
    body: dict[str, Any] = json.loads(request.value.post_data or "")
    return body


def made_picture(test_client: httpx.Client) -> Image.Image:
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    stored = test_client.get(f"/api/v1/requests/{made['id']}/result").json()["data"][0]["b64_json"]
    return Image.open(io.BytesIO(base64.b64decode(stored))).convert("RGB")


def opened_url(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def assert_masked(body: dict[str, Any], data: bytes, after: Image.Image) -> None:
    """Check that the mask is one, and that the model changed nothing outside of it."""
    assert base64.b64decode(body["input_images"][0].partition(",")[2]) == data
    mask = opened_url(body["mask"])
    with Image.open(io.BytesIO(data)) as before:
        assert mask.size == before.size == after.size
        changed = ImageChops.difference(before.convert("RGB"), after)
    alpha = mask.getchannel("A")
    assert alpha.getextrema() == (0, 255)
    assert changed.getbbox() is not None
    # Only what is fully transparent may change.
    kept = alpha.point(lambda value: 255 if value else 0)
    changed.paste((0, 0, 0), mask=ImageChops.invert(kept))
    assert changed.getbbox() is None


def test_a_painted_mask_really_masks(page: Page, gateway: Gateway, key: str, test_client: httpx.Client) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    field(page, "prompt").fill("paint it blue")
    data = add_picture(page)
    page.get_by_role("button", name="Paint where to edit").click()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for height in (0.3, 0.9):
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * height)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * height, steps=5)
        page.mouse.up()
    page.get_by_role("button", name="Undo").click()
    assert_readable(page)
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-note")).to_have_text("Only what is painted may change.")
    body = sent_body(page)
    expect(page.locator(".result header .state")).to_have_text("done")
    alpha = opened_url(body["mask"]).getchannel("A")
    left, top, right, bottom = alpha.point(lambda value: 255 - value).getbbox() or (0, 0, 0, 0)
    # The first stroke alone: the second one, further down, was undone.
    assert 60 < left < 90
    assert 140 < right < 170
    assert top < 0.3 * 192 < bottom < 0.7 * 192
    assert_masked(body, data, made_picture(test_client))
    # What was made can be edited further, and has no mask of its own yet.
    page.get_by_role("button", name="Edit this picture").click()
    expect(page.locator("#given .dims")).to_have_text("256×192")
    expect(page.locator("#mask-note")).to_contain_text("the whole picture may change")


def test_the_keyboard_alone_makes_a_masked_picture(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    # Choosers are only told of from the moment at which somebody listens.
    page.on("filechooser", lambda _: None)
    page.goto(f"{gateway.url}/playground?model={ILLUSTRATOR}")
    reach(page, "key")
    page.keyboard.type(key)
    reach(page, field(page, "prompt").get_attribute("id"))
    page.keyboard.press("Control+a")
    page.keyboard.type("paint it blue")
    reach(page, "files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    data = picture()
    chooser.value.set_files({"name": "ball.png", "mimeType": "image/png", "buffer": data})
    expect(page.locator("#given li")).to_have_count(1)
    reach(page, "paint")
    page.keyboard.press("Enter")
    expect(page.locator("#canvas")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#painter-state")).to_contain_text("strokes: 2")
    page.keyboard.press("Control+z")
    expect(page.locator("#painter-state")).to_contain_text("strokes: 1")
    reach(page, "use")
    page.keyboard.press("Enter")
    expect(page.locator("#mask-note")).to_have_text("Only what is painted may change.")
    expect(page.locator("#run-price")).to_have_text(re.compile(r"^\$"))
    with page.expect_request("**/images/generations") as request:
        page.keyboard.press("Control+Enter")
    expect(page.locator(".result header .state")).to_have_text("done")
    assert_masked(json.loads(request.value.post_data or ""), data, made_picture(test_client))
    reach(page, "download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".png")


def reach(page: Page, name: str) -> None:
    """Press Tab until the element of an id, a value or an attribute has the focus, and see that it is shown to have it."""
    for _ in range(80):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """(name) => {
              const at = document.activeElement;
              return at.id === name || at.value === name || at.hasAttribute(name);
            }""",
            name,
        )
        if found:
            shown = page.evaluate("document.activeElement.matches(':focus-visible')")
            assert shown
            return
    raise AssertionError(f"no Tab leads to {name}")


def test_pictures_come_by_drop_and_by_paste(page: Page, gateway: Gateway, key: str) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    script = """([target, name, type, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], "one.png", { type: "image/png" }));
      const event = type === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector(target).dispatchEvent(event);
    }"""
    encoded = base64.b64encode(picture()).decode()
    page.evaluate(script, ["#drop", "one.png", "drop", encoded])
    expect(page.locator("#given li")).to_have_count(1)
    page.evaluate(script, ["body", "two.png", "paste", encoded])
    expect(page.locator("#given li")).to_have_count(2)
    page.evaluate(script, ["#drop", "x", "drop", base64.b64encode(b"no picture").decode()])
    expect(page.locator("#pictures-note")).to_contain_text("is no PNG, JPEG, WebP or AVIF")
    page.get_by_role("button", name="Remove picture 1").click()
    expect(page.locator("#given li")).to_have_count(1)
    expect(page.locator("#prices")).to_contain_text(ILLUSTRATOR)


def test_an_error_names_its_page_its_request_and_its_field(
    tolerant: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    page = tolerant
    visit(page, gateway, key, f"#model={MAI}&prompt=sim:filter+a+lamp&stream=true")
    run(page)
    card = page.locator(".result")
    expect(card.locator("header .state")).to_have_text("content_policy_violation")
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    expect(card.locator(".request")).to_have_text(made["id"])
    expect(card.locator(".timeline li")).to_have_count(1)
    expect(card.locator(".lines")).to_contain_text("Charged once$0.000000")
    assert_readable(page)
    card.get_by_text("What this means and who must act").click()
    page.wait_for_url(f"{gateway.url}/docs/errors/content_policy_violation")
    page.go_back()
    field(page, "n").fill("11")
    expect(page.locator("#price-note")).to_contain_text("n must be an integer from 1 to 10")
    expect(field(page, "n")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#run-price")).to_have_text("")


def test_every_attempt_is_on_the_timeline(page: Page, gateway: Gateway, key: str) -> None:
    visit(page, gateway, key, f"#model={MAI}&prompt=sim:500x1+a+lamp&n=3&stream=true")
    run(page)
    gateway.forget_faults()
    # What arrived is given and paid for; what failed is shown beside it, for nothing.
    expect(page.locator(".result header .state")).to_have_text("done")
    expect(page.locator(".result figure")).to_have_count(2)
    expect(page.locator(".result .tags")).to_contain_text("1 failed, free")
    expect(page.locator(".timeline li")).to_have_count(3)
    expect(page.locator(".timeline .bar.bad")).to_have_count(1)
    expect(page.locator(".timeline")).to_contain_text("picture 3")


def test_whoever_stops_waiting_can_ask_again_and_is_charged_once(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    visit(page, gateway, key, f"#model={MAI}&prompt=sim:slow=3+a+lamp&stream=true")
    expect(page.locator("#run-price")).to_have_text(re.compile(r"^\$"))
    page.locator("#run").click()
    expect(page.locator(".result .progress")).to_contain_text("The provider works")
    page.get_by_role("button", name="Stop waiting").click()
    expect(page.locator(".result header .state")).to_have_text("left")
    page.get_by_role("button", name="Ask again, charged once").click()
    expect(page.locator(".result header .state")).to_have_text("done")
    expect(page.locator("#runs li")).to_have_count(1)
    (made,) = test_client.get("/api/v1/usage/requests").json()["data"]
    expect(page.locator(".result .lines")).to_contain_text(f"Charged once${made['billed_amount']}")
    # What is available was told again.
    balance = parse_usd(test_client.get("/api/v1/balance").json()["available"])
    expect(page.locator("#price-note")).to_contain_text(
        f"${balance // 1_000_000:,}.{balance % 1_000_000:06d}".rstrip("0")
    )


def test_a_request_beyond_the_balance_is_told_before_it_is_made(
    tolerant: Page, gateway: Gateway, workspace: str
) -> None:
    gateway.grant(1_000, workspace=workspace)
    visit(tolerant, gateway, gateway.key("live", workspace), f"?model={ILLUSTRATOR}")
    expect(tolerant.locator("#price-note")).to_contain_text("Would be refused now")
    run(tolerant)
    expect(tolerant.locator(".result header .state")).to_have_text("insufficient_balance")
    expect(tolerant.locator(".result .page")).to_have_attribute(
        "href", re.compile("/docs/errors/insufficient_balance$")
    )


def test_hostile_words_and_names_are_shown_and_do_nothing(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    field(page, "prompt").fill(HOSTILE)
    add_picture(page, f"{HOSTILE[:200].replace('/', '')}.png")
    run(page)
    expect(page.locator(".result header .state")).to_have_text("done")
    expect(page.locator("#runs .prompt")).to_have_text(HOSTILE[:200])
    expect(page.locator("#given .name")).to_contain_text("<img src=x onerror=")
    expect(page.locator("[role=tabpanel]:visible pre")).to_contain_text("<svg onload=alert(1)>")
    # A link with all of it in it shows the same.
    page.reload()
    expect(field(page, "prompt")).to_have_value(HOSTILE)
    expect(page.locator("#runs .prompt")).to_have_text(HOSTILE[:200])
    assert page.locator("[onerror], [onload]").count() == 0
    assert page.title() == "Playground · Omixa"
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def test_a_link_holds_the_form_and_neither_the_key_nor_pictures(
    page: Page, browser: Browser, gateway: Gateway, key: str
) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    field(page, "prompt").fill("two foxes & a #hash")
    field(page, "size").select_option("1024x1536")
    add_picture(page)
    expect(page.locator("#run-price")).to_have_text(re.compile(r"^\$"))
    page.get_by_role("button", name="Copy link to this form").click()
    expect(page.get_by_text("Copied", exact=True).first).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{gateway.url}/playground#model=")
    assert key not in link
    assert len(link) < 300
    with opened(browser) as (other, wrong):
        other.goto(link)
        expect(other.get_by_label("Model", exact=True)).to_have_value(ILLUSTRATOR)
        expect(field(other, "prompt")).to_have_value("two foxes & a #hash")
        expect(field(other, "size")).to_have_value("1024x1536")
        expect(other.get_by_label("API key")).to_have_value("")
        expect(other.locator("#given li")).to_have_count(0)
        assert wrong == []


def test_runs_of_the_tab_are_kept_and_shown_again(
    page: Page, gateway: Gateway, key: str, test_client: httpx.Client
) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    for prompt in ("a red fox", "a blue boat"):
        field(page, "prompt").fill(prompt)
        run(page)
        expect(page.locator(".result header .state")).to_have_text("done")
    expect(page.locator("#runs li")).to_have_count(2)
    page.reload()
    expect(page.locator("#mode")).to_contain_text("Test mode")
    expect(page.locator("#runs .prompt")).to_have_text(["a blue boat", "a red fox"])
    page.locator("#runs li").nth(1).get_by_role("button").click()
    expect(field(page, "prompt")).to_have_value("a red fox")
    expect(page.locator(".result .progress")).to_contain_text("shown again")
    expect(page.locator(".result .lines")).to_contain_text("Charged once$0.002000")
    # Looking at a picture again asks for nothing new.
    assert len(test_client.get("/api/v1/usage/requests").json()["data"]) == 2


def test_the_code_is_that_of_the_form_in_the_chosen_language(page: Page, gateway: Gateway, key: str) -> None:
    visit(page, gateway, key, f"?model={ILLUSTRATOR}")
    field(page, "prompt").fill("a 'red' fox")
    field(page, "n").fill("2")
    add_picture(page)
    body: dict[str, str | int | bool] = {"model": ILLUSTRATOR, "prompt": "a 'red' fox", "n": 2}
    for language in LANGUAGES:
        page.get_by_role("tab", name=language.name, exact=True).click()
        source = sample(language, body, base_url=gateway.api, timeout_s=590, pictures=("png",)).source
        expect(page.locator(f"#source-{language.id}")).to_have_text(source, use_inner_text=False)
        page.locator(f"[data-copy=source-{language.id}]").click()
        page.wait_for_function("async (text) => (await navigator.clipboard.readText()) === text", arg=source)
    expect(page.locator("#code-note")).to_contain_text("It reads photo.png beside it.")
    expect(page.locator("#code-note")).to_contain_text("Without stream, partial_images")
    assert key not in page.locator("#program").inner_text()


def test_an_answer_without_a_stream_and_one_of_links_are_shown_too(page: Page, gateway: Gateway, key: str) -> None:
    visit(page, gateway, key, f"#model={ILLUSTRATOR}&prompt=a+fox&n=2&output_format=jpeg")
    expect(field(page, "stream")).not_to_be_checked()
    run(page)
    expect(page.locator(".result figure")).to_have_count(2)
    expect(page.locator(".result .tags")).to_contain_text("jpeg")
    visit(page, gateway, key, f"#model={ILLUSTRATOR}&prompt=a+boat&response_format=url&stream=true")
    page.reload()
    run(page)
    expect(page.locator(".result header .state")).to_have_text("done")
    expect(page.locator(".result figure")).to_have_count(1)


def test_without_a_script_the_page_says_what_to_do(browser: Browser, gateway: Gateway) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gateway.url}/playground")
    expect(page.locator("#unscripted")).to_contain_text("needs JavaScript")
    expect(page.get_by_text("curl -sS --fail-with-body")).to_be_visible()
    assert page.locator("form:visible, button:visible, #mode:visible").count() == 0
    context.close()


def test_it_works_below_a_path(page: Page, tmp_path: Path) -> None:
    with running_gateway(tmp_path, public_url="https://example.org/omixa") as gateway:
        page.goto(f"{gateway.url}/omixa/playground?model={ILLUSTRATOR}")
        page.get_by_label("API key").fill(gateway.key("test"))
        run(page)
        expect(page.locator(".result header .state")).to_have_text("done")
        expect(page.locator(".result .lines")).to_contain_text("Charged once")
        expect(page.locator("[role=tabpanel]:visible pre")).to_contain_text("https://example.org/omixa/api/v1/images")

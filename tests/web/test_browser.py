"""Pages in a real browser: nothing goes wrong on any of them, everybody can read them, and what can be pressed does its work."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from omixa.catalogue.loader import load_catalogue
from tests.support.browser import PHONE, Theme
from tests.support.servers import Gateway

THEMES: tuple[Theme, ...] = ("light", "dark")
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
MODEL = "docs/models/MAI-Image-2.5"
# Every page that has a template of its own, and of the error pages, which share one, those with the most to say.
PAGES = (
    "",
    "docs",
    "docs/models",
    *(f"docs/models/{model}" for model in load_catalogue().model_ids),
    "playground",
    "docs/quickstart",
    "docs/authentication",
    "docs/test-mode",
    "docs/streaming",
    "docs/edits",
    "docs/results",
    "docs/retries",
    "docs/billing",
    "docs/receipts",
    "docs/usage",
    "docs/events",
    "docs/limits",
    "docs/errors",
    "docs/errors/provider_unavailable",
    "docs/errors/max_cost_exceeded",
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "front")
def test_nothing_goes_wrong_and_everybody_can_read_it(page: Page, gateway: Gateway, path: str) -> None:
    answer = page.goto(f"{gateway.url}/{path}", wait_until="networkidle")
    assert answer is not None
    assert answer.status == 200
    # The rules run from outside: the page's own policy lets no script in.
    page.evaluate(AXE)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(theme, one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    # A telephone scrolls in one direction.
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def await_clipboard(page: Page, text: str) -> None:
    """Wait for a text on the clipboard: a page puts it there some time after the click."""
    page.wait_for_function("async (text) => (await navigator.clipboard.readText()) === text", arg=text)


def test_every_copy_button_copies_what_stands_beside_it(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/{MODEL}")
    tabs = page.get_by_role("tab")
    copied = 0
    for place in range(tabs.count()):
        tabs.nth(place).click()
        for button in page.locator("[data-copy]:visible").all():
            button.click()
            source = button.get_attribute("data-copy")
            await_clipboard(page, page.locator(f"#{source}").text_content() or "")
            copied += 1
    assert copied > tabs.count()
    with gateway.client(None) as client:
        twin = client.get(f"/{MODEL}.md").text
    page.get_by_text("Copy Markdown").click()
    await_clipboard(page, twin)
    expect(page.get_by_text("Copied", exact=True).first).to_be_visible()


def test_the_keyboard_moves_through_the_languages_and_the_choice_is_kept(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/{MODEL}")
    page.get_by_role("tab", name="cURL", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == "OpenAI Node"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel")).to_contain_text("import requests")
    page.goto(f"{gateway.url}/docs/models/omixa-illustrator-1")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Python requests")


def test_the_calculator_shows_what_the_server_says(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/{MODEL}")
    page.get_by_role("combobox", name="Size").select_option("1024x1536")
    page.get_by_label("Pictures").fill("3")
    page.get_by_label("Prompt tokens").fill("1000")
    with gateway.client(None) as client:
        query = {"size": "1024x1536", "pictures": 3, "prompt_tokens": 1000}
        shown = client.get(f"/{MODEL}/cost", params=query).json()["shown"]
    expect(page.locator("form output")).to_have_text(f"${shown}")
    page.get_by_label("Pictures").fill("0")
    expect(page.locator("form output")).to_have_text("…")


def test_search_finds_a_page_by_the_keyboard_alone(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/docs/quickstart")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("idempotency mism")
    expect(page.locator(".found a")).to_have_count(1)
    page.evaluate(AXE)
    assert page.evaluate("axe.run('dialog')")["violations"] == []
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{gateway.url}/docs/errors/idempotency_mismatch")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


def test_a_theme_is_kept(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/docs")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(background) == "rgb(10, 10, 10)"
    page.goto(f"{gateway.url}/docs/errors")
    assert page.evaluate(background) == "rgb(10, 10, 10)"


def test_a_page_is_whole_without_a_script(browser: Browser, gateway: Gateway) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gateway.url}/{MODEL}")
    for source in page.locator("pre").all():
        assert source.is_visible()
    assert page.locator("button:visible, form:visible").count() == 0
    page.get_by_text("Copy Markdown").click()
    assert page.url == f"{gateway.url}/{MODEL}.md"
    page.goto(f"{gateway.url}/{MODEL}")
    page.get_by_text("Search models and docs").click()
    assert page.url == f"{gateway.url}/docs"
    context.close()


def test_an_address_with_a_place_shows_that_place(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/{MODEL}")
    page.get_by_text("Get the code").click()
    expect(page.locator("#code")).to_be_in_viewport()

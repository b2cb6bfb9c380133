"""Pages in a real browser: nothing goes wrong on any of them, everybody can read them, and what can be pressed does its work."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from omixa.catalogue.loader import load_catalogue
from tests.support.browser import PHONE, WIDE, Theme
from tests.support.console import PASSWORD, invited, lived_in, made_operator, operated
from tests.support.servers import SIMULATOR_API_KEY, Gateway, running_gateway, running_simulator

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
    "docs/console",
    "docs/events",
    "docs/limits",
    "docs/errors",
    "docs/errors/provider_unavailable",
    "docs/errors/max_cost_exceeded",
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "front")
def test_nothing_goes_wrong_and_everybody_can_read_it(page: Page, gateway: Gateway, path: str) -> None:
    require_readable(page, f"{gateway.url}/{path}")


def require_readable(page: Page, address: str) -> None:
    """Open a page and hold it against the rules, in both themes and on a telephone."""
    answer = page.goto(address, wait_until="networkidle")
    assert answer is not None
    assert answer.status == 200
    # The rules run from outside: the page's own policy lets no script in.
    page.evaluate(AXE)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(address, theme, one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    # A telephone scrolls in one direction.
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE, address
    page.set_viewport_size({"width": WIDE, "height": 900})


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


# ---------------------------------------------------------------------------------------------------------------- console


def sign_in(page: Page, gateway: Gateway, workspace: str) -> None:
    """Let an owner of a workspace set a password on the page of a link."""
    way = invited(gateway, f"owner@{workspace}", "owner", workspace)
    assert way is not None
    page.goto(f"{gateway.url}{way}")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Set it and sign in").click()
    page.wait_for_url(f"{gateway.url}/console/{workspace}/live")


def test_everybody_can_read_the_console(page: Page, gateway: Gateway, workspace: str) -> None:
    pages = lived_in(gateway, workspace)
    require_readable(page, f"{gateway.url}/sign-in")
    way = invited(gateway, f"waits@{workspace}", "viewer", workspace)
    require_readable(page, f"{gateway.url}{way}")
    sign_in(page, gateway, workspace)
    for path in pages:
        require_readable(page, f"{gateway.url}/{path}")
        details = page.locator("details.twins summary")
        if details.count():
            details.click()
            page.evaluate(AXE)
            assert page.evaluate("axe.run('details')")["violations"] == []


def test_everybody_can_read_the_pages_of_operators(page: Page, gateway: Gateway, workspace: str) -> None:
    pages = operated(gateway, workspace)
    sign_in(page, gateway, workspace)
    made_operator(gateway, f"owner@{workspace}")
    for path in pages:
        require_readable(page, f"{gateway.url}/{path}")


def test_an_operator_adds_an_account_and_watches_it_take_over(page: Page, workspace: str, tmp_path: Path) -> None:
    with (
        running_simulator() as first,
        running_simulator() as second,
        running_gateway(tmp_path, first) as gateway,
    ):
        gateway.grant(10_000_000, workspace=workspace)
        body = {"model": "MAI-Image-2.5", "prompt": "A red kite over a stubble field at dusk"}
        sign_in(page, gateway, workspace)
        made_operator(gateway, f"owner@{workspace}")
        page.reload()
        page.get_by_role("link", name="This gateway").click()
        expect(page.get_by_text("Nothing.", exact=True)).to_be_visible()
        operator = page.get_by_role("navigation", name="Operator")
        operator.get_by_role("link", name="Accounts").click()
        page.get_by_label("Name", exact=True).fill("second")
        page.get_by_role("combobox", name="Provider").select_option("foundry")
        page.get_by_label("Key or token").fill(SIMULATOR_API_KEY)
        page.get_by_label("Address").fill(second.url)
        page.get_by_label("Region, for people").fill("swedencentral")
        page.get_by_label("Priority").fill("1")
        page.get_by_role("button", name="Add it").click()
        page.wait_for_url(f"{gateway.url}/operator/accounts/second")
        for path in ("operator/accounts", "operator/accounts/second"):
            require_readable(page, f"{gateway.url}/{path}")
        assert SIMULATOR_API_KEY not in page.content()
        operator.get_by_role("link", name="Routes").click()
        expect(page.get_by_role("row").filter(has_text="second/MAI-Image-2.5").first).to_contain_text("in use")
        # The first one breaks, and the second one serves.
        first.play("401")
        with gateway.client(gateway.key("live", workspace)) as client:
            made = client.post("/api/v1/images/generations", json=body).raise_for_status().json()["omixa"]
        assert made["route"] == "second/MAI-Image-2.5"
        page.reload()
        broken = page.get_by_role("row").filter(has_text="foundry/MAI-Image-2.5").filter(has_text="×1")
        expect(broken).to_contain_text("out of use")
        require_no_violations(page)
        broken.get_by_role("link", name="×1").click()
        page.locator(f'a[href$="{made["request_id"]}"]').click()
        steps = page.locator(".timeline li")
        expect(steps.filter(has_text="foundry/MAI-Image-2.5")).to_contain_text("HTTP 401")
        expect(steps.filter(has_text="second/MAI-Image-2.5")).to_contain_text("ok")
        operator.get_by_role("link", name="Overview").click()
        expect(page.get_by_text("foundry is out of use")).to_be_visible()
        first.play("")
        operator.get_by_role("link", name="Routes").click()
        page.get_by_role("row").filter(has_text="foundry/MAI-Image-2.5").first.get_by_role("button").click()
        operator.get_by_role("link", name="Overview").click()
        expect(page.get_by_text("Nothing.", exact=True)).to_be_visible()


def test_a_key_is_made_used_found_in_the_log_and_revoked_in_a_browser(
    page: Page, gateway: Gateway, workspace: str
) -> None:
    gateway.key("test", workspace)
    sign_in(page, gateway, workspace)
    page.get_by_role("link", name="Test", exact=True).click()
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Keys").click()
    page.get_by_label("Name").fill("From a browser")
    page.get_by_label("Budget a day, USD").fill("1.00")
    page.get_by_label("omixa-illustrator-1").check()
    page.get_by_role("button", name="Create a test key").click()
    key = page.locator("#new-key").text_content() or ""
    page.get_by_role("button", name="Copy").first.click()
    await_clipboard(page, key)
    require_no_violations(page)
    with gateway.client(key) as client:
        body = {"model": "omixa-illustrator-1", "prompt": "a lamp"}
        made = client.post("/api/v1/images/generations", json=body).json()["omixa"]
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("From a browser").first).to_be_visible()
    page.locator(f'a[href$="{made["request_id"]}"]').click()
    picture = page.get_by_role("img", name="Picture 1 of this request")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    expect(page.get_by_text(f"${made['billed_amount']}").first).to_be_visible()
    page.get_by_role("link", name="From a browser").click()
    page.get_by_role("button", name="Revoke it for good").click()
    page.wait_for_url(f"{gateway.url}/console/{workspace}/test/keys")
    with gateway.client(key) as client:
        assert client.get("/api/v1/balance").status_code == 401
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{gateway.url}/sign-in")
    page.go_back()
    # What was kept of a page is not shown again to whoever comes next.
    page.reload()
    page.wait_for_url(f"{gateway.url}/sign-in?**")


def test_a_request_is_found_its_receipt_read_and_its_error_explained(
    page: Page, gateway: Gateway, workspace: str
) -> None:
    with gateway.client(gateway.key("test", workspace)) as client:
        body = {"model": "omixa-illustrator-1", "prompt": "a lamp"}
        made = client.post("/api/v1/images/generations", json=body).json()["omixa"]
        failed = client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:filter x"})
    sign_in(page, gateway, workspace)
    page.goto(f"{gateway.url}/console/{workspace}/test/requests")
    page.locator("select[name=outcome]").select_option("content_policy_violation")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").first.click()
    page.wait_for_url(f"**/requests/{failed.headers['x-request-id']}")
    page.get_by_role("link", name="Explain this error").click()
    page.wait_for_url(f"{gateway.url}/docs/errors/content_policy_violation")
    page.goto(f"{gateway.url}/console/{workspace}/test/requests?outcome=ok")
    page.locator("tbody a").first.click()
    page.wait_for_url(f"**/requests/{made['request_id']}")
    receipt = page.get_by_role("region", name="Receipt")
    expect(receipt).to_contain_text(f"Paid in the end${made['billed_amount']}")
    for line in made["line_items"]:
        expect(receipt).to_contain_text(f"${line['amount']}")
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Pictures").click()
    picture = page.get_by_role("img", name=f"Picture 1 of {made['request_id']}")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download picture 1").click()
    assert download.value.suggested_filename == f"{made['request_id']}-0.png"
    picture.click()
    page.get_by_role("link", name="Make it again, beside this one").click()
    page.wait_for_url(f"{gateway.url}/playground#*")
    expect(page.locator("#replay-id")).to_have_text(made["request_id"])


def test_the_console_is_whole_without_a_script(browser: Browser, gateway: Gateway, workspace: str) -> None:
    pages = lived_in(gateway, workspace)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, gateway, workspace)
    for path in pages:
        page.goto(f"{gateway.url}/{path}")
        assert page.locator("h1:visible").count() == 1
        assert page.locator("[data-copy]:visible").count() == 0
    page.goto(f"{gateway.url}/{pages[1]}")
    page.locator("select[name=state]").select_option("released")
    page.get_by_role("button", name="Show").click()
    assert "state=released" in page.url
    context.close()


def require_no_violations(page: Page) -> None:
    page.evaluate(AXE)
    assert page.evaluate("axe.run({resultTypes: ['violations']})")["violations"] == []

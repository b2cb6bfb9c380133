"""Pictures of every page, light, dark and 390 pixels wide, for people to look at: `make screenshots` writes build/screenshots/.

python -m tests.web.screenshots [--only PART_OF_ADDRESS]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import httpx2 as httpx
from playwright.sync_api import Page, expect

from omixa.domain.access import Secret
from omixa.domain.accounts import ProviderAccount
from tests.support.browser import PHONE, WIDE, Theme, executable, opened, running_browser
from tests.support.console import invited, lived_in, made_operator, operated, signed_in
from tests.support.servers import Gateway, Simulator, running_gateway, running_simulator

ROOT = Path(__file__).parent.parent.parent
LOOKS: dict[str, tuple[Theme, int]] = {"light": ("light", WIDE), "dark": ("dark", WIDE), "phone": ("light", PHONE)}


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="pages whose address holds this")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "screenshots")
    arguments = parser.parse_args()
    if executable() is None:
        raise SystemExit("There is no Chromium on this machine; Debian's package is called chromium.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        running_simulator() as provider,
        running_gateway(Path(data), provider) as gateway,
        running_browser() as browser,
    ):
        index = httpx.get(f"{gateway.url}/docs/search.json", trust_env=False, verify=False).json()
        way = (invited(gateway, "waits@example.org", "viewer") or "").removeprefix("/")
        owner = signed_in(gateway, "ada@example.org", "owner")
        made_operator(gateway, "ada@example.org")
        spare = ProviderAccount("spare", endpoint=provider.url, credential=Secret("key"), region="swedencentral")
        gateway.call(lambda services: services.accounts.add(spare, actor="test"))
        gateway.call(lambda services: services.accounts.disable("spare", actor="test"))
        paths = ["", *(entry["path"] for entry in index), "sign-in", way, *lived_in(gateway, "default")]
        paths += operated(gateway, "acme")
        broken = False
        for path in [path for path in paths if arguments.only in path]:
            if path.startswith("operator") and not broken:
                # Readers see a gateway that works, and its operator has something to see.
                broken = break_route(gateway, provider)
            for look, (theme, width) in LOOKS.items():
                with opened(browser, theme, width) as (page, wrong):
                    if path.startswith(("console", "operator")):
                        cookies = [
                            {"name": name, "value": value, "url": gateway.url} for name, value in owner.cookies()
                        ]
                        page.context.add_cookies(cookies)  # type: ignore[arg-type]
                    page.goto(f"{gateway.url}/{path}", wait_until="networkidle")
                    name = re.sub("[^a-z0-9.-]+", "-", path.lower()) or "front"
                    save(page, arguments.out / f"{name}-{look}.png")
                    if path == "playground":
                        play(page, gateway.key("test"))
                        save(page, arguments.out / f"playground-played-{look}.png")
                    sys.stdout.write(" ".join([path or "front", look, *wrong]) + "\n")


def break_route(gateway: Gateway, provider: Simulator) -> bool:
    """Have the key of the provider refused."""
    gateway.grant(10_000_000, workspace="acme")
    provider.play("401")
    with gateway.client(gateway.key("live", "acme")) as client:
        client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "A red kite at dusk"})
    provider.play("")
    return True


def save(page: Page, file: Path) -> None:
    """Write a picture of a whole page."""
    # What stays at an edge of the window would else hide what lies in the middle of the page.
    width = page.viewport_size["width"] if page.viewport_size else WIDE
    page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
    page.screenshot(path=file, full_page=True)


def play(page: Page, key: str) -> None:
    """Compare two models in the playground."""
    page.get_by_label("API key").fill(key)
    page.get_by_label("Compare with").select_option("omixa-illustrator-1")
    page.locator("fieldset:not([hidden]) [data-field=prompt]").fill("A red fox in a snowy forest at dusk")
    expect(page.locator("#run-price")).to_contain_text("$")
    page.locator("#run").click()
    expect(page.locator(".timeline li")).to_have_count(2)
    page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    main()

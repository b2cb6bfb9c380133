"""A real browser without a window, for tests and pictures of pages: the Chromium that the system has."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Iterator
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

Theme = Literal["light", "dark"]

WIDE = 1440
PHONE = 390
# The machine may be busy; what never comes is still found.
PATIENCE_MS = 60_000
ABORTED = "net::ERR_ABORTED"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@functools.cache
def executable() -> str | None:
    """Return where Chromium is, if the system has it."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium."""
    with sync_playwright() as playwright:
        # Inside a container its own sandbox cannot be had, nor much shared memory, and nothing but pages of ours is opened.
        browser = playwright.chromium.launch(
            executable_path=executable(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        expect.set_options(timeout=PATIENCE_MS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, theme: Theme = "light", width: int = WIDE) -> Iterator[tuple[Page, list[str]]]:
    """Yield a page of a fresh profile, and what went wrong on it so far: errors, violations of the policy, failed requests."""
    context: BrowserContext = browser.new_context(
        color_scheme=theme,
        viewport={"width": width, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # A page that is left gives up what it still waits for, and so do some streams whose reader came to their end before Chromium
    # knew. What is not there is an error of the console.
    page.on(
        "requestfailed",
        lambda request: None if request.failure == ABORTED else wrong.append(f"{request.url}: {request.failure}"),
    )
    yield page, wrong
    context.close()

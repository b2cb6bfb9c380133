"""A browser for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import executable, opened, running_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    if executable() is None:
        pytest.skip("needs Chromium; Debian's package is called chromium")
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh profile, on which nothing may go wrong."""
    with opened(browser) as (page, wrong):
        yield page
        assert wrong == []

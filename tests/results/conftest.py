"""The browser of the gallery's tests. Playwright is imported only where one of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gallery_browser import Watch
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    from gallery_browser import browser

    with browser() as running:
        yield running


@pytest.fixture
def open_page(chrome: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens an address; in the end nothing may have gone wrong, and only files were asked for."""
    from gallery_browser import Watch

    opened: list[tuple[Tab, Watch]] = []

    def opener(address: str, **context: object) -> Tab:
        context = {"viewport": {"width": 1200, "height": 800}} | context
        tab = chrome.new_context(**context).new_page()  # type: ignore[arg-type]
        tab.set_default_timeout(5000)
        opened.append((tab, Watch(tab)))
        tab.goto(address)
        return tab

    yield opener
    for tab, watch in opened:
        tab.context.close()
        assert watch.problems == []
        assert [url for url in watch.requests if not url.startswith("file:///")] == []

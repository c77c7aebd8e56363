"""A real browser for tests: Debian's Chromium, driven by Playwright. Tests skip in plain words where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Where Chromium is; skips the test where it is not."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (Debian's package is `chromium`)")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """Playwright's Browser."""
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Any, url: str | Path, **context: Any) -> Iterator[Any]:
    """A page that must load and end without an error on its console: a message of kind error, an exception, or a
    request that goes elsewhere fails the test. `context` as Playwright's `new_context` has it (`color_scheme`,
    `viewport`)."""
    address = url.resolve().as_uri() if isinstance(url, Path) else url
    errors: list[str] = []
    opened = browser.new_context(**context)
    try:
        page = opened.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(f"{request.url} failed"))
        page.goto(address)
        yield page
        assert not errors, errors
    finally:
        opened.close()

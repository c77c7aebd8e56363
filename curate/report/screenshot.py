"""A picture of a page's top, taken by a browser of this machine: what a README shows.

No browser is installed by this distribution and none is needed for a report; Chromium takes some 2 s. It runs without a
window, in a profile folder of its own that is deleted afterwards, and is ended when it takes longer than a minute. The
page it opens asks nothing of the network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from curate.errors import ConfigError, StorageError

__all__ = ["find_browser", "screenshot"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
WIDTH, HEIGHT = 1280, 1000
"""Of the picture, in pixels."""
MOST_S = 60.0
FLAGS = (
    *("--headless", "--disable-gpu", "--hide-scrollbars", "--mute-audio", "--no-first-run"),
    *("--no-default-browser-check", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--disable-quic", "--password-store=basic"),
)


def find_browser() -> str:
    """Where Chromium or Chrome is. Raises ConfigError where there is none."""
    found = next(filter(None, map(shutil.which, (*BROWSERS, *PLACES))), None)
    if found is None:
        raise ConfigError(
            "--screenshot needs Chromium or Chrome, and none is on the PATH; install it (Debian: apt-get install "
            "chromium), or open the page and take the picture by hand"
        )
    return found


def screenshot(page: Path, most_s: float = MOST_S) -> bytes:
    """The top of a local HTML file as a PNG of 1280 by 1000 pixels, in the light scheme.

    Raises ConfigError where there is no browser, StorageError where it takes no picture or more than `most_s` seconds.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="curate-browser-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / "page.png"
        sandbox = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
        own = (f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={target}")
        said = _run((browser, *FLAGS, *sandbox, *own, page.resolve().as_uri()), most_s)
        if not target.is_file():
            last = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise StorageError(f"{browser} took no picture of {page}: {last[0][:300]}")
        return target.read_bytes()


def _run(command: tuple[str, ...], most_s: float) -> str:
    """What a program says on its standard error; it and its children are ended after `most_s` seconds."""
    process = subprocess.Popen(  # noqa: S603 (a browser of this machine, no shell)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        return process.communicate(timeout=most_s)[1].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        raise StorageError(f"{command[0]} took longer than {most_s:g} s and was ended; try again") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

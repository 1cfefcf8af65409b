"""Pictures of the console's main views, of the demo while its first leak stands: `make shots`. Minutes.

Lives here: which views, and how large. Not here: checks of any kind."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS
from tests.e2e.running import Running, free_port

LEAK_WITHIN_S = 400
GROWS_S = 60
"""The leak grows for so long, to be seen in its curves."""
SETTLED_MS = 8_000
LAPTOP = (1440, 900)


def views(alarm: Any, cdu: str) -> dict[str, tuple[str, tuple[int, int], str]]:
    """Picture's name → address, size, theme."""
    here = quote(f"{alarm['site']}/{alarm['asset']}", safe="")
    loop = quote(f"{alarm['site']}/{cdu}", safe="")
    return {
        "hall": ("/", LAPTOP, "light"),
        "alarms": (f"/#/alarms/{alarm['id']}", LAPTOP, "light"),
        "loop": (f"/#/loop/{loop}", LAPTOP, "light"),
        "rack": (f"/#/rack/{here}?span=30m", (1440, 1180), "dark"),
        "power": ("/#/power", LAPTOP, "light"),
        "gpus": ("/#/gpus", LAPTOP, "dark"),
        "efficiency": ("/#/efficiency?window=1h", LAPTOP, "light"),
        "phone": (f"/#/alarm/{alarm['id']}", (390, 844), "light"),
    }


def leak(demo: Running) -> Any:
    """The first leak at a rack."""
    deadline = time.monotonic() + LEAK_WITHIN_S
    while time.monotonic() < deadline:
        for alarm in demo.get("/api/v1/alarms")["items"]:
            if alarm["kind"].startswith("leak_") and alarm["asset_kind"] == "Rack":
                return alarm
        time.sleep(2)
    raise SystemExit(f"no leak within {LEAK_WITHIN_S} s")


def main() -> None:
    """Makes the pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        port = free_port()
        demo = Running(Path(folder), ["demo", "--port", str(port), "--data", folder], port)
        demo.start()
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            alarm = leak(demo)
            time.sleep(GROWS_S)
            rack = demo.get(f"/api/v1/assets/{quote(alarm['asset'])}?site={quote(alarm['site'])}")
            for name, (path, (width, height), theme) in views(alarm, rack["fed_by"]["coolant"][0]).items():
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=theme,
                    timezone_id="Europe/Berlin",
                    locale="en-GB",
                )
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{port}{path}")
                page.wait_for_timeout(SETTLED_MS)
                page.screenshot(path=out / f"{name}.png", animations="disabled")  # no mark in mid-blink
                context.close()
                print(out / f"{name}.png")
        finally:
            browser.close()
            demo.stop()


if __name__ == "__main__":
    main()

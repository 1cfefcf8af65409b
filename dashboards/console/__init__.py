"""The operator's console: static pages that a browser runs as they stand, with nothing from outside and no build step.

Lives here: where the pages are and the policy that they keep. Not here: the API that serves and feeds them
(dcim.app)."""

from __future__ import annotations

from pathlib import Path

PAGES = Path(__file__).parent / "static"
"""Folder of the pages: `index.html` belongs at `/`, every file (that one too) at `/console/<name>`."""

POLICY = "; ".join(
    [
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Content-Security-Policy to send with the pages. They hold it in full: no inline script or style, no address but their
own, and no way from a string to markup, so that a name from the bus can never become code."""

"""Draw a QR code with characters, for a phone to read off the terminal."""

from __future__ import annotations

import io


def qr_text(content: str) -> str:
    """Return the code as lines of half blocks, dark on light as scanners expect it."""
    import segno

    drawn = io.StringIO()
    segno.make(content, error="m", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue().rstrip("\n")

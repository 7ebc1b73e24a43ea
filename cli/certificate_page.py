"""Lay a certificate out as a page to print or to file; the text stays what can be verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

_STYLE: Final = """\
@page { margin: 18mm }
body { font: 11pt/1.45 serif; color: #000; background: #fff; max-width: 46em; margin: 2em auto;
       padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 }
table { border-collapse: collapse; width: 100%; margin: 1.5em 0 }
th, td { text-align: left; vertical-align: top; padding: .25em .6em; border-top: 1px solid #bbb }
th { width: 9em; font-weight: normal; color: #444 }
td { overflow-wrap: anywhere }
pre { font-size: 6.5pt; white-space: pre-wrap; overflow-wrap: anywhere }
.state { font-size: 1.15em; margin-top: .3em }
"""

_NAMES: Final = {"held back": "held back (records)", "parts": "sealed parts"}
"""What a line is called on the page, where its own name is short for those who know."""


def page(certificate: str) -> str:
    """Return the HTML page of a certificate's text; it loads nothing from anywhere."""
    head, _, proof = certificate.partition("\n\n")
    lines = [line.partition(": ")[::2] for line in head.split("\n")[1:]]
    found = dict(lines)
    title = f"Certificate of destruction, run {found.get('run', '?')}"
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta http-equiv="Content-Security-Policy" ',
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n",
            f"<h1>{escape(title)}</h1>\n",
            f'<p class="state"><strong>{escape(found.get("state", "?"))}</strong>: ',
            f"{escape(found.get('meaning', ''))}.</p>\n",
            "<table>\n",
            *_rows(lines),
            "</table>\n",
            "<p>This page can be changed by anybody; what can be verified is the certificate as ",
            "text, with <code>strongroom audit verify</code>. Its proof:</p>\n",
            f"<pre>{escape(proof)}</pre>\n</body>\n</html>\n",
        )
    )


def _rows(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for name, value in lines:
        if name not in ("state", "meaning"):
            shown = _NAMES.get(name, name)
            yield f"<tr><th>{escape(shown)}</th><td>{escape(value)}</td></tr>\n"

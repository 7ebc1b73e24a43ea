"""Answer what every appliance answers without a login: health, its certificate, a landing page.

The landing page is one self-contained document: its style is allowed by a hash in its policy,
and it loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from transports.http.message import Request, Responder, Response

HTML = "text/html; charset=utf-8"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}code{word-break:break-all;background:#eef1f4;padding:.1rem "
    ".3rem}@media(prefers-color-scheme:dark){body{color:#e6e8eb;background:#15181c}"
    "code{background:#262b31}a{color:#8cb8ff}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the appliance can serve now; ``checks`` names what was tried and what it found."""

    is_ready: bool
    checks: Mapping[str, str]


def live(_request: Request) -> Response:
    """Answer that the process serves requests, and nothing more."""
    return Response(200, b"ok\n")


def ready(readiness: Callable[[], Readiness]) -> Responder:
    """Return the responder of ``/readyz``: 200 or 503 with the checks as JSON."""

    def respond(_request: Request) -> Response:
        found = readiness()
        document = {"schema": "strongroom.ready.v1", "ready": found.is_ready, **found.checks}
        body = json.dumps(document).encode() + b"\n"
        return Response(200 if found.is_ready else 503, body, "application/json")

    return respond


def certificate(pem: Callable[[], bytes]) -> Responder:
    """Return the responder that hands out the CA's certificate, a public document."""

    def respond(_request: Request) -> Response:
        name = ("content-disposition", 'attachment; filename="strongroom-ca.pem"')
        return Response(200, pem(), "application/x-pem-file", (name,))

    return respond


def landing(organisation: str, fingerprint: str | None) -> Responder:
    """Return the responder of ``/``.

    Args:
        organisation: the name shown, as text.
        fingerprint: of the internal CA; None when the administrator brought a certificate.
    """
    page = _page(organisation, fingerprint).encode()
    response = Response(200, page, HTML, (("content-security-policy", _POLICY),))

    def respond(_request: Request) -> Response:
        return response

    return respond


def _page(organisation: str, fingerprint: str | None) -> str:
    name = escape(organisation)
    trust = ""
    if fingerprint is not None:
        trust = (
            '<p>This appliance has its own certificate authority: <a href="/v1/ca.pem">CA '
            "certificate</a>. Compare its fingerprint with the one your administrator gave you "
            f"before you trust it:</p><p><code>{escape(fingerprint)}</code></p>"
            '<p lang="zh-CN">信任该证书前，请与管理员核对上面的指纹。</p>'
        )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{name} – Strongroom</title><style>{_STYLE}</style></head><body>"
        f"<h1>{name}</h1><p>A Strongroom messaging appliance. Sign in with the client your "
        'administrator gave you.</p><p lang="zh-CN">请使用管理员提供的客户端登录。</p>'
        f"{trust}</body></html>\n"
    )

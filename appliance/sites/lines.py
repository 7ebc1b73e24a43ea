"""Bring lines to links: where a branch finds headquarters, and whom headquarters lets in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.certificates import at, site_identity, site_name
from appliance.config import Config, split_address
from store.skeleton import node_id
from store.tables import TENANT
from sync.link import Headquarters
from sync.proxy import Proxy, credentials_in, parse
from transports.certificates import certificate_pem

if TYPE_CHECKING:
    from appliance.core import Core


def authorise(core: Core, now_ms: Callable[[], int]) -> Callable[[bytes], bytes | None]:
    """Return what tells a branch's node by its certificate, None for one that is not let in.

    The certificate is of our CA. The key in it says which branch it is, and the log says whether
    that one is let in now: a certificate that was never used again needs no list to revoke it.
    """

    def judge(der: bytes) -> bytes | None:
        certificate = x509.load_der_x509_certificate(der)
        if not certificate.not_valid_before_utc <= at(now_ms()) <= certificate.not_valid_after_utc:
            return None
        key = certificate.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        node = node_id(TENANT, key)
        branch = core.sites.branch_of(node)
        return node if branch is not None and branch.is_approved else None

    return judge


def headquarters(core: Core, config: Config) -> Headquarters:
    """Return how this branch reaches headquarters now; asked anew for each connection."""
    known = core.sites.headquarters
    assert known is not None, "this is a branch"
    ca = x509.load_der_x509_certificate(known.ca)
    return Headquarters(
        known.node,
        tuple(split_address(address) for address in known.addresses),
        site_identity(core),
        certificate_pem(ca),
        site_name(core.log.node),
        _proxy(config),
    )


def _proxy(config: Config) -> Proxy | None:
    site = config.site
    if not site.proxy:
        return None
    file = site.proxy_credentials
    return parse(site.proxy, credentials_in(Path(file)) if file else None)

"""Find out whether the certificate serves its purpose and whether the port answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance import reload
from appliance.config import Config
from appliance.findings import Finding, Severity
from transports import probe
from transports.certificates import CertificateError, Identity

CERTIFICATE_WARNING: Final = timedelta(days=14)
"""Life left in the certificate below which it should have been renewed."""

RENEW: Final = "Renew the files that [tls] names, then: strongroom reload."


def examine_certificate(identity: Identity, config: Config, now: datetime) -> Iterator[Finding]:
    """Yield findings about the certificate in use: its time, its chain, its names."""
    leaf, *chain = x509.load_pem_x509_certificates(identity.chain_pem)
    yield from _examine_time("certificate.expires", "the certificate", leaf, now)
    for above in chain:
        yield from _examine_time("certificate.chain", "a certificate of the chain", above, now)
    if not chain and leaf.issuer != leaf.subject:
        yield Finding(
            "certificate.no_chain",
            Severity.NOTICE,
            "the file holds the certificate alone, not what signed it",
            "Append the issuing certificates, unless every client knows the issuer.",
        )
    missing = [name for name in config.listen.names if not _is_named(name, identity.names)]
    if missing:
        yield Finding(
            "certificate.names",
            Severity.WARNING,
            f"listen.names has what the certificate does not name: {', '.join(missing)}",
            "Have the certificate issued for all names, then: strongroom reload.",
        )


def examine_files(identity: Identity, config: Config, now_ms: int) -> Iterator[Finding]:
    """Yield a finding when the files of an own certificate are not what is in use; reads them."""
    if not config.tls.certificate:
        return
    try:
        found = reload.own_identity(config, now_ms).identity
    except CertificateError as error:
        yield Finding("certificate.unusable", Severity.WARNING, str(error), RENEW)
        return
    if found.chain_pem != identity.chain_pem:
        evidence = "the files of [tls] hold another certificate than the one in use"
        remedy = "Take it: strongroom reload."
        yield Finding("certificate.not_taken", Severity.NOTICE, evidence, remedy)


async def examine_port(
    addresses: Iterable[str], identity: Identity, *, is_quic: bool
) -> list[Finding]:
    """Knock at every address that we listen on; return a finding for each that is silent."""
    leaf = x509.load_pem_x509_certificates(identity.chain_pem)[0].public_bytes(Encoding.DER)
    found = []
    for address in addresses:
        host, port = probe.target(address)
        asked = [("listen.tcp", await probe.tcp(host, port, leaf))]
        if is_quic:
            asked.append(("listen.udp", await probe.quic(host, port)))
        remedy = "See the log and the firewall of this machine; restart if neither tells why."
        found += [
            Finding(name, Severity.FAILURE, f"{address}: {problem}", remedy)
            for name, problem in asked
            if problem
        ]
    return found


def _examine_time(
    name: str, what: str, certificate: x509.Certificate, now: datetime
) -> Iterator[Finding]:
    until = certificate.not_valid_after_utc
    left = until - now
    if left < CERTIFICATE_WARNING:
        severity = Severity.FAILURE if left < timedelta(0) else Severity.WARNING
        yield Finding(name, severity, f"{what} ends at {until:%Y-%m-%d %H:%M} UTC", RENEW)


def _is_named(name: str, names: tuple[str, ...]) -> bool:
    """Tell whether a certificate's names cover a host or address (RFC 9525, section 6.3)."""
    try:
        return str(ipaddress.ip_address(name)) in names
    except ValueError:
        known = {each.lower() for each in names}
        wanted = name.lower().encode("idna").decode("ascii")
        return wanted in known or "*." + wanted.partition(".")[2] in known

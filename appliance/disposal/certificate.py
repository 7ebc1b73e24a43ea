"""Build the certificate of a destruction run, and show it as a page that can be printed.

A certificate is made from the run's *destruction.confirmed* operation: its opening, its place in
the ledger and the newest checkpoint. What it looks like, and that each line follows from the
proof, is ``store.verifier``'s business: the same file checks it anywhere.
"""

from __future__ import annotations

import re
from hashlib import sha256
from html import escape
from typing import Final

from store import notes, verifier
from store.engine.contract import Reader
from store.errors import IntegrityError, PartGoneError
from store.ledger import Ledger
from store.logreader import LogReader, UnknownOpError
from store.records import PartState, Record
from store.skeleton import op_hash
from store.tables import LOG
from store.verifier import Certificate

Place = tuple[int, int]

_LABELS: Final = {
    "log": "Ledger",
    "operation": "Operation",
    "state": "State",
    "meaning": "Meaning",
    "run": "Run",
    "cause": "Cause",
    "request": "Request",
    "digest": "Digest of the request",
    "dry run": "Dry run (SHA-256)",
    "approval": "Approval",
    "policy": "Policy",
    "parts": "Parts",
    "records": "Records (class, born, count)",
    "held back": "Records held back",
    "scope": "Scope",
    "generations": "Roots effaced (generations)",
    "tier": "Tier of effacement",
    "evidence": "Evidence",
    "replica": "Key replica",
    "site": "Site",
    "devices": "Devices",
    "started": "Started",
    "confirmed": "Confirmed",
    "clock": "Source of time",
    "program": "Program",
    "residue": "What remains",
    "risk": "Residual risk",
}

_TITLE: Final = "Certificate of destruction"

_STYLE: Final = """
@page { size: A4; margin: 18mm }
:root { color-scheme: light }
body { font: 11pt/1.45 system-ui, sans-serif; color: #111; background: #fff;
  max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; break-after: avoid }
p { margin: .25rem 0 }
table { width: 100%; border-collapse: collapse }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem .3rem 0;
  border-bottom: 1px solid #767676; overflow-wrap: anywhere }
th { width: 13rem; font-weight: 600 }
tr { break-inside: avoid }
pre { font: 8pt/1.35 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  border: 1px solid #767676; padding: .5rem }
@media print { body { margin: 0; padding: 0; max-width: none } }
"""


def build(log: LogReader, reader: Reader, place: Place) -> str:
    """Return the certificate whose *destruction.confirmed* operation is at (origin, seq).

    O(log leaves). Raises ``UnknownOpError`` when there is no such operation in the ledger,
    ``PartGoneError`` when it is destroyed itself, and ``IntegrityError`` when no checkpoint
    covers it or what is stored does not hold.
    """
    origin, seq = place
    value = reader.get(LOG.key(origin, seq))
    ledger = Ledger.open(reader, origin)
    leaf = ledger.find(reader, seq)
    if value is None or leaf is None:
        raise UnknownOpError("the ledger has no such operation")
    record = Record.unpack(value)
    if record.body_state is not PartState.PRESENT:
        raise PartGoneError("the operation's body is gone")
    parts = log.parts(reader, record, op_hash(record.skeleton))
    if parts.body is None:
        raise IntegrityError("a body is absent against its state")
    kept = notes.newest_checkpoint(reader, origin)
    if kept is None or kept.size <= leaf:
        raise IntegrityError("no checkpoint covers the operation")
    certificate = Certificate(
        sha256(log.origins[origin].verify_key).digest(),
        record.skeleton,
        parts.envelope,
        parts.salt,
        parts.body,
        leaf,
        tuple(ledger.inclusion(reader, leaf, kept.size)),
        kept.day_key.text,
        kept.note.decode(),
    )
    return verifier.write(certificate)


def to_html(text: str) -> str:
    """Return a certificate as one HTML page without scripts or anything from outside.

    Its last section holds the text itself, as the verifier reads it. Raises
    ``VerificationError`` for a text that is not a certificate, or does not say what its proof
    says; signatures are not checked.
    """
    verifier.read(text)
    lines = [line.partition(": ") for line in text.partition("\n\n")[0].split("\n")[1:]]
    said = {key: value for key, _, value in lines}
    run, day = escape(said["run"]), escape(said["confirmed"][:10])
    rows = "\n".join(
        f'<tr><th scope="row">{escape(_LABELS[key])}</th><td>{_shown(value)}</td></tr>'
        for key, _, value in lines
        if key not in ("state", "meaning")
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{_TITLE}, run {run}, {day}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{_TITLE}</h1>
<p>Run {run}, confirmed {day}</p>
<p><strong>{escape(said["state"])}</strong>: {escape(said["meaning"])}.</p>
<h2>What was done</h2>
<table>
<tbody>
{rows}
</tbody>
</table>
<h2>For the verifier</h2>
<p>This page proves nothing by itself. Save the text below, with the newline at its end, and check
it against the site's ledger export and public key with the offline verifier.</p>
<pre>
{escape(text)}</pre>
</main>
</body>
</html>
"""


def _shown(value: str) -> str:
    """Mark moments as such, for people and programs alike; leave the rest as it is."""
    shown = escape(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+\+00:00", value):
        return f'<time datetime="{shown}">{shown}</time>'
    return shown

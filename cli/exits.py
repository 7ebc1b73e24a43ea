"""Say what each exit status means and which error leads to it; the one table of the CLI."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses; documented in ``docs/cli.md`` and never renumbered."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4
    INTEGRITY = 5
    REFUSED = 6
    TIMEOUT = 7
    CONFIG = 78


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "failed, or findings of severity warning or failure",
    Exit.USAGE: "wrong usage: an option or argument is missing or wrong",
    Exit.UNREACHABLE: "the server cannot be reached",
    Exit.DENIED: "not permitted: credentials, signature, role or file permissions",
    Exit.INTEGRITY: "stored data contradicts its proofs",
    Exit.REFUSED: "refused by a rule of the product",
    Exit.TIMEOUT: "no answer in time; for a message: whether it was stored is unknown",
    Exit.CONFIG: "the configuration is wrong",
}

# The longest prefix of the error's code decides.
_BY_CODE: dict[str, Exit] = {
    "": Exit.REFUSED,
    "approval.unknown": Exit.FAILED,
    "audit.broken": Exit.INTEGRITY,
    "audit.unknown": Exit.FAILED,
    "auth.": Exit.DENIED,
    "auth.locked": Exit.REFUSED,
    "auth.password_weak": Exit.REFUSED,
    "cli.": Exit.FAILED,
    "cli.denied": Exit.DENIED,
    "cli.no_profile": Exit.DENIED,
    "cli.usage": Exit.USAGE,
    "client.": Exit.FAILED,
    "client.carrier_lost": Exit.UNREACHABLE,
    "client.closed": Exit.UNREACHABLE,
    "client.interrupted": Exit.UNREACHABLE,
    "client.timeout": Exit.TIMEOUT,
    "client.unreachable": Exit.UNREACHABLE,
    "client.untrusted": Exit.DENIED,
    "config.": Exit.CONFIG,
    "conversation.unknown": Exit.FAILED,
    "device.unknown": Exit.FAILED,
    "drill.": Exit.FAILED,
    "duty.unknown": Exit.FAILED,
    "evidence.sealed": Exit.INTEGRITY,
    "frame.": Exit.FAILED,
    "hold.unknown": Exit.FAILED,
    "invite.unknown": Exit.FAILED,
    "message.unknown": Exit.FAILED,
    "permission.": Exit.DENIED,
    "person.unknown": Exit.FAILED,
    "policy.class_unknown": Exit.FAILED,
    "policy.invalid": Exit.USAGE,
    "policy.unknown": Exit.FAILED,
    "replica.unknown": Exit.FAILED,
    "request.": Exit.USAGE,
    "request.signature": Exit.DENIED,
    "run.unknown": Exit.FAILED,
    "selection.": Exit.USAGE,
    "server.": Exit.FAILED,
    "server.draining": Exit.UNREACHABLE,
    "server.unreachable": Exit.UNREACHABLE,
    "server.timeout": Exit.TIMEOUT,
    "site.invitation": Exit.USAGE,
    "site.parcel": Exit.INTEGRITY,
    "site.parcel_": Exit.REFUSED,
    "site.parcel_file": Exit.FAILED,
    "site.revoked": Exit.DENIED,
    "site.token": Exit.DENIED,
    "site.unknown": Exit.FAILED,
    "site.unreachable": Exit.UNREACHABLE,
    "site.untrusted": Exit.DENIED,
    "site.waiting": Exit.TIMEOUT,
    "signature.": Exit.DENIED,
    "store.": Exit.FAILED,
    "store.decommissioned": Exit.REFUSED,
    "store.integrity": Exit.INTEGRITY,
    "store.newer_schema": Exit.REFUSED,
    "store.part_gone": Exit.REFUSED,
    "tls.": Exit.CONFIG,
    "upgrade.bundle": Exit.INTEGRITY,
    "upgrade.busy": Exit.FAILED,
    "upgrade.space": Exit.FAILED,
    "vault.": Exit.FAILED,
    "vault.locked": Exit.DENIED,
}


def for_code(code: str) -> Exit:
    """Return the exit status for an error's stable code."""
    best = max((prefix for prefix in _BY_CODE if code.startswith(prefix)), key=len)
    return _BY_CODE[best]


SEVERITY_EXITS: dict[str, Exit] = {
    "notice": Exit.OK,
    "warning": Exit.FAILED,
    "failure": Exit.FAILED,
    "integrity": Exit.INTEGRITY,
}
"""What the worst finding of ``check`` and ``doctor`` leads to."""

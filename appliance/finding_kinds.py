"""List every finding that there is: its id, what it means, and the runbook's entry for it.

``docs/findings.md`` is made from this table, and a test raises each of them with a real fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from appliance.findings import Severity
from store.logcheck import Problem
from store.tables import VIEWS


class Kind(NamedTuple):
    """What one id stands for; ``runbook`` is a heading of ``docs/runbook.md``, or "" for none."""

    severities: tuple[Severity, ...]
    meaning: str
    runbook: str = ""


NOTICE: Final = (Severity.NOTICE,)
WARNING: Final = (Severity.WARNING,)
FAILURE: Final = (Severity.FAILURE,)
INTEGRITY: Final = (Severity.INTEGRITY,)
SOON_OR_OVER: Final = (Severity.WARNING, Severity.FAILURE)

_BACKUP = "The newest backup is old"
_BRANCH = "A branch is cut off"
_CERTIFICATE = "The certificate expires"
_CLOCK = "The clock jumped"
_CONFIGURATION = "The configuration is refused"
_CONTRADICTION = "Stored data contradicts its proofs"
_DESTRUCTION = "Destruction waits"
_DISK = "The disk is full"
_KEYS = "The root of all keys is not where it should be"
_LEASE = "A lease is over"
_LEDGER = "The ledger does not match"
_PORT = "Clients cannot connect"
_REPLICA = "A key replica is lost"

_LEDGER_PROBLEMS: Final = frozenset(
    (Problem.LEAF, Problem.UNLISTED, Problem.NODE, Problem.LEDGER, Problem.CHECKPOINT)
)

_SINGLE: Final[Mapping[str, Kind]] = {
    "backup.none": Kind(NOTICE, "No backup of this site was ever made.", _BACKUP),
    "backup.old": Kind(WARNING, "The newest backup is more than two days old.", _BACKUP),
    "certificate.chain": Kind(
        SOON_OR_OVER, "A certificate above the server's own is about to expire.", _CERTIFICATE
    ),
    "certificate.expires": Kind(
        SOON_OR_OVER, "The server's certificate is about to expire, or has.", _CERTIFICATE
    ),
    "certificate.names": Kind(
        WARNING, "Clients use a name that the certificate does not have.", _CERTIFICATE
    ),
    "certificate.no_chain": Kind(
        NOTICE, "The certificate comes without those that signed it.", _CERTIFICATE
    ),
    "certificate.not_taken": Kind(
        NOTICE, "There is another certificate in the files than in use.", _CERTIFICATE
    ),
    "certificate.unusable": Kind(
        WARNING, "The certificate's files could not be used again.", _CERTIFICATE
    ),
    "clock.floor": Kind(FAILURE, "The wall clock shows a time before 2025.", _CLOCK),
    "clock.no_source": Kind(NOTICE, "The policy trusts no source of time: nothing ends by age."),
    "clock.suspended": Kind(
        FAILURE, "The wall clock went another way than time did: destruction waits.", _CLOCK
    ),
    "config.invalid": Kind(
        WARNING, "The configuration file has mistakes: no start with it.", _CONFIGURATION
    ),
    "config.not_taken": Kind(
        NOTICE, "The configuration file says what the server does not do yet.", _CONFIGURATION
    ),
    "data.permissions": Kind(WARNING, "Other users of the machine may look into the data."),
    "destruction.incomplete": Kind(
        WARNING, "Records were ended here, but not on every key replica and branch.", _DESTRUCTION
    ),
    "disk.file_system": Kind(
        FAILURE, "Data or keys are where neither survives, or where no lock holds.", _DISK
    ),
    "disk.full": Kind(FAILURE, "The data's disk has too little space to go on.", _DISK),
    "disk.low": Kind(WARNING, "The data's disk is filling up.", _DISK),
    "drill.ledger": Kind(
        INTEGRITY, "In a drill: the live ledger does not extend the backup's.", _LEDGER
    ),
    "drill.leftover": Kind(
        (Severity.NOTICE, Severity.WARNING), "A drill was interrupted; what it left is removed."
    ),
    "drill.log": Kind(
        INTEGRITY, "In a drill: the backup's log is not the live log's beginning.", _CONTRADICTION
    ),
    "drill.replica_behind": Kind(
        WARNING, "In a drill: the newest key replica is older than the site's keys.", _REPLICA
    ),
    "drill.revived": Kind(
        (Severity.WARNING, Severity.INTEGRITY),
        "In a drill: what was destroyed opens again from the backup.",
        _DESTRUCTION,
    ),
    "keys.copy_on_write": Kind(
        NOTICE, "The key directory's file system may keep what is overwritten."
    ),
    "keys.inside_data": Kind(FAILURE, "Whoever copies the data copies the keys too.", _KEYS),
    "keys.no_replica": Kind(NOTICE, "Nothing could bring the keys back.", _REPLICA),
    "keys.permissions": Kind(WARNING, "Other users of the machine may look at the keys."),
    "keys.replica_behind": Kind(
        WARNING, "A key replica does not follow: unreachable, full or broken.", _REPLICA
    ),
    "keys.replica_same_device": Kind(
        NOTICE, "A key replica would be lost together with the original.", _REPLICA
    ),
    "keys.root_leftover": Kind(
        WARNING, "The slot of a root that has ended is not blank on the device.", _KEYS
    ),
    "keys.root_missing": Kind(
        FAILURE, "The key directory has no root for this store: no restart works.", _KEYS
    ),
    "keys.same_device": Kind(NOTICE, "Keys and data are lost, or stolen, together."),
    "keys.tier": Kind(NOTICE, "What the destruction of keys rests on here."),
    "lease.no_destruction": Kind(
        WARNING, "A branch may destroy nothing until headquarters grants it.", _LEASE
    ),
    "listen.tcp": Kind(FAILURE, "The port does not answer over TCP with our certificate.", _PORT),
    "listen.udp": Kind(FAILURE, "The port does not answer over UDP.", _PORT),
    "log.new_incarnation": Kind(
        WARNING,
        "The store went back or changed while the server was down.",
        "The site took a new incarnation",
    ),
    "machine.hypervisor": Kind(NOTICE, "Snapshots of the machine hold keys."),
    "memory.not_locked": Kind(NOTICE, "Keys in memory may be written to swap."),
    "policy.none": Kind(NOTICE, "No rule says how long records are kept."),
    "site.cut_off": Kind(
        WARNING, "This branch was not confirmed by headquarters for a day or more.", _BRANCH
    ),
    "store.map": Kind(WARNING, "The database nears its largest size.", "The map is full"),
    "store.pages": Kind(
        INTEGRITY, "Pages of the database file are damaged: a disk or memory fault.", _CONTRADICTION
    ),
    "upgrade.leftover": Kind(
        (Severity.NOTICE, Severity.WARNING), "Going back was interrupted; what it left is removed."
    ),
    "views.directory": Kind(
        INTEGRITY, "People in memory are not what the log says.", _CONTRADICTION
    ),
    "views.in_force": Kind(
        INTEGRITY, "Policy, holds or requests in memory are not what the log says.", _CONTRADICTION
    ),
    "views.rebuild": Kind(INTEGRITY, "The views cannot be made from the log.", _CONTRADICTION),
    "views.retries": Kind(
        INTEGRITY, "Retries are told of a destruction that the log does not know.", _CONTRADICTION
    ),
    "views.sites": Kind(
        INTEGRITY, "Branches or headquarters in memory are not what the log says.", _CONTRADICTION
    ),
}


def _families() -> Iterator[tuple[str, Kind]]:
    """Yield the findings that there is one of for each problem of the log, and for each view."""
    for problem in Problem:
        meaning = f"In the log: {problem.value}."
        runbook = _LEDGER if problem in _LEDGER_PROBLEMS else _CONTRADICTION
        yield f"log.{problem.name.lower()}", Kind(INTEGRITY, meaning, runbook)
    for table in sorted(VIEWS):
        name = table.name.lower()
        meaning = f"Rows of the view `{name}` are not what the log says."
        yield f"views.{name}", Kind(INTEGRITY, meaning, _CONTRADICTION)


KINDS: Final[Mapping[str, Kind]] = dict(sorted({**_SINGLE, **dict(_families())}.items()))
"""Every finding by its id."""

LEDGER_FINDINGS: Final = frozenset(f"log.{problem.name.lower()}" for problem in _LEDGER_PROBLEMS)
"""Those that say that the trail of privileged acts was changed."""

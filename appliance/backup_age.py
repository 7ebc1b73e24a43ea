"""Note when the newest backup was made, and tell how old it is.

The note is one row of the store that is no operation: a fact of this machine. A site that was
restored knows of the backup before the one that it came from, and asks for a new one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from appliance.context import Context
from appliance.findings import Finding, Severity
from store.engine.contract import Reader
from store.tables import meta_key

WARNING_SECONDS: Final = 172_800
"""Age of the newest backup from which on there should be a newer one: two days."""

REMEDY: Final = "Make one: strongroom backup create DIR; have a timer make one every night."

_KEY = meta_key("backup")
_ROW = struct.Struct(">BQ")
_VERSION = 1


class NoteBackup(msgspec.Struct, frozen=True):
    """Note a backup that is complete; ``created_ms`` is when it was begun, in Unix ms."""

    created_ms: int


def decide_note(context: Context, command: NoteBackup) -> None:
    """Write the row, unless a newer backup is noted: two may be made at once."""
    if command.created_ms > newest_ms(context.txn):
        context.txn.put(_KEY, _ROW.pack(_VERSION, command.created_ms))


DECISIONS: dict[type, Any] = {NoteBackup: decide_note}


def newest_ms(reader: Reader) -> int:
    """Return when the newest backup of this site was begun, in Unix ms; 0: there is none."""
    row = reader.get(_KEY)
    return 0 if row is None else int(_ROW.unpack(row)[1])


def examine(reader: Reader, now_ms: int) -> Iterator[Finding]:
    """Yield a finding when there is no backup, or none that is new enough."""
    made_ms = newest_ms(reader)
    if not made_ms:
        evidence = "no backup of this site was ever made: with the data's disk all would be lost"
        yield Finding("backup.none", Severity.NOTICE, evidence, REMEDY)
    elif now_ms - made_ms > WARNING_SECONDS * 1_000:
        hours = (now_ms - made_ms) // 3_600_000
        evidence = f"the newest backup is {hours} hours old: what came since would be lost"
        yield Finding("backup.old", Severity.WARNING, evidence, REMEDY)

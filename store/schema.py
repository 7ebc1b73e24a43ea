"""Know which version a store's rows have, refuse newer ones, and bring older ones up by steps.

The version is that of all tables and rows together, and stands in the store itself:

    META row  offset  size  type   meaning
    schema    0       2     u16    version, from 1 on

A store without the row has version 0: it was just made, or by a build that noted none. Every
released version has a step that leads to it, so a store of any of them can be opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

from store.engine.contract import Engine, Reader
from store.engine.txn import Txn
from store.errors import FormatError, StoreError
from store.tables import meta_key

_KEY: Final = meta_key("schema")
_VERSION_BYTES: Final = 2


class NewerSchemaError(StoreError):
    """The store was written by a newer program; nothing was changed."""

    code: ClassVar[str] = "store.newer_schema"
    hint: ClassVar[str] = (
        "Use the newer program; `strongroom upgrade rollback --store` goes back to the snapshot."
    )


class Step(NamedTuple):
    """What leads to one version from the one before: its name, and what it does to the rows.

    A step may read everything and writes what fits into one batch; all steps of an opening are
    one transaction.
    """

    name: str
    convert: Callable[[Txn], None]


def _as_they_are(txn: Txn) -> None:
    del txn


STEPS: Final[tuple[Step, ...]] = (Step("note the version", _as_they_are),)
"""Step n, counted from 1, leads to version n."""

SCHEMA: Final = len(STEPS)
"""The version that this program writes; it opens every version up to it."""


def schema_of(reader: Reader) -> int:
    """Return a store's version; raises ``FormatError`` for a row that is no version."""
    row = reader.get(_KEY)
    if row is None:
        return 0
    if len(row) != _VERSION_BYTES:
        raise FormatError("the store's schema version cannot be read")
    return int.from_bytes(row, "big")


def expect_known(reader: Reader, schema: int = SCHEMA) -> int:
    """Return a store's version; raises ``NewerSchemaError`` when it is above ``schema``."""
    found = schema_of(reader)
    if found > schema:
        raise NewerSchemaError(
            f"the store has schema {found}, this program knows {schema} and older ones"
        )
    return found


def bring_up(txn: Txn, steps: Sequence[Step] = STEPS) -> list[str]:
    """Carry out the steps that a store lacks, and note its version; return their names.

    Nothing is written when there is none. Raises ``NewerSchemaError``; a step may raise
    ``LimitError`` when its rows do not fit into one batch.
    """
    found = expect_known(txn, len(steps))
    missing = steps[found:]
    for step in missing:
        step.convert(txn)
    if missing:
        txn.put(_KEY, len(steps).to_bytes(_VERSION_BYTES, "big"))
    return [step.name for step in missing]


def bring_up_store(engine: Engine, token: int, steps: Sequence[Step] = STEPS) -> list[str]:
    """Bring a store up in one durable batch; to be called before anything else is written."""
    with engine.snapshot() as reader:
        txn = Txn(reader)
        names = bring_up(txn, steps)
        if names:
            engine.batch(txn.writes, token)
    return names

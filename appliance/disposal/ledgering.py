"""Keep the ledger's own affairs: a key of the day, and checkpoints that it signs.

The seed of the key is a secret of the site, sealed like the others. Once another day's key is
there, the old seed dies with the next root switch: nobody can sign for a day that is past.

    META row "daykeys.spent"   origin u32, seq u64 of each seed that waits for that
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import nacl.signing

from appliance.context import Context
from appliance.disposal import calendar
from appliance.disposal.commands import KeepLedger
from appliance.operations import DayKey, Kind, SecretSlot, SiteSecret
from store import notes
from store.engine.txn import Txn
from store.ids import SITE_STREAM, Origin
from store.notes import Checkpoint
from store.oplog import Op
from store.tables import REGISTER, meta_key

if TYPE_CHECKING:
    from appliance.core import Core

SEED_BYTES: Final = 32

_SPENT: Final = meta_key("daykeys.spent")
_PLACE = struct.Struct(">IQ")


def keep(core: Core, ctx: Context, command: KeepLedger) -> None:
    """Decide ``KeepLedger``: a new key when the day has changed, and a checkpoint."""
    del command
    day = calendar.day_of(ctx.now)
    known = core.disposal.day_key
    if known is None or known.day != day:
        _renew(core, ctx, day)
    checkpoint(core, ctx.txn)


def checkpoint(core: Core, txn: Txn) -> bytes:
    """Sign the ledger as it is now, keep the note and return it."""
    seed = nacl.signing.SigningKey(core.secrets[SecretSlot.DAY_SEED])
    head = core.log.head
    name = notes.log_name(Origin(core.log.node, head.incarnation))
    state = Checkpoint(name, core.log.ledger.size, core.log.ledger.root())
    note = notes.sign_checkpoint(
        state, bytes(seed.verify_key), lambda data: bytes(seed.sign(data).signature)
    )
    key = core.disposal.day_key
    assert key is not None, "the site keeps a key of the day"
    certified = notes.DayKey(key.day, key.public_key, key.signature)
    notes.save_checkpoint(txn, head.origin, note, certified)
    return note


def spent_seeds(core: Core, txn: Txn) -> list[Op]:
    """Return the seeds of past days that are still there, and forget that they were."""
    value = txn.get(_SPENT)
    if value is None:
        return []
    txn.delete(_SPENT)
    return [core.log.read(txn, *place) for place in _PLACE.iter_unpack(value)]


def _renew(core: Core, ctx: Context, day: int) -> None:
    site = core.streams.pseudonym(SITE_STREAM)
    assert site is not None
    spent = ctx.txn.get(REGISTER.key(site, Kind.SITE_SECRET, SecretSlot.DAY_SEED))
    if spent is not None:
        ctx.txn.put(_SPENT, (ctx.txn.get(_SPENT) or b"") + spent)
    seed = ctx.entropy.bytes(SEED_BYTES)
    ctx.append(Kind.SITE_SECRET, SiteSecret(SecretSlot.DAY_SEED, seed), stream=SITE_STREAM)
    public_key = bytes(nacl.signing.SigningKey(seed).verify_key)
    certified = notes.certify_day_key(core.log.node, day, public_key, core.sign)
    ctx.append(Kind.DAY_KEY, DayKey(*certified), stream=SITE_STREAM)


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {KeepLedger: keep}

"""Change the root with a commit, so that the keys of doomed parts end with the old one.

The order is all there is to it; the writer keeps it:

    begin      in the transaction: fresh keys on every way to a touched epoch, and a fresh root;
               covers without the doomed parts under fresh slot keys; generation + 1
    write      the new root into the other slot, durably
    (commit)   one ``Engine.batch``
    finish     settle: no recovery comes back to the old generation any more
               memory: the old root is wiped, then the touched epochs' seeds
               efface the old slot: random, sync, zeros, sync, read back

Until ``finish`` has settled, both roots exist, and snapshots of both generations open. Nothing
may be effaced by whoever does not know how the commit ended: recovery at the next start finds
out, settles, and effaces the root that is not the store's.
"""

from __future__ import annotations

from collections.abc import Iterator

from store.engine.contract import Engine
from store.ports import Entropy
from store.tables import EPOCH
from store.vault import epochs, forest, ggm
from store.vault.contract import Transaction
from store.vault.doomed import Doomed, EpochId, Puncture
from store.vault.effacement import Evidence
from store.vault.epochs import EpochKeys
from store.vault.forest import Edge
from store.vault.keyring import EpochName, Keyring
from store.vault.roots import Roots
from store.vault.suites import KEY_BYTES, Suite


class Switch:
    """One root switch whose rows are in the transaction; used by the writer's thread only."""

    def __init__(self, roots: Roots, keyring: Keyring, touched: list[EpochName]) -> None:
        self._roots = roots
        self._keyring = keyring
        self._touched = touched
        self._is_written = False

    def write(self) -> None:
        """Put the new root into the other slot; durable on return.

        Raises ``EngineFullError`` or ``EngineError``; ``withdraw`` may follow the former.
        """
        self._is_written = True  # whatever comes of it: something may be in the slot
        self._roots.write_next()

    def withdraw(self) -> None:
        """Efface the new root: its commit was not applied. The old one never went out of use.

        Raises ``EffaceError`` or ``EngineError``; recovery then effaces it.
        """
        self._roots.forget_next()
        self._roots.efface_other()

    def finish(self, engine: Engine) -> Evidence:
        """End the old root, after the commit; the keys of doomed parts are gone on return.

        Raises ``EffaceError`` or the engine's errors: then nothing may be called destroyed
        before recovery.
        """
        engine.settle()
        # The root first: a reader that comes between the two finds no key to cache again.
        self._roots.promote()
        self._keyring.drop_many(self._touched)
        self._roots.efface_other()
        evidence = self._roots.evidence
        assert evidence is not None, "a switch leaves a generation behind"
        return evidence

    def rolled_back(self) -> None:
        """Forget the new root, if it never left the memory."""
        if not self._is_written:
            self._roots.forget_next()


def begin(
    txn: Transaction,
    doomed: Doomed,
    roots: Roots,
    keyring: Keyring,
    suite: Suite,
    entropy: Entropy,
    edge: Edge | None = None,
) -> Switch:
    """Write the rows of a switch into ``txn``; the new root is held in memory only.

    With an ``edge`` all keys that nothing hangs from become new. Cost: each node on the ways is
    opened and sealed once, and so is each punctured epoch.
    """
    root, fresh = forest.rekey(txn, roots.present(), doomed.places(), suite, entropy, edge)
    for each in doomed.emptied.values():
        txn.put(each.row_key, each.row)
    for name, mark in doomed.punctured.items():
        _puncture(txn, name, mark, fresh[mark.header.place], entropy)
    roots.announce(root)
    switch = Switch(roots, keyring, list(_names(doomed)))
    txn.on_rollback(switch.rolled_back)
    return switch


def _puncture(
    txn: Transaction, name: EpochId, mark: Puncture, slot_key: bytes, entropy: Entropy
) -> None:
    """Write an epoch's row without the marked parts, with a fresh index seed (K3)."""
    row_key, prf = EPOCH.key(*name), mark.header.suite.prf
    value = txn.get(row_key) or b""
    before = epochs.open_row(row_key, value, mark.slot_key).cover
    cover = ggm.puncture(prf, before, mark.removed, mark.end)
    if cover:
        keys = EpochKeys(entropy.bytes(KEY_BYTES), cover)
        value = epochs.seal_row(row_key, mark.header, keys, slot_key, entropy)
    else:
        value = epochs.emptied_row(value)
    txn.put(row_key, value)


def _names(doomed: Doomed) -> Iterator[EpochName]:
    for name, each in doomed.emptied.items():
        yield (*name, each.header.suite.number)
    for name, mark in doomed.punctured.items():
        yield (*name, mark.header.suite.number)

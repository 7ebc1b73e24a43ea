"""Destroying with the vault's parts: who has every byte and the present root opens no more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from store.clocks import SeededEntropy
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import IntegrityError, PartGoneError
from store.ports import Entropy
from store.tables import EPOCH
from store.vault import epochs, forest, ggm
from store.vault.epochs import EpochKeys
from store.vault.forest import FAN_OUT, TOP, NodeId, SlotId, child_key
from store.vault.suites import AES_GCM, seal, unseal

EPOCHS = 4
PARTS = 16


class Recorder(Txn):
    """A transaction that keeps every value ever put, as a medium that forgets nothing would."""

    def __init__(self) -> None:
        super().__init__(MemoryEngine().snapshot())
        self.every: dict[bytes, list[bytes]] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.every.setdefault(key, []).append(value)
        super().put(key, value)


class Keys:
    """A forest with some epochs, and destruction as the root switch will do it."""

    def __init__(self, entropy: Entropy) -> None:
        self.entropy, self.txn = entropy, Recorder()
        self.root = entropy.bytes(32)
        forest.plant(self.txn, self.root, AES_GCM, entropy)
        self.parts: dict[tuple[int, int], bytes] = {}
        for epoch in range(EPOCHS):
            self._open(epoch)

    def _open(self, epoch: int) -> None:
        place = SlotId(0, epoch)
        slot_key = forest.prepare_slot(self.txn, self.root, place, AES_GCM, self.entropy)
        keys = epochs.birth_keys(self.entropy)
        self._write(epoch, keys, slot_key)
        for index in range(PARTS):
            key = ggm.part_key(AES_GCM.prf, keys.cover, index)
            self.parts[epoch, index] = seal(
                AES_GCM, key, self.entropy.bytes(12), b"%d/%d" % (epoch, index), b""
            )

    def _write(self, epoch: int, keys: EpochKeys, slot_key: bytes) -> None:
        header = epochs.EpochHeader(AES_GCM, 2, SlotId(0, epoch), 0)
        row_key = EPOCH.key(7, epoch)
        self.txn.put(row_key, epochs.seal_row(row_key, header, keys, slot_key, self.entropy))

    def read(self, epoch: int) -> EpochKeys:
        row_key = EPOCH.key(7, epoch)
        slot_key = forest.slot_key(self.txn, self.root, SlotId(0, epoch))
        return epochs.open_row(row_key, self.txn.get(row_key) or b"", slot_key)

    def destroy(self, doomed: set[tuple[int, int]], *, rekeys: bool = True) -> None:
        """Puncture the epochs and re-key their ways; ``rekeys=False`` is a mutant."""
        touched = {epoch for epoch, _ in doomed}
        old = {epoch: self.read(epoch) for epoch in touched}
        places = [SlotId(0, epoch) for epoch in touched]
        if rekeys:
            self.root, fresh = forest.rekey(self.txn, self.root, places, AES_GCM, self.entropy)
        else:
            fresh = {place: forest.slot_key(self.txn, self.root, place) for place in places}
        for epoch in touched:
            gone = [index for owner, index in doomed if owner == epoch]
            cover = ggm.puncture(AES_GCM.prf, old[epoch].cover, gone)
            keys = EpochKeys(self.entropy.bytes(32), cover)
            self._write(epoch, keys, fresh[SlotId(0, epoch)])


def attack(keys: Keys) -> dict[tuple[int, int], bytes]:
    """Open what can be opened with the present root and every value ever written."""
    slot_keys: dict[int, set[bytes]] = {epoch: set() for epoch in range(EPOCHS)}
    pending = [(TOP, keys.root)]
    while pending:
        node, key = pending.pop()
        for opened in versions(keys, node, key):
            if node.level == 5:
                for epoch in range(EPOCHS):
                    slot_keys[epoch].add(child_key(opened, epoch))
            else:
                pending.append((first_child(node), child_key(opened, 0)))
    found: dict[tuple[int, int], bytes] = {}
    for (epoch, index), sealed in keys.parts.items():
        for part_key in part_keys(keys, epoch, index, slot_keys[epoch]):
            found[epoch, index] = unseal(AES_GCM, part_key, sealed, b"")
    return found


def first_child(node: NodeId) -> NodeId:
    return NodeId(0, node.level + 1, node.number * FAN_OUT)


def versions(keys: Keys, node: NodeId, key: bytes) -> list[bytes]:
    opened = []
    for value in keys.txn.every[node.key()]:
        old = Txn(MemoryEngine().snapshot())
        old.put(node.key(), value)
        try:
            opened.append(forest.open_node(old, key, node))
        except IntegrityError:
            continue
    return opened


def part_keys(keys: Keys, epoch: int, index: int, slot_keys: set[bytes]) -> list[bytes]:
    found = []
    row_key = EPOCH.key(7, epoch)
    for slot_key in slot_keys:
        for value in keys.txn.every[row_key]:
            try:
                cover = epochs.open_row(row_key, value, slot_key).cover
                found.append(ggm.part_key(AES_GCM.prf, cover, index))
            except (IntegrityError, PartGoneError):
                continue
    return found


part_names = st.tuples(st.integers(0, EPOCHS - 1), st.integers(0, PARTS - 1))


@settings(max_examples=25)
@given(st.lists(st.sets(part_names, min_size=1, max_size=8), min_size=1, max_size=3))
def test_no_destroyed_part_opens_and_every_survivor_does(
    orders: list[set[tuple[int, int]]],
) -> None:
    keys = Keys(SeededEntropy("forensics"))
    destroyed: set[tuple[int, int]] = set()
    for order in orders:
        keys.destroy(order)
        destroyed |= order
    opened = attack(keys)
    assert set(opened) == set(keys.parts) - destroyed
    assert all(text == b"%d/%d" % name for name, text in opened.items())


def test_without_rekeying_the_attack_succeeds() -> None:
    """Show that the attack is one: it opens what a puncture alone leaves behind."""
    keys = Keys(SeededEntropy("forensics"))
    keys.destroy({(0, 3)}, rekeys=False)
    assert (0, 3) in attack(keys)

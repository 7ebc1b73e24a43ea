"""Hold the slot keys in trees of sealed nodes below the root, and re-key the way to some.

    level  nodes               sealed under           children
    0      one                 the root R             keys of the level-1 nodes
    1      126                 a key of level 0       keys of 15,876 trees
    2      one of each tree    the tree's key         keys of level 3
    3, 4   126, 15,876         a key one level up     keys one level down
    5      2,000,376           a key of level 4       slot keys

    node value: 4,062 bytes under suite 1, 4,074 under suite 2 (one LMDB overflow page has 4,080)
    offset  size  type    meaning
    0       1     u8      format version, 1
    1       ...   sealed  126 keys of 32 bytes; associated data = label || row key || version, suite

The depth is fixed from birth. A node is made, with all 126 keys at random, when the first slot
below it is used; so using a slot later rewrites nothing. Removing a key re-keys its whole way:
fresh keys for every node on it and a fresh R, and nothing else is touched. Keys from which
nothing hangs yet can be *refreshed*: who kept nodes or rows of a batch that was lost, and whose
slots come again, cannot open them then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from store.engine.contract import Reader
from store.errors import FormatError, IntegrityError
from store.ports import Entropy
from store.tables import FOREST, index48
from store.vault.contract import Transaction
from store.vault.suites import KEY_BYTES, SEALING_BYTES_MAX, Suite, seal, suite_of, unseal

FAN_OUT = 126
TREES = FAN_OUT**2
SLOTS = FAN_OUT**4
"""Slots of one tree."""

_VERSION = b"\x01"
_LABEL = b"strongroom/node/1"
_NODE_BYTES = FAN_OUT * KEY_BYTES
_TREE_LEVEL = 2
_LAST_LEVEL = 5


class SlotId(NamedTuple):
    """Where a slot key lives."""

    tree: int
    slot: int


class NodeId(NamedTuple):
    """Where a node lives; levels 0 and 1 belong to no tree and say 0."""

    tree: int
    level: int
    number: int

    def key(self) -> bytes:
        """Return the key of the node's row."""
        return FOREST.key(self.tree, self.level, index48(self.number))


TOP = NodeId(0, 0, 0)

NODE_ROW_BYTES: Final = len(TOP.key()) + len(_VERSION) + SEALING_BYTES_MAX + _NODE_BYTES
"""Longest row of a node, with its key."""


class Step(NamedTuple):
    """One step from the root to a slot: a node, and which of its keys leads on.

    ``is_first`` tells that no earlier slot's way leads through the node.
    """

    node: NodeId
    child: int
    is_first: bool


def way_to(place: SlotId) -> tuple[Step, ...]:
    """Return the six steps from the root to a slot."""
    tree, slot = place
    steps = [
        Step(TOP, tree // FAN_OUT, False),
        Step(NodeId(0, 1, tree // FAN_OUT), tree % FAN_OUT, tree % FAN_OUT == 0 and slot == 0),
    ]
    for level in range(2, _LAST_LEVEL + 1):
        below = FAN_OUT ** (_LAST_LEVEL - level)
        number, child = divmod(slot // below, FAN_OUT)
        steps.append(Step(NodeId(tree, level, number), child, slot % (below * FAN_OUT) == 0))
    return tuple(steps)


def child_key(keys: bytes, child: int) -> bytes:
    """Return one of a node's 126 keys."""
    return keys[child * KEY_BYTES : (child + 1) * KEY_BYTES]


def _associated(node: NodeId, suite: Suite) -> bytes:
    return _LABEL + node.key() + _VERSION + suite.head


def seal_node(suite: Suite, key: bytes, node: NodeId, keys: bytes, entropy: Entropy) -> bytes:
    """Return a node's stored value."""
    assert len(keys) == _NODE_BYTES
    nonce = entropy.bytes(suite.nonce_bytes)
    return _VERSION + seal(suite, key, nonce, keys, _associated(node, suite))


def open_node(reader: Reader, key: bytes, node: NodeId) -> bytes:
    """Return a node's 126 keys.

    Raises ``IntegrityError`` when it is missing or fails its tag, ``FormatError`` when its
    version or suite is unknown.
    """
    value = reader.get(node.key())
    if value is None or len(value) < 2:
        raise IntegrityError("a node of the key forest is missing")
    if value[:1] != _VERSION:
        raise FormatError("a node of the key forest has an unknown version")
    suite = suite_of(value[1])
    keys = unseal(suite, key, value[1:], _associated(node, suite))
    if len(keys) != _NODE_BYTES:
        raise IntegrityError("a node of the key forest has an impossible size")
    return keys


def plant(txn: Transaction, root: bytes, suite: Suite, entropy: Entropy) -> None:
    """Make the top node of a new forest under ``root``."""
    txn.put(TOP.key(), seal_node(suite, root, TOP, entropy.bytes(_NODE_BYTES), entropy))


def leaf_of(place: SlotId) -> NodeId:
    """Return the node that holds a slot's key."""
    return NodeId(place.tree, _LAST_LEVEL, place.slot // FAN_OUT)


def leaf_keys(reader: Reader, root: bytes, place: SlotId) -> bytes:
    """Return the 126 keys of a slot's leaf. Cost: six reads and six openings of 4 kB."""
    keys, key = b"", root
    for step in way_to(place):
        keys = open_node(reader, key, step.node)
        key = child_key(keys, step.child)
    return keys


def slot_key(reader: Reader, root: bytes, place: SlotId) -> bytes:
    """Return the key of a slot in use, at the cost of ``leaf_keys``."""
    return key_in_leaf(leaf_keys(reader, root, place), place)


def key_in_leaf(keys: bytes, place: SlotId) -> bytes:
    """Return a slot's key out of those of its leaf."""
    return child_key(keys, place.slot % FAN_OUT)


def prepare_slot(
    txn: Transaction, root: bytes, place: SlotId, suite: Suite, entropy: Entropy
) -> bytes:
    """Return the key of the next slot of a tree, making the nodes it is the first below."""
    key = root
    for step in way_to(place):
        if step.is_first:
            keys = entropy.bytes(_NODE_BYTES)
            if txn.get(step.node.key()) is not None:
                raise IntegrityError("a node of the key forest is there before its first slot")
            txn.put(step.node.key(), seal_node(suite, key, step.node, keys, entropy))
        else:
            keys = open_node(txn, key, step.node)
        key = child_key(keys, step.child)
    return key


class Edge(NamedTuple):
    """Where the forest goes on: the next tree, and the next slot of each tree in use."""

    tree: int
    slots: tuple[SlotId, ...]


class _Branch(NamedTuple):
    """A node to re-key: its branches below by child number, and the children it loses."""

    node: NodeId
    below: dict[int, _Branch]
    lost: list[int]

    def at(self, way: Iterable[Step]) -> _Branch:
        """Return the branch at the end of a way that begins at this one."""
        branch = self
        for step, following in pairwise(way):
            if step.child not in branch.below:
                branch.below[step.child] = _Branch(following.node, {}, [])
            branch = branch.below[step.child]
        return branch


def _branches(places: Iterable[SlotId], edge: Edge | None) -> _Branch:
    by_leaf: dict[tuple[int, int], list[SlotId]] = {}
    for place in places:
        by_leaf.setdefault((place[0], place[1] // FAN_OUT), []).append(place)
    top = _Branch(TOP, {}, [])
    for lost in by_leaf.values():
        top.at(way_to(lost[0])).lost.extend(place[1] % FAN_OUT for place in lost)
    for way, unused in _unused(edge) if edge is not None else ():
        top.at(way).lost.extend(unused)
    return top


def _unused(edge: Edge) -> Iterator[tuple[tuple[Step, ...], range]]:
    """Yield the way to each node at the edge, and those of its children that lead nowhere yet."""
    if edge.tree < TREES:
        yield from _unused_along(way_to(SlotId(edge.tree, 0)), 0, _TREE_LEVEL)
    for place in edge.slots:
        if place.slot < SLOTS:
            yield from _unused_along(way_to(place), _TREE_LEVEL, _LAST_LEVEL + 1)


def _unused_along(
    way: tuple[Step, ...], first: int, end: int
) -> Iterator[tuple[tuple[Step, ...], range]]:
    for level in range(first, end):
        step = way[level]
        if step.is_first:
            return  # the node will be made with the slot
        leads_on = level < _LAST_LEVEL and not way[level + 1].is_first
        yield way[: level + 1], range(step.child + leads_on, FAN_OUT)


class _Renewal(NamedTuple):
    """A re-keying on its way; not a closure, whose cycle would keep the transaction."""

    txn: Transaction
    suite: Suite
    entropy: Entropy
    fresh: dict[SlotId, bytes]

    def renew(self, branch: _Branch, old_key: bytes) -> bytes:
        """Give a node and all below it on the ways fresh keys; return the node's own."""
        keys = bytearray(open_node(self.txn, old_key, branch.node))
        for child, below in branch.below.items():
            start = child * KEY_BYTES
            new = self.renew(below, bytes(keys[start : start + KEY_BYTES]))
            keys[start : start + KEY_BYTES] = new
        tree, level, number = branch.node
        spare = self.entropy.bytes(KEY_BYTES * len(branch.lost))
        for turn, child in enumerate(branch.lost):
            fresh = child_key(spare, turn)
            keys[child * KEY_BYTES : (child + 1) * KEY_BYTES] = fresh
            if level == _LAST_LEVEL:
                self.fresh[SlotId(tree, number * FAN_OUT + child)] = fresh
        new_key = self.entropy.bytes(KEY_BYTES)
        value = seal_node(self.suite, new_key, branch.node, bytes(keys), self.entropy)
        self.txn.put(branch.node.key(), value)
        return new_key


def rekey(
    txn: Transaction,
    root: bytes,
    places: Iterable[SlotId],
    suite: Suite,
    entropy: Entropy,
    edge: Edge | None = None,
) -> tuple[bytes, dict[SlotId, bytes]]:
    """Replace the keys of some slots, of every node on the way to them, and the root.

    With an ``edge``, also every key that was made and from which nothing hangs yet. Returns the
    new root and the fresh keys of the slots. Every other key stays what and where it was. Raises
    ``IntegrityError`` when a node on the way is missing. Cost: each node on the way is opened
    and written once. ``places`` holds no slot twice.
    """
    renewal = _Renewal(txn, suite, entropy, {})
    return renewal.renew(_branches(places, edge), root), renewal.fresh

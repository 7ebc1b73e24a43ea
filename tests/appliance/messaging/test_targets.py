"""What targets a message folds the same in whatever order it came."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.messaging import targets
from appliance.operations import (
    BodyStruct,
    Confirm,
    Edit,
    Kind,
    Message,
    Reaction,
    Recall,
    encode,
)
from store.engine.memory import MemoryEngine
from store.ids import OpId, Stream, StreamKind
from store.oplog import Op, OpClass
from store.tables import TARGET

ALICE, BOB = b"a" * 16, b"b" * 16
NODES = (b"m" * 16, b"n" * 16)


def make(seq: int, key: int, actor: bytes, kind: Kind, body: BodyStruct, node: int = 0) -> Op:
    return Op(
        OpId(NODES[node], 1, seq),
        node + 1,
        kind,
        OpClass.MESSAGE,
        Stream(StreamKind.CONVERSATION, b"c" * 16),
        1,
        1,
        actor,
        b"",
        0,
        key,
        0,
        key,
        b"c" * 16,
        b"",
        0,
        encode(body),
        b"h" * 32,
        seq,
        0,
        False,
        False,
    )


ROOT = make(1, 1, ALICE, Kind.MESSAGE, Message("text", "first", "", "normal", b"", ()))

bodies: st.SearchStrategy[tuple[Kind, BodyStruct]] = st.one_of(
    st.builds(lambda text: (Kind.EDIT, Edit("text", text, "")), st.text(max_size=3)),
    st.builds(lambda on, e: (Kind.REACTION, Reaction(e, on)), st.booleans(), st.sampled_from("ab")),
    st.just((Kind.CONFIRM, Confirm())),
    st.just((Kind.RECALL, Recall())),
)


@st.composite
def operations(draw: st.DrawFn) -> list[Op]:
    count = draw(st.integers(0, 8))
    return [
        make(
            seq,
            draw(st.integers(2, 5)),
            draw(st.sampled_from([ALICE, BOB])),
            *draw(bodies),
            draw(st.integers(0, 1)),
        )
        for seq in range(2, 2 + count)
    ]


@given(operations(), st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(ops: list[Op], dice: random.Random) -> None:
    shuffled = list(ops)
    dice.shuffle(shuffled)
    assert targets.fold(ROOT, shuffled) == targets.fold(ROOT, ops)


@given(operations())
def test_each_rule_holds(ops: list[Op]) -> None:
    standing = targets.fold(ROOT, ops)
    newest = max(ops, key=lambda op: (op.key, op.id), default=None)
    assert standing.recalled == any(op.kind == Kind.RECALL for op in ops)
    edits = [op for op in ops if op.kind == Kind.EDIT and op.actor == ALICE]
    assert standing.edits == len(edits)
    if edits:
        last = max(edits, key=lambda op: (op.key, op.id))
        assert standing.edit == targets.body_of(last)
    else:
        assert standing.edit is None
    if newest is not None and newest.kind == Kind.REACTION:
        body = targets.body_of(newest)
        assert isinstance(body, Reaction)
        assert (newest.actor in standing.reactions.get(body.emoji, ())) == body.on
    assert set(standing.confirmed) == {op.actor for op in ops if op.kind == Kind.CONFIRM}


def test_nobody_elses_edit_counts() -> None:
    edit = make(2, 9, BOB, Kind.EDIT, Edit("text", "forged", ""))
    assert targets.fold(ROOT, [edit]).edit is None


def test_what_is_withheld_keeps_everything_but_what_was_said() -> None:
    body = Message("text", "secret", "data", "urgent", b"r" * 32, (BOB,))
    op = make(2, 2, ALICE, Kind.MESSAGE, body)
    left = targets.body_of(targets.withheld(op))
    assert left == Message("text", "", "", "urgent", b"r" * 32, (BOB,))
    edit = make(3, 3, ALICE, Kind.EDIT, Edit("text", "secret", "", key=2))
    assert targets.body_of(targets.withheld(edit)) == Edit("text", "", "", key=2)


def test_a_body_of_an_unknown_kind_is_none() -> None:
    op = make(2, 2, ALICE, Kind.RECALL, Recall())
    assert targets.body_of(op) == Recall()
    unknown = msgspec.structs.replace(op, kind=999)
    assert targets.body_of(unknown) is None


PLACES = st.tuples(st.integers(0, 2), st.integers(0, 12))


@given(roots=st.sets(PLACES), asked=st.lists(PLACES), reverse=st.booleans(), orderly=st.booleans())
def test_whether_a_message_is_targeted_is_told_in_any_order_of_asking(
    roots: set[tuple[int, int]], asked: list[tuple[int, int]], reverse: bool, orderly: bool
) -> None:
    engine = MemoryEngine()
    engine.batch({TARGET.key(*root, 1, 99): b"" for root in roots}, engine.acquire())
    with engine.snapshot() as reader:
        targeted = targets.Targeted(reader, reverse=reverse)
        for place in sorted(asked, reverse=reverse) if orderly else asked:
            assert (place in targeted) == (place in roots)

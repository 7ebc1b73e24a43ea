"""Versions: after any edits, recalls and reactions, every version comes back, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.evidence.versions import history, is_version
from appliance.operations import Edit, Kind, Message, encode
from store.ids import OpId, Stream, StreamKind
from store.oplog import Op, OpClass
from tests.appliance.evidence.archive import Archive, texts_of
from transports.wire import schema

AUTHOR, OTHER = b"a" * 16, b"b" * 16
STREAM = Stream(StreamKind.CONVERSATION, b"c" * 16)
ROOT = OpId(b"n" * 16, 1, 1)


def op(seq: int, kind: int, *, key: int = 0, actor: bytes = AUTHOR, body: bytes | None = b"") -> Op:
    return Op(
        id=ROOT._replace(seq=seq),
        origin=1,
        kind=kind,
        op_class=OpClass.MESSAGE,
        stream=STREAM,
        pseudonym=5,
        feed=5,
        actor=actor,
        device=b"",
        counter=0,
        t=key or seq,
        floor=0,
        key=key or seq,
        conversation=STREAM.id,
        target=b"" if seq == 1 else ROOT.pack(),
        seen=0,
        body=body,
        op_hash=b"",
        pos=seq,
        received_ms=0,
        in_timeline=seq == 1,
        late=False,
    )


TARGETS = st.lists(
    st.tuples(
        st.sampled_from([Kind.EDIT, Kind.RECALL, Kind.REACTION, Kind.CONFIRM, Kind.ESCALATION]),
        st.sampled_from([AUTHOR, OTHER]),
        st.integers(1, 5),
    ),
    max_size=12,
)


@given(TARGETS, st.randoms(use_true_random=False))
def test_order_of_arrival_changes_nothing(
    made: list[tuple[Kind, bytes, int]], random: object
) -> None:
    root = op(1, Kind.MESSAGE)
    targets = [
        op(seq, kind, key=key, actor=actor) for seq, (kind, actor, key) in enumerate(made, 2)
    ]
    shuffled = list(targets)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random
    found = history(root, shuffled)
    assert found == history(root, targets)
    assert found.root is root
    assert sorted((*found.versions[1:], *found.events), key=id) == sorted(targets, key=id)
    assert all(is_version(each, root) for each in found.versions[1:])
    assert not any(is_version(each, root) for each in found.events)
    places = [(each.key, each.id) for each in found.versions[1:]]
    assert places == sorted(places)
    assert found.is_recalled == any(kind is Kind.RECALL for kind, _, _ in made)


def test_an_edit_by_somebody_else_is_no_version() -> None:
    root, edit = op(1, Kind.MESSAGE), op(2, Kind.EDIT, actor=OTHER)
    found = history(root, [edit])
    assert (found.versions, found.events) == ((root,), (edit,))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.text(min_size=1, max_size=20)),
        st.tuples(st.just("react"), st.sampled_from(["+", "-", "ok"])),
        st.tuples(st.just("recall"), st.just("")),
    ),
    max_size=8,
)


@settings(max_examples=20)
@given(first=st.text(min_size=1, max_size=20), steps=STEPS)
def test_every_version_is_reconstructed_byte_for_byte(
    first: str, steps: list[tuple[str, str]]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        house = Archive(monkeypatch, "alice", "bob")
        conv = house.direct("alice", "bob")
        told, reactions, recalls = [f"x{first}"], 0, 0
        msg = house.say("alice", conv, told[0]).msg
        assert msg is not None
        for step, value in steps:
            number = house.number("alice")
            frame: schema.Edit | schema.React | schema.Recall
            if step == "edit":
                frame = schema.Edit(1, number, msg, schema.Body("text", f"y{value}"))
            elif step == "react":
                frame = schema.React(1, number, msg, value, True)
            else:
                frame = schema.Recall(1, number, msg)
            if recalls:
                assert house.refused("alice", frame) == "message.recalled"
                continue
            house.by("alice", frame)
            told += [f"y{value}"] if step == "edit" else []
            reactions += step == "react"
            recalls += step == "recall"
        house.approve(conversations=(conv,))
        record = house.reconstruct(msg).record
    assert texts_of(record) == told
    original = Message("text", told[0], "", "normal", b"", ())
    root_key = int(record.key, 16)
    bodies = [original, *(Edit("text", text, "", root_key) for text in told[1:])]
    assert [each.proof.body for each in record.versions] == [encode(body) for body in bodies]
    kinds = [each.kind for each in record.events]
    assert (kinds.count("reaction"), kinds.count("recall")) == (reactions, recalls)
    assert record.state == ("recalled" if recalls else "present")

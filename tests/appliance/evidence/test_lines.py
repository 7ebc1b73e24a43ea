"""Lines: one value, one line of bytes, and a hash that tells of every one before it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.evidence import lines
from appliance.evidence.lines import (
    CHAIN_START,
    Conversation,
    Destroyed,
    End,
    Header,
    Line,
    Member,
    Named,
    Operation,
    Record,
    Scope,
    SiteKey,
)
from appliance.evidence.openings import Proof

TEXTS = st.text(max_size=8)
COUNTS = st.integers(0, 2**53)
CONTENT = st.dictionaries(
    TEXTS, st.one_of(TEXTS, COUNTS, st.booleans(), st.lists(TEXTS, max_size=2)), max_size=3
)
NAMED = st.builds(Named, TEXTS, TEXTS, TEXTS)
PROOFS = st.builds(
    Proof,
    skeleton=st.binary(max_size=9),
    envelope=st.binary(max_size=9),
    body=st.none() | st.binary(max_size=9),
    salt=st.binary(max_size=9),
    path=st.lists(st.binary(max_size=4), max_size=2).map(tuple),
)
OPERATIONS = st.builds(
    Operation, TEXTS, TEXTS, NAMED, TEXTS, COUNTS, COUNTS, TEXTS, st.none() | CONTENT, PROOFS
)
MANY = st.lists(OPERATIONS, max_size=2).map(tuple)
SCOPES = st.builds(
    Scope,
    st.lists(NAMED, max_size=2).map(tuple),
    st.lists(TEXTS, max_size=2).map(tuple),
    st.lists(TEXTS, max_size=2).map(tuple),
    st.lists(TEXTS, max_size=2).map(tuple),
    COUNTS,
    COUNTS,
)
MEMBERS = st.builds(Member, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, COUNTS, TEXTS, COUNTS)
LINES: st.SearchStrategy[Line] = st.one_of(
    st.builds(
        Header,
        *(TEXTS, TEXTS, TEXTS),
        st.lists(st.builds(SiteKey, TEXTS, TEXTS), max_size=2).map(tuple),
        *(TEXTS, COUNTS, NAMED, TEXTS, SCOPES, SCOPES, COUNTS),
    ),
    st.builds(
        Conversation,
        *(TEXTS, TEXTS, TEXTS, TEXTS),
        st.lists(TEXTS, max_size=2).map(tuple),
        *(COUNTS, st.booleans(), COUNTS),
        st.lists(MEMBERS, max_size=2).map(tuple),
    ),
    st.builds(
        Record,
        *(TEXTS, TEXTS, TEXTS, TEXTS, COUNTS, TEXTS, TEXTS, COUNTS, COUNTS, COUNTS, MANY, MANY),
    ),
    st.builds(Destroyed, TEXTS, TEXTS, COUNTS, TEXTS, st.binary(max_size=9)),
    st.builds(End, COUNTS, COUNTS, COUNTS, COUNTS, TEXTS, st.binary(max_size=9)),
)


@given(LINES)
def test_a_line_comes_back_and_is_one_line(line: Any) -> None:
    data = lines.encode(line)
    assert lines.decode(data) == line
    assert b"\n" not in data
    assert b"\r" not in data
    assert type(line).__name__ in repr(line)
    assert len(repr(line)) < 20


@given(LINES)
def test_other_bytes_of_the_same_value_are_refused(line: Any) -> None:
    data = lines.encode(line)
    for other in (b" " + data, data + b" ", data.replace(b":", b": ", 1)):
        with pytest.raises(ValueError, match=r"bytes"):
            lines.decode(other)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"other"}',
        b'{"type":"destroyed","id":"","conversation":"","at":0,"state":"","skeleton":"","x":1}',
        b'{"type":"destroyed","id":"","conversation":"","at":"0","state":"","skeleton":""}',
        b"\xff",
    ],
)
def test_what_is_no_line_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        lines.decode(data)


def test_the_chain_is_what_the_documentation_says() -> None:
    start = sha256(b"strongroom/export/1").digest()
    assert start == CHAIN_START
    assert lines.chain(start, b"{}") == sha256(start + b"{}").digest()


def test_a_conversation_line_is_named_by_what_it_says() -> None:
    line = lines.named(Conversation("x", "c", "group", "t", (), 2, False, 0, ()))
    unnamed = msgspec.structs.replace(line, context="")
    assert line.context == sha256(lines.encode(unnamed)).hexdigest()
    renamed = lines.named(msgspec.structs.replace(line, title="other"))
    assert renamed.context != line.context


def test_what_is_signed_at_the_end_names_the_site_and_all_counts() -> None:
    end = End(1, 2, 3, 4, "ab", b"s")
    signed = lines.end_bytes(end, b"n" * 16)
    assert signed == lines.end_bytes(msgspec.structs.replace(end, signature=b""), b"n" * 16)
    assert signed.startswith(b"strongroom/export/end/1" + b"n" * 16)
    for name in ("records", "destroyed", "operations", "pending"):
        other = msgspec.structs.replace(end, **{name: 9})
        assert lines.end_bytes(other, b"n" * 16) != signed

"""The transcripts in docs/protocol.md happen just so, with a client that is not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.harness import running
from tests.docs.markdown import ROOT, sections, under
from tests.docs.transcript import Replay, TranscriptError, fill, match, read
from transports.wire import schema

PAGE = ROOT / "docs" / "protocol.md"
BLOCKS = [
    read(fence.lines, fence.line)
    for section in under(sections(PAGE), "Transcripts")
    for fence in section.fences
    if fence.language == "transcript"
]


def test_every_transcript_happens_as_it_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        codes = {f"code_{login}": code for login, code in server.invitations.items()}
        replay = Replay(server.address, server.ca_pem, dict(codes))
        for block in BLOCKS:
            replay.run(block)


def test_every_frame_of_a_client_occurs_in_a_transcript() -> None:
    texts = [step.text for block in BLOCKS for step in block if step.what == "C"]
    frames = [frame for text in texts if text.startswith("[") for frame in json.loads(text)]
    kinds = {kind.__struct_config__.tag for kind in schema.ClientFrame.__args__}
    assert {frame["t"] for frame in frames} >= kinds


def test_a_replay_finds_what_is_not_told(tmp_path: Path) -> None:
    wrong = {
        "but there was": ['C: [{"t": "ping", "id": 1}]', 'S: [{"t": "pong", "id": 2}]'],
        "not told": ['C: [{"t": "ping", "id": 1}]'],
        "before it is known": ['C: [{"t": "auth", "token": "$token"}]'],
        "closed with 1007": [
            "C: nonsense",
            'S: [{"t": "err", "code": "$code", "message": "$text"}]',
            "S: close 1008",
        ],
        "not closed": ['C: [{"t": "ping", "id": 1}]', "S: close 1000"],
    }
    with running(tmp_path) as server:
        for complaint, lines in wrong.items():
            with pytest.raises(TranscriptError, match=complaint):
                Replay(server.address, server.ca_pem, {}).run(read(lines, 1))


def test_steps_are_read_with_their_lines_and_connections() -> None:
    lines = ["# remark", "", "C bob: [1,", "  2]", "S: close 1000", "cut bob"]
    assert read(lines, 10) == [
        (12, "C", "bob", "[1, 2]"),
        (14, "close", "", "1000"),
        (15, "cut", "bob", ""),
    ]
    with pytest.raises(TranscriptError):
        read(["D: []"], 1)


@pytest.mark.parametrize(
    ("expected", "found", "matches"),
    [
        ({"a": "$x", "b": "$x"}, {"a": 1, "b": 1}, True),
        ({"a": "$x", "b": "$x"}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": True}, False),
        ([1, 2], [1], False),
        ([1, 2], [2, 1], False),
        ({"members": ["$known", "$other"]}, {"members": [8, 7]}, True),
        ({"members": ["$known", "$known"]}, {"members": [8, 7]}, False),
    ],
)
def test_values_are_noted_and_then_compared(expected: Any, found: Any, matches: bool) -> None:
    assert match(expected, found, {"known": 7}) is matches


def test_noted_values_are_sent() -> None:
    assert fill('{"a": "$x", "b": "$y"}', {"x": 'q"', "y": [1]}) == '{"a": "q\\"", "b": [1]}'

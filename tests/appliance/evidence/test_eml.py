"""Message files: any mail program reads them, nothing written by people becomes a header."""

from __future__ import annotations

import email
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import parsedate_to_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.directory.commands import SetProfile
from appliance.evidence import eml, lines
from appliance.evidence.limits import EML_ADDRESSES
from appliance.evidence.lines import Conversation, Member, Named, Operation, Record
from appliance.evidence.openings import Proof
from tests.appliance.evidence.archive import Archive
from transports.wire import schema

NODE = "ab" * 16
PROOF = Proof(b"s", b"e", b"b", b"t")
AT = 1_790_000_000_123


def read(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=default)
    assert isinstance(found, EmailMessage)
    assert not list(found.defects)
    return found


def text_of(found: EmailMessage) -> str:
    body = found.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def conversation(title: str, *people: Named, labels: tuple[str, ...] = ()) -> Conversation:
    members = (Member(p.person, p.login, p.name, "", "", 0, "", 0) for p in people)
    return lines.named(
        Conversation("", "cd" * 16, "group", title, labels, 2, False, 0, tuple(members))
    )


def record(by: Named, text: str, at: int = AT) -> Record:
    content = {"kind": "text", "text": text, "data": ""}
    version = Operation("01" * 32, "message", by, "", 1, at, "0" * 16, content, PROOF)
    return Record("01" * 32, "cd" * 16, "", "0" * 16, at, "present", "", 1, 0, 0, (version,), ())


ALICE = Named("0a" * 16, "alice", "Alice Chen")


def made(title: str = "Ward 3", text: str = "hello", by: Named = ALICE) -> bytes:
    return eml.message(
        NODE, [lines.encode(conversation(title, by)), lines.encode(record(by, text))]
    )


def test_a_real_conversation_day_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch, "alice", "bob", "carol")
    archive.do(SITE, SetProfile("alice", name="李安"))
    ward = archive.group("alice", "bob", title="病房 3")
    msg = archive.say("alice", ward, "one\nmore").msg
    assert msg is not None
    edit = schema.Edit(1, archive.number("alice"), msg, schema.Body("text", "two"))
    archive.by("alice", edit)
    archive.by("bob", schema.React(1, archive.number("bob"), msg, "👍", True))
    archive.say("bob", ward, "answer")
    archive.read_all("bob", ward)
    archive.approve(from_ms=1)
    (data, *_), header = [list(sheet.lines) for sheet in archive.sheets(by_day=True)], None
    header, *data = data
    node = lines.decode(header).node  # type: ignore[union-attr]  # the first line
    written = eml.message(node, data)
    found = read(written)
    at = datetime.fromtimestamp(archive.clock.wall_ms() // 1_000, UTC)
    assert parsedate_to_datetime(found["Date"]) == at
    assert found["Date"].endswith("+0000")
    assert [(each.display_name, each.addr_spec) for each in found["From"].addresses] == [
        ("李安", f"alice@{node}.strongroom.invalid"),
        ("Bob", f"bob@{node}.strongroom.invalid"),
    ]
    assert found["Sender"].address.username == "archive"
    assert {each.username for each in found["To"].addresses} == {"alice", "bob"}
    assert found["Subject"] == f"病房 3, {at:%Y-%m-%d}"
    assert found["X-Strongroom-Conversation"] == ward.hex()
    text = text_of(found)
    for expected in (
        "  | one\n  | more\n",
        "[version 2,",
        "  | two\n",
        "reaction by Bob (bob)",
        "👍 on",
    ):
        assert expected in text
    assert "[delivered to 1, read by 1]" in text
    assert eml.lines_in(written) == data
    assert max(map(len, written.split(b"\r\n"))) <= 998


def test_the_same_lines_give_the_same_bytes_and_others_do_not() -> None:
    assert made() == made()
    assert made() != made(text="other")
    assert read(made())["Message-ID"] != read(made(text="other"))["Message-ID"]


NASTY = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "a\r\nBcc: x@example.org",
            "a\n\nbody",
            "=?utf-8?q?a=0D=0ABcc:_x=40example.org?=",
            "=?utf-8?b?DQpCY2M6IHg=?=",
            '"quoted", <x@example.org>, y@example.org',
            "\u2028Bcc: x",
            "x" * 300,
            "字" * 200,
            "",
        ]
    ),
)
HEADERS = [
    "Date",
    "From",
    "Sender",
    "To",
    "Subject",
    "Message-ID",
    "X-Strongroom-Conversation",
    "X-Strongroom-Kind",
    "X-Strongroom-Retention-Class",
    "MIME-Version",
    "Content-Type",
]


@given(title=NASTY, name=NASTY, text=NASTY, login=st.sampled_from(["", "alice", "a..b", "x.y-z_1"]))
def test_nothing_that_people_write_becomes_a_header(
    title: str, name: str, text: str, login: str
) -> None:
    by = Named("0a" * 16, login, name)
    try:
        written = made(title, text, by)
    except UnicodeEncodeError:
        assert re.search("[\ud800-\udfff]", title + name + text)
        return
    found = read(written)
    assert found.keys() == HEADERS
    assert len(found["From"].addresses) == len(found["To"].addresses) == 1
    address = found["From"].addresses[0]
    expected = login if login in ("alice", "x.y-z_1") else "0a" * 16
    assert (address.username, address.domain) == (expected, f"{NODE}.strongroom.invalid")
    attached = eml.lines_in(written)
    assert attached == [lines.encode(conversation(title, by)), lines.encode(record(by, text))]


@given(st.sampled_from(["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"]))
def test_no_line_of_a_message_passes_for_one_of_ours(mark: str) -> None:
    forged = "2026-01-01T00:00:00.000Z  Bob (bob)  00"
    text = text_of(read(made(text=f"x{mark}{forged}")))
    assert forged in text
    assert f"\n{forged}" not in text
    assert [line for line in text.splitlines() if line.startswith(forged)] == []


def test_labels_are_a_header_when_there_are_any() -> None:
    context = conversation("x", ALICE, labels=("trial 4", "二"))
    written = eml.message(NODE, [lines.encode(context), lines.encode(record(ALICE, "x"))])
    assert read(written)["X-Strongroom-Labels"] == "trial 4, 二"


def test_many_members_do_not_make_an_endless_header() -> None:
    people = [Named(f"{n:032x}", f"p{n}", f"P {n}") for n in range(EML_ADDRESSES + 5)]
    context = conversation("x", *people)
    written = eml.message(NODE, [lines.encode(context), lines.encode(record(people[0], "x"))])
    assert len(read(written)["To"].addresses) == EML_ADDRESSES
    assert f"P {EML_ADDRESSES + 4} (p" in text_of(read(written))


def test_a_second_context_of_the_day_is_told() -> None:
    bob = Named("0b" * 16, "bob", "Bob")
    data = [
        conversation("x", ALICE),
        record(ALICE, "alone"),
        conversation("x", ALICE, bob),
        record(bob, "both"),
    ]
    found = read(eml.message(NODE, [lines.encode(each) for each in data]))
    assert {each.username for each in found["To"].addresses} == {"alice", "bob"}
    assert text_of(found).count("Members:") == 2


def test_destroyed_messages_have_a_file_of_their_own() -> None:
    stones = [
        lines.Destroyed("01" * 32, "cd" * 16, AT, "destroyed", b"s"),
        lines.Destroyed("02" * 32, "cd" * 16, 0, "destroyed", b"s"),
    ]
    written = eml.message(NODE, [lines.encode(each) for each in stones])
    found = read(written)
    assert found["Subject"] == "Destroyed messages"
    assert "made about 2026-09-21T14:13:20.123Z" in text_of(found)
    assert "made at an unknown time" in text_of(found)
    assert eml.lines_in(written) == [lines.encode(each) for each in stones]


def test_a_body_that_is_gone_and_a_copy_are_said_to_be() -> None:
    whole = record(ALICE, "secret")
    gone = msgspec.structs.replace(whole.versions[0], content=None)
    shown = msgspec.structs.replace(
        whole, versions=(gone,), state="body_destroyed", copy_of="03" * 32
    )
    text = text_of(
        read(eml.message(NODE, [lines.encode(conversation("x", ALICE)), lines.encode(shown)]))
    )
    assert "[body_destroyed]" in text
    assert f"[passes on {'03' * 32}]" in text


def test_a_time_beyond_all_calendars_is_no_obstacle() -> None:
    for at in (1 << 60, 0):
        data = [lines.encode(conversation("x", ALICE)), lines.encode(record(ALICE, "x", at))]
        assert read(eml.message(NODE, data))["Date"]


@pytest.mark.parametrize("data", [b"", b"Subject: x\r\n\r\nhello\r\n"])
def test_a_message_without_lines_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="no lines"):
        eml.lines_in(data)

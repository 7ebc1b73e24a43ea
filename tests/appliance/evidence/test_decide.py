"""Reading what is not one's own: role, signature, approval, and a trace of every record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.context import SITE, Actor
from appliance.directory.requests import read_request
from appliance.disposal.commands import Selection
from appliance.evidence.decide import Page, Reconstruct
from appliance.operations import UNSIGNED
from store.errors import LimitError, PartGoneError
from store.oplog import OpLog
from tests.appliance.evidence.archive import REVIEW, Archive, texts_of
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(monkeypatch, "alice", "bob", "carol")


@pytest.fixture
def ward(archive: Archive) -> Id:
    conv = archive.group("alice", "bob", title="Ward 3")
    for text in ("one", "two", "three"):
        archive.say("alice", conv, text)
    archive.approve(conversations=(conv,))
    return conv


def refusal(archive: Archive, actor: Actor, command: Any) -> str:
    """Return the code with which a command is refused; it must leave no trace."""
    before = len(archive.ops)
    with pytest.raises(Refusal) as caught:
        archive.do(actor, command)
    assert len(archive.ops) == before
    return caught.value.code


def test_every_record_shown_leaves_a_trace(archive: Archive, ward: Id) -> None:
    records = archive.records(reason="complaint 12")
    reads = archive.reads()
    assert [each.target.hex() for each in reads] == ["", *(record.id for record in records)]
    assert {(each.what, each.request) for each in reads} == {("export", REVIEW)}
    signed = read_request(reads[0].signed.request)
    assert signed.person == archive.person("dave")
    assert json.loads(signed.arguments)["reason"] == "complaint 12"
    assert {each.signed for each in reads[1:]} == {UNSIGNED}
    archive.check()


def test_each_page_is_signed_in_its_first_trace(archive: Archive, ward: Id) -> None:
    pages = list(archive.sheets(limit=2))
    signed = [each.signed != UNSIGNED for each in archive.reads()]
    assert signed == [True, False, False, True]
    assert len(pages) == 3


def test_nothing_is_shown_whose_trace_cannot_be_written(
    archive: Archive, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = OpLog.append

    def full(log: OpLog, txn: Any, draft: Any, now_ms: int) -> Any:
        if draft.target or (len(archive.ops) and draft.kind == 114 and log.head.seq > last + 1):
            raise LimitError("the disk is full")
        return append(log, txn, draft, now_ms)

    last = archive.site.core.log.head.seq
    monkeypatch.setattr(OpLog, "append", full)
    with pytest.raises(LimitError):
        archive.page()
    assert archive.site.core.log.head.seq == last
    assert archive.reads() == []


@pytest.mark.parametrize("login", ["alice", "bob"])
def test_who_has_not_the_role_reads_nothing(archive: Archive, ward: Id, login: str) -> None:
    page, one = Page(REVIEW), Reconstruct("00" * 32, REVIEW)
    assert refusal(archive, archive.signer(login, page), page) == "permission.denied"
    assert refusal(archive, archive.signer(login, one), one) == "permission.denied"


def test_officers_and_auditors_may_and_the_site_may_not(archive: Archive, ward: Id) -> None:
    assert archive.exported(login="dave") == archive.exported(login="olga")
    assert refusal(archive, SITE, Page(REVIEW)) == "permission.denied"


def test_without_an_approved_review_nobody_reads(archive: Archive, ward: Id) -> None:
    page = Page(REVIEW + 1)
    assert refusal(archive, archive.signer("dave", page), page) == "permission.denied"


def test_what_is_done_is_what_was_signed(archive: Archive, ward: Id) -> None:
    signer = archive.signer("dave", Page(REVIEW, limit=1))
    for other in (
        Page(REVIEW, limit=2),
        Page(REVIEW, Selection(persons=("alice",)), limit=1),
        Page(REVIEW, limit=1, reason="another"),
    ):
        assert refusal(archive, signer, other) == "request.signature"
    unsigned = Actor(archive.person("dave"))
    assert refusal(archive, unsigned, Page(REVIEW)) == "request.signature"


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Page(REVIEW, limit=0), "request.invalid"),
        (Page(REVIEW, reason="two\nlines"), "request.invalid"),
        (Page(REVIEW, Selection(from_ms=9, until_ms=9)), "request.invalid"),
        (Page(REVIEW, Selection(persons=("nobody",))), "person.unknown"),
        (Page(REVIEW, Selection(conversations=("zz",))), "conversation.unknown"),
        (Page(REVIEW, Selection(conversations=("00" * 16,))), "conversation.unknown"),
        (Page(REVIEW, after="AAAA"), "evidence.cursor"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    archive: Archive, ward: Id, page: Page, code: str
) -> None:
    assert refusal(archive, archive.signer("dave", page), page) == code


def test_a_cursor_goes_on_with_the_same_question_of_the_same_person_only(
    archive: Archive, ward: Id
) -> None:
    after = archive.page(limit=1).after
    for login, page in (
        ("olga", Page(REVIEW, after=after)),
        ("dave", Page(REVIEW, Selection(persons=("bob",)), after)),
        ("dave", Page(REVIEW, after=after, by_day=True)),
    ):
        assert refusal(archive, archive.signer(login, page), page) == "evidence.cursor"
    archive.reviews.approved[8] = archive.reviews.approved[REVIEW]
    page = Page(8, after=after)
    assert refusal(archive, archive.signer("dave", page), page) == "evidence.cursor"
    assert archive.page(after, limit=2, reason="another reason").tally.records == 3


def test_the_approved_review_bounds_whatever_is_asked(archive: Archive, ward: Id) -> None:
    other = archive.direct("alice", "carol")
    archive.say("alice", other, "elsewhere")
    assert archive.exported() == ["one", "three", "two"]
    assert archive.exported(selection={"persons": ("alice",)}) == ["one", "three", "two"]
    assert archive.exported(selection={"persons": ("carol",)}) == []
    assert archive.exported(selection={"conversations": (other.hex(),)}) == []


# --- one message ---------------------------------------------------------------------------------


def test_a_message_is_reconstructed_by_its_name_or_an_edits(archive: Archive, ward: Id) -> None:
    msg = archive.say("alice", ward, "first").msg
    assert msg is not None
    edited = archive.by(
        "alice", schema.Edit(1, archive.number("alice"), msg, schema.Body("text", "second"))
    )
    for name in (msg, edited.msg):
        gathered = archive.reconstruct(name)
        assert texts_of(gathered.record) == ["first", "second"]
        assert gathered.context.conversation == ward.hex()
    reads = archive.reads()
    assert [(each.what, each.target) for each in reads] == [("reconstruct", msg)] * 2
    assert all(each.signed != UNSIGNED for each in reads)


@pytest.mark.parametrize("name", ["", "zz", "00" * 16, "00" * 32, "ff" * 32])
def test_no_such_message(archive: Archive, ward: Id, name: str) -> None:
    one = Reconstruct(name, REVIEW)
    assert refusal(archive, archive.signer("dave", one), one) == "message.unknown"


def test_an_operation_that_is_no_message_is_not_reconstructed(archive: Archive, ward: Id) -> None:
    with archive.reading() as reader:
        log = archive.site.core.log
        created = log.read(reader, log.head.origin, 1)
    one = Reconstruct(created.id.pack().hex(), REVIEW)
    assert refusal(archive, archive.signer("dave", one), one) == "message.unknown"
    beyond = created.id._replace(seq=9_999).pack().hex()
    one = Reconstruct(beyond, REVIEW)
    assert refusal(archive, archive.signer("dave", one), one) == "message.unknown"


def test_a_message_outside_the_review_is_refused(archive: Archive, ward: Id) -> None:
    msg = archive.say("alice", archive.direct("alice", "carol"), "elsewhere").msg
    assert msg is not None
    one = Reconstruct(msg.hex(), REVIEW)
    assert refusal(archive, archive.signer("dave", one), one) == "evidence.scope"


@pytest.mark.parametrize("keep_envelope", [False, True])
def test_a_destroyed_message_is_said_to_be_gone(
    archive: Archive, ward: Id, keep_envelope: bool
) -> None:
    msg = archive.say("alice", ward, "secret").msg
    assert msg is not None
    archive.destroy(msg, keep_envelope=keep_envelope)
    before = archive.reads()
    with pytest.raises(PartGoneError) as caught:
        archive.reconstruct(msg)
    assert caught.value.code == "store.part_gone"
    assert archive.reads() == before

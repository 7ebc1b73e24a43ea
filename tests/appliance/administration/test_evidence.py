"""Evidence over the administration: signed requests in, lines and records out."""

from __future__ import annotations

import pytest

from appliance.administration import SIGNED
from appliance.administration.evidence import AFTERWARDS
from appliance.evidence.decide import REQUESTS, Page, Reconstruct
from appliance.evidence.proofs import verify_export
from tests.appliance.evidence.archive import REVIEW, Archive
from tests.appliance.evidence.desk import Desk
from transports.wire.schema import Id


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(Archive(monkeypatch, "alice", "bob"))


@pytest.fixture
def ward(desk: Desk) -> Id:
    conv = desk.archive.group("alice", "bob", title="Ward 3")
    for text in ("one", "two", "three"):
        desk.archive.say("alice", conv, text)
    desk.archive.approve(conversations=(conv,))
    return conv


def test_an_export_comes_page_by_page_and_verifies(desk: Desk, ward: Id) -> None:
    found: list[bytes] = []
    after, progress = "", [0]
    while True:
        answer = desk.ask("dave", Page(REVIEW, after=after, limit=2))["ok"]
        found += [line.encode() for line in answer["lines"]]
        progress.append(answer["progress"])
        after = answer["after"]
        if not after:
            break
    assert (answer["records"], answer["destroyed"]) == (3, 0)
    assert verify_export(found, desk.archive.site_key).is_good
    assert progress == sorted(progress)
    assert progress[-1] == 1_000


def test_a_page_of_one_day_names_its_group(desk: Desk, ward: Id) -> None:
    answer = desk.ask("dave", Page(REVIEW, by_day=True))["ok"]
    assert answer["group"] == [ward.hex(), "2025-06-15"]


def test_a_message_comes_with_all_versions(desk: Desk, ward: Id) -> None:
    msg = desk.archive.say("alice", ward, "original").msg
    assert msg is not None
    answer = desk.ask("olga", Reconstruct(msg.hex(), REVIEW))["ok"]
    assert answer["context"]["title"] == "Ward 3"
    (version,) = answer["record"]["versions"]
    assert version["content"]["text"] == "original"
    assert isinstance(version["proof"]["body"], str)


def test_what_is_destroyed_is_said_to_be_gone(desk: Desk, ward: Id) -> None:
    msg = desk.archive.say("alice", ward, "secret").msg
    assert msg is not None
    desk.archive.destroy(msg)
    answer = desk.ask("dave", Reconstruct(msg.hex(), REVIEW))
    assert answer["error"]["code"] == "store.part_gone"


@pytest.mark.parametrize("login", ["alice", "bob"])
def test_a_signature_gives_nobody_a_role(desk: Desk, ward: Id, login: str) -> None:
    assert desk.ask(login, Page(REVIEW))["error"]["code"] == "permission.denied"


def test_every_command_of_the_room_can_be_asked_for_and_is_answered() -> None:
    assert AFTERWARDS.keys() == REQUESTS.keys() <= SIGNED.keys()

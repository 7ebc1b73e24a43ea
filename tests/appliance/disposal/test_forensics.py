"""Who has every byte ever written and finds the present root reads the survivors, and no more.

A site destroys by age, by a recall, by an order and by erasing a person. Then a thief comes, with
all rows that were ever written and the key directory as it is. Broken ways of destroying are
caught by the same test; and nothing that anybody wrote is on any device in clear, at any time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from random import Random

import pytest
import trio

from appliance.context import SITE, Actor
from appliance.directory.commands import RenewToken, SetProfile, SetState
from appliance.disposal import gather
from appliance.disposal.commands import (
    ApproveRequest,
    FileConversation,
    PlaceHold,
    RejectRequest,
    ReleaseHold,
    RequestDestruction,
    RequestReview,
    RunDestruction,
    Selection,
    SetPolicy,
    SignRequest,
)
from appliance.evidence.decide import Page
from store.errors import EngineFullError, PartGoneError
from store.faults import CutAt, PowerCut
from store.ids import Stream, StreamKind
from store.oplog import Op
from store.tables import EPOCH
from store.vault import STANDARD, Vault, epochs
from store.vault.forest import TREES, Edge
from store.vault.roots import Roots
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.thief import Thief
from tests.store.vault.test_forensics import rekey_keeping
from tests.system.test_canaries import Canaries
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id

POLICY = """
cooling_off = "0"
[[class]]
name = "record"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
[[rule]]
name = "record"
class = "record"
min = "100d"
max = "200d"
"""


class Scene:
    """A site that has destroyed in every way there is; what is gone and what is kept, by words."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.kept: list[str] = []
        self.house = Hospital("alice", "bob", "carol", policy=POLICY, retain=True)
        self.room = self.house.group("alice", "bob", title="the night shift")
        self.recall()
        self.devices("carol")
        self.expire()
        self.order()
        self.erase()

    def say(self, login: str, room: Id, text: str, *, goes: bool) -> Id:
        (self.gone if goes else self.kept).append(text)
        return self.house.send(login, room, text)

    def recall(self) -> None:
        message = self.say("alice", self.room, "sent to the wrong room", goes=True)
        self.house.recall("alice", message)
        trio.run(self.house.service.recalls)

    def expire(self) -> None:
        """Let a message end with its edits, beside one that is held and one of another class."""
        house = self.house
        held = house.group("bob", "carol")
        house.officer("dave", PlaceHold("Case 7", Selection(conversations=(held.hex(),)), "court"))
        filed = house.group("alice", "carol")
        house.officer("dave", FileConversation(filed.hex(), "record"))
        old = self.say("alice", self.room, "the first words of a month ago", goes=True)
        self.gone.append("the same in other words")
        house.edit("alice", old, self.gone[-1])
        house.react("bob", old, "agreed")
        self.gone.append("agreed")
        self.say("bob", held, "what a court asks for", goes=False)
        self.say("carol", filed, "what belongs to the record", goes=False)
        house.pass_days(31)
        self.say("bob", self.room, "from today", goes=False)
        house.anchor()
        house.expire()

    def order(self) -> None:
        message = self.say("alice", self.room, "what she wants back", goes=True)
        self.house.react("bob", message, "seen it")
        self.gone.append("seen it")
        self.house.anchor()
        self.carry_out(RequestDestruction(Selection(persons=("alice",)), "art. 17"))

    def erase(self) -> None:
        """Erase a person: their names too, but not what others wrote.

        The order names them by their id: what officers sign is kept as long as the audit, and an
        order that would keep their login is refused.
        """
        house = self.house
        who = f"id:{house.people['carol'].hex()}"
        by_login = RequestDestruction(Selection(persons=("carol",)), "asked", erase=True)
        room = house.group("carol", "bob")
        self.say("carol", room, "the last thing she wrote", goes=True)
        self.say("bob", room, "an answer to it", goes=False)
        house.do(SITE, SetProfile("carol", name="Carol Nobody", unit="ward of no return"))
        house.do(SITE, SetState("carol", "removed"))
        self.gone += ["carol", "Carol Nobody", "ward of no return"]
        house.anchor()
        with pytest.raises(Refusal, match=r"selection\.named"):
            house.officer("dave", by_login)
        self.carry_out(RequestDestruction(Selection(persons=(who,)), "asked", erase=True))

    def devices(self, login: str) -> None:
        """Let a person use a device that their directory has forgotten since."""
        house, person = self.house, self.house.people[login]
        old = house.do(SITE, RenewToken(login, bytes(32), name="a telephone of long ago")).device
        house.do(Actor(person, old), schema.Wiped(certificate=1))
        house.pass_days(181)
        house.do(SITE, RenewToken(login, bytes([1] * 32), name="the last telephone"))
        assert old not in house.core.directory.person(person).devices
        self.gone += ["a telephone of long ago", "the last telephone"]
        self.forgotten = Stream(StreamKind.DEVICE, old)

    def carry_out(self, command: RequestDestruction) -> None:
        house = self.house
        asked = house.officer("dave", command)
        house.officer("dave", SignRequest(asked.request, asked.digest))
        house.officer("erin", ApproveRequest(asked.request, asked.digest))
        house.officer("dave", RunDestruction(asked.request))
        trio.run(house.service.order, house.core.disposal.orders.popleft())

    # --- the attack -----------------------------------------------------------------------------

    def thief(self) -> Thief:
        return Thief.of(self.house.medium, self.house.keys)

    def opens(self) -> list[str]:
        """Return which of the destroyed words a thief reads."""
        found = self.thief().everything()
        return [text for text in self.gone if text.encode() in found]

    def survivors(self) -> Iterator[Op]:
        """Yield every operation that the site itself still opens."""
        with self.house.reading() as reader:
            for place in self.thief().places():
                try:
                    yield self.house.core.log.read(reader, *place)
                except PartGoneError:
                    continue


def test_no_destroyed_part_opens_and_every_survivor_does() -> None:
    scene = Scene()
    thief, found = scene.thief(), scene.thief().everything()
    assert scene.opens() == []
    assert [text for text in scene.kept if text.encode() not in found] == []
    survivors = {(op.origin, op.id.seq): op for op in scene.survivors()}
    assert [op for op in survivors.values() if op.stream == scene.forgotten] == []
    for place in thief.places():
        if place in survivors:
            assert survivors[place].body in thief.bodies(place)
        else:
            assert thief.opens(place) == set()
    assert len(survivors) < len(thief.places()) - len(scene.gone) // 2
    assert scene.house.problems() == []


def test_before_the_destruction_a_thief_reads_it_all() -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    message = house.send("alice", house.group("alice", "bob"), "words")
    house.edit("alice", message, "other words")
    found = Thief.of(house.medium, house.keys).everything()
    assert b"other words" in found


# --- what was lost ------------------------------------------------------------------------------


class Dice(Random):
    """Decides against every batch that was on its way."""

    def random(self) -> float:
        return 0.9


def lose(house: Hospital, room: Id, text: str) -> None:
    """Let the power fail while a message is committed, so that it is on the disk but not there."""
    house.medium.probe = CutAt(0)
    with pytest.raises(PowerCut):
        house.send("alice", room, text)
    house.medium.probe = None
    house.crash(Dice())


def lost_and_sent_again() -> tuple[Hospital, Id]:
    """Lose a message, and the first one of another conversation; send the one again."""
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    room, other = house.group("alice", "bob"), house.group("alice", "bob")
    house.send("alice", room, "from before")
    lose(house, room, "not to be found")
    lose(house, other, "nor this")
    message = house.send("alice", room, "not to be found")
    house.send("bob", room, "an answer")
    house.anchor()
    return house, message


def reads(house: Hospital) -> list[str]:
    found = Thief.of(house.medium, house.keys).everything()
    texts = ("from before", "not to be found", "nor this", "an answer")
    return [text for text in texts if text.encode() in found]


def test_a_copy_that_a_crash_left_ends_with_the_run_that_destroys_the_message() -> None:
    house, message = lost_and_sent_again()
    assert reads(house) == ["from before", "not to be found", "an answer"]
    house.recall("alice", message)
    trio.run(house.service.recalls)
    (run,) = house.core.disposal.runs.values()
    assert run.confirmed is not None
    assert reads(house) == ["from before", "an answer"]
    assert house.problems() == []


def test_leaving_what_was_lost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vault, "is_behind", False)
    house, message = lost_and_sent_again()
    house.recall("alice", message)
    trio.run(house.service.recalls)
    assert reads(house) == ["from before", "not to be found", "an answer"]


def test_using_the_keys_of_lost_epochs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vault, "_edge", lambda self, reader: Edge(TREES, ()))
    house, _ = lost_and_sent_again()
    assert "nor this" in reads(house)


def test_a_tick_ends_it_where_nothing_is_destroyed() -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    room = house.group("alice", "bob")
    house.send("alice", room, "from before")
    lose(house, room, "not to be found")
    assert reads(house) == ["from before", "not to be found"]
    trio.run(house.service.tick)
    assert reads(house) == ["from before"]
    assert not house.core.vault.is_behind


def test_a_stop_in_good_order_leaves_nothing_to_look_for() -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    message = house.send("alice", house.group("alice", "bob"), "words")
    house.site.close()
    house.start()
    trio.run(house.service.runner.cut_lost)
    assert house.core.vault.generation == 1  # nothing had to be cut, or looked for
    house.recall("alice", message)
    house.anchor()
    trio.run(house.service.recalls)
    assert house.problems() == []


def fill_the_disk(house: Hospital, room: Id) -> None:
    """Let a message be lost to a disk that is full for a moment."""

    def full(name: str) -> None:
        if name == "batch":
            raise EngineFullError("full")

    house.medium.probe = full
    with pytest.raises(EngineFullError):
        house.send("alice", room, "not to be found")
    house.medium.probe = None


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_stop_after_a_full_disk_is_in_no_good_order(goes_on: bool) -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    room = house.group("alice", "bob")
    house.send("alice", room, "from before")
    fill_the_disk(house, room)
    if goes_on:
        house.send("bob", room, "an answer")
    house.site.close()
    house.start()
    assert "not to be found" in reads(house)
    trio.run(house.service.tick)
    assert reads(house) == ["from before", "an answer"][: 1 + goes_on]


def test_a_full_disk_leaves_no_copy_either() -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    room = house.group("alice", "bob")
    house.send("alice", room, "from before")
    fill_the_disk(house, room)
    message = house.send("alice", room, "not to be found")
    house.recall("alice", message)
    house.anchor()
    trio.run(house.service.recalls)
    assert reads(house) == ["from before"]
    assert house.problems() == []


# --- whole epochs -------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "is_whole"), [(31.0, True), (30 - 2 / 24, False)])
def test_an_epoch_ends_whole_when_all_its_records_do_and_else_only_they_do(
    days: float, is_whole: bool
) -> None:
    """Either way each record that ends is in the certificate's scope."""
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    room = house.group("alice", "bob")
    texts = [f"words of a month ago, {number}" for number in range(5)]
    for text in texts:
        house.pass_days(1 / 24)
        house.send("alice", room, text)
    house.site.close()  # in good order: its epochs are closed
    house.start()
    house.pass_days(days)
    ended = house.expire()
    assert ended == 5 if is_whole else 0 < ended < 5
    (run,) = house.core.disposal.runs.values()
    assert run.intent.parts == ended
    found = Thief.of(house.medium, house.keys).everything()
    assert [text for text in texts if text.encode() in found] == texts[ended:]
    assert epochs_of(house, room)[STANDARD] == is_whole
    assert house.problems() == []


def epochs_of(house: Hospital, room: Id) -> dict[int, bool]:
    """Return the class of each epoch of a conversation, and whether nothing is left of it."""
    conversation = house.core.conversations.get(room)
    with house.reading() as reader:
        rows = [value for _, value in reader.range(*EPOCH.span(conversation.pseudonym))]
    return {epochs.read_header(row).retention_class: epochs.is_emptied(row) for row in rows}


# --- mutants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(7))
def test_keeping_a_key_on_the_way_is_caught(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level 0 is the root, 6 the slot keys."""
    monkeypatch.setattr("store.vault.forest.rekey", rekey_keeping(level))
    assert Scene().opens()


def test_a_switch_that_does_not_efface_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roots, "efface_other", Roots._see_alone)
    assert Scene().opens()


def test_forgetting_what_targets_a_message_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_targeting", lambda core, reader, root: iter(()))
    found = Scene().opens()
    assert "the same in other words" in found
    assert "the first words of a month ago" not in found


def test_an_ignored_hold_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.disposal.judge.holding", lambda core, found: ())
    scene = Scene()
    found = scene.thief().everything()
    lost = [text for text in scene.kept if text.encode() not in found]
    assert lost == ["what a court asks for"]


# --- nothing in clear ---------------------------------------------------------------------------


class Spy:
    """Looks at every byte that went to any device."""

    def __init__(self, house: Hospital) -> None:
        self._canaries = Canaries()
        self._house = house
        self.places: list[str] = []

    def __getitem__(self, place: str) -> str:
        """Return a string of 16 characters that is to be found nowhere."""
        text = secrets.token_hex(8)
        self._canaries.add(place, text)
        self.places.append(place)
        return text

    def found(self) -> list[str]:
        devices = self._house.devices
        return self._canaries.found_in(b"\0".join(each.every_byte() for each in devices))


def test_nothing_that_anybody_wrote_is_ever_on_a_device_in_clear() -> None:
    house = Hospital("alice", "bob", policy=POLICY, retain=True)
    spy = Spy(house)
    house.do(SITE, SetProfile("bob", login=spy["login"], name=spy["name"], unit=spy["unit"]))
    room = house.group("alice", "bob", title=spy["title"])
    message = house.send("alice", room, spy["body"])
    house.edit("alice", message, spy["edit"])
    house.react("bob", message, spy["reaction"])
    house.change("alice", room, "rename", title=spy["renamed"])
    house.officer("dave", FileConversation(room.hex(), "record", (spy["label"],)))
    hold = house.officer("dave", PlaceHold(spy["hold"], Selection(persons=("alice",)), spy["why"]))
    units = PlaceHold(spy["other hold"], Selection(units=(spy["held unit"],)), spy["other why"])
    house.officer("dave", units)
    rule = f'[[rule]]\nname = "{spy["rule"]}"\nunit = "{spy["rule unit"]}"\nmin = "1d"\n'
    basis = f'basis = "{spy["basis"]}"\n'
    house.officer("dave", SetPolicy(POLICY + rule + basis, 1, spy["policy reason"]))
    review(house, spy)
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(hold.hold, spy[f"release reason of {login}"]))
    assert spy.found() == []
    destroy(house, spy, room)
    assert spy.found() == []
    house.reopen()
    assert house.problems() == []
    assert spy.found() == []
    assert len(set(spy.places)) == len(spy.places) > 20


def review(house: Hospital, spy: Spy) -> None:
    asked = house.officer("frank", RequestReview(Selection(persons=("alice",)), 2, spy["review"]))
    house.officer("dave", ApproveRequest(asked.request, asked.digest))
    assert house.officer("frank", Page(asked.request)).found


def destroy(house: Hospital, spy: Spy, room: Id) -> None:
    """Ask for destruction in vain, then in earnest; then let the rest end by age."""
    house.pass_days(101)
    command = RequestDestruction(Selection(conversations=(room.hex(),)), spy["order reason"])
    refused = house.officer("dave", command)
    house.officer("erin", RejectRequest(refused.request, spy["objection"]))
    asked = house.officer("dave", command)
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    house.officer("dave", RunDestruction(asked.request))
    assert trio.run(house.service.order, house.core.disposal.orders.popleft()).destroyed == 1
    house.do(SITE, SetState("alice", "removed", spy["state reason"]))
    house.send("bob", house.group("bob", "dave"), spy["late body"])
    house.pass_days(31)
    assert house.expire() == 1

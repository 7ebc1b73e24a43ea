"""A hold is silent to who is held, and survives all that they and others may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from appliance.context import SITE
from appliance.directory.commands import SetState
from appliance.disposal.commands import (
    ApproveRequest,
    PlaceHold,
    RequestDestruction,
    RunDestruction,
    Selection,
    SignRequest,
)
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import is_gone
from transports.wire.errors import Refusal
from transports.wire.schema import Id

CHAT = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
"""
HOLD = PlaceHold("Case", Selection(persons=("alice",)), "court")


def made(*, is_held: bool) -> tuple[Hospital, Id, Id]:
    """Make a house with a message by alice in a room; the same one whether it is held or not."""
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    message = house.send("alice", room, "evidence")
    house.anchor()
    if is_held:
        house.officer("dave", HOLD)
    return house, room, message


def seen(*, is_held: bool) -> list[Any]:
    """Return all that alice and bob see while alice does what she likes."""
    house, room, message = made(is_held=is_held)
    house.edit("alice", message, "other words")
    house.react("bob", message, "+")
    other = house.send("alice", room, "and this")
    house.recall("alice", message)
    found: list[Any] = []
    for login in ("alice", "bob"):
        listed = house.listed(login)[bytes(room)]
        shown = [
            (item.recalled, item.edited, item.reactions) for item in house.history(login, room)
        ]
        found += [house.texts(login, room), shown, listed.unread, listed.title]
        found.append([type(event.op).__name__ for event in house.heard[house.people[login]]])
    assert not is_gone(house, other)
    return found


def test_who_is_held_sees_and_hears_what_everybody_does() -> None:
    assert seen(is_held=True) == seen(is_held=False)


def recall(house: Hospital, message: Id) -> None:
    house.recall("alice", message)


def remove(house: Hospital, message: Id) -> None:
    house.do(SITE, SetState("alice", "removed"))


def erase(house: Hospital, message: Id) -> None:
    remove(house, message)
    who = f"id:{house.people['alice'].hex()}"
    order(house, RequestDestruction(Selection(persons=(who,)), "art. 17", erase=True))


def ordered(house: Hospital, message: Id) -> None:
    order(house, RequestDestruction(Selection(persons=("alice",)), "art. 17"))


def order(house: Hospital, command: RequestDestruction) -> None:
    try:
        asked = house.officer("dave", command)
    except Refusal as refusal:
        if refusal.code != "order.empty":
            raise
        return
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    house.officer("dave", RunDestruction(asked.request))


def age(house: Hospital, message: Id) -> None:
    house.pass_days(100)


def restart(house: Hospital, message: Id) -> None:
    house.reopen()


DEEDS: Final[tuple[Callable[[Hospital, Id], None], ...]] = (
    recall,
    remove,
    erase,
    ordered,
    age,
    restart,
)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_held_survives_what_would_end_it(deed: Callable[[Hospital, Id], None]) -> None:
    house, _, message = made(is_held=True)
    deed(house, message)
    house.serve()
    house.pass_days(31)
    house.serve()
    assert house.expire() == 0
    assert not is_gone(house, message)
    house.check()


@pytest.mark.parametrize("deed", [recall, erase, ordered, age])
def test_what_is_not_held_ends_by_the_same(deed: Callable[[Hospital, Id], None]) -> None:
    house, _, message = made(is_held=False)
    deed(house, message)
    house.serve()
    assert is_gone(house, message)
    house.check()

"""Branches whose machine was set back or copied, and which went on working before that was noticed.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from appliance.context import SITE
from appliance.operations import Kind, LogSettled, decode
from appliance.sites import settling
from appliance.sites.link_commands import TakeIncarnation
from appliance.sites.settling import Settle
from store.faults import PowerCut
from store.ops import Op
from sync.errors import ForkedError
from sync.pieces import Lane
from tests.appliance.sites.cases import begin, new_organisation, say, texts
from tests.appliance.sites.harness import Organisation, Place, prove
from transports.wire import schema
from transports.wire.schema import Body, Id


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def fence(branch: Place) -> None:
    """Let a branch go on under a new incarnation, as headquarters tells it to."""
    branch.do(SITE, TakeIncarnation(branch.core.log.own.incarnation, "link.fenced"))


def heed(organisation: Organisation) -> None:
    """Let the first branch find at its greeting that it forked, and go on as it does then."""
    with pytest.raises(ForkedError) as caught:
        organisation.settle()
    error = caught.value
    command = TakeIncarnation(error.incarnation, error.code, error.forgotten)
    organisation.branches[0].do(SITE, command)


def audited(branch: Place) -> list[LogSettled]:
    """Return what a branch's audit says of logs that went on differently."""
    with branch.reading() as reader:
        found = [
            decode(entry.kind, entry.body or b"")
            for entry in branch.core.log.replay(reader)
            if isinstance(entry, Op) and entry.kind == Kind.LOG_SETTLED
        ]
    return [each for each in found if isinstance(each, LogSettled)]


def messages(place: Place, login: str, conv: Id) -> list[schema.MessageOp]:
    """Return what somebody reads, oldest first."""
    shown = [each.op for each in place.history(login, conv)]
    return [op for op in shown if isinstance(op, schema.MessageOp)]


def test_07_what_only_headquarters_has_of_a_branch_that_was_set_back_returns_to_it(
    organisation: Organisation,
) -> None:
    conv, branch = begin(organisation, "bea", "ann"), organisation.branches[0]
    say(organisation, "bea", conv, "before")
    organisation.settle()
    kept = branch.kept()
    name = say(organisation, "bea", conv, "known to headquarters only")
    branch.by("bea", schema.Conv(1, conv, "rename", title="renamed"))
    organisation.settle()
    branch.set_back(kept)
    fence(branch)
    organisation.hub.by("ann", schema.React(1, 1, name, "👍", True))
    organisation.settle()
    assert texts(branch, "bea", conv) == ["before", "known to headquarters only"]
    assert branch.core.conversations.get(conv).title == "renamed"
    assert branch.history("bea", conv)[-1].reactions
    (found,) = audited(branch)
    assert (found.again, found.let_go) == (0, 0)
    assert found.there > found.here == found.common
    prove(organisation)


def go_on_after_rollback(organisation: Organisation) -> tuple[Place, Id, list[str]]:
    """Set the first branch back, and let its people work before headquarters hears of it."""
    conv, branch = begin(organisation, "bea", "ann", "bob"), organisation.branches[0]
    say(organisation, "bea", conv, "before")
    organisation.settle()
    kept = branch.kept()
    for text in ("lost one", "lost two", "lost three"):
        say(organisation, "bea", conv, text)
    organisation.settle()
    branch.set_back(kept)
    branch.clock.advance(60_000)
    name = say(organisation, "bob", conv, "made")
    say(organisation, "bob", conv, "after it")
    branch.by("bob", schema.Edit(1, branch.number("bob"), name, Body("text", "made on top")))
    reply = schema.Send(1, branch.number("bob"), Body("text", "an answer"), conv=conv, reply=name)
    branch.by("bob", reply)
    return branch, conv, ["before", "lost one", "lost two", "lost three", "made on top"]


def test_07_what_a_branch_made_after_a_rollback_is_said_again_with_the_same_message_numbers(
    organisation: Organisation,
) -> None:
    branch, conv, said = go_on_after_rollback(organisation)
    opened = branch.by("bob", schema.Open(1, "group", branch.ids("bea"), title="on top")).conv
    assert opened is not None
    say(organisation, "bob", Id(opened), "in the new group")
    before = messages(branch, "bob", conv)
    fence(branch)
    organisation.settle()
    for place, login in ((organisation.hub, "ann"), (branch, "bob")):
        assert texts(place, login, conv) == [*said, "after it", "an answer"]
    assert texts(branch, "bea", Id(opened)) == ["in the new group"]
    again = {each.key: each.at for each in messages(branch, "bob", conv)}
    assert again.items() >= {(each.key, each.at) for each in before}, "said at another time"
    made, _, answer = messages(branch, "bob", conv)[-3:]
    assert answer.reply == made.msg
    frame = schema.Send(1, 1, Body("text", "made"), conv=conv)
    assert branch.by("bob", frame).msg == made.msg, "a retry gets the first answer"
    (found,) = audited(branch)
    assert found.again >= 8
    assert found.common < found.here
    assert found.here_hash != found.there_hash
    prove(organisation)


def test_07_a_rollback_that_no_greeting_shows_is_found_by_what_the_branch_sends(
    organisation: Organisation,
) -> None:
    conv, branch = begin(organisation, "bea", "ann"), organisation.branches[0]
    kept = branch.kept()
    say(organisation, "bea", conv, "lost with the machine")
    branch.by("bea", schema.Conv(1, conv, "rename", title="renamed"))
    while organisation.carry(branch, Lane.CONTROL, is_up=True):
        pass
    branch.set_back(kept)
    branch.clock.advance(60_000)
    said = ["one", "two", "three"]
    for text in said:
        say(organisation, "bea", conv, text)
    with pytest.raises(ForkedError):
        organisation.settle()
    fence(branch)
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == said
    assert branch.core.conversations.get(conv).title == "renamed"
    prove(organisation)


def test_07_a_fork_that_began_long_ago_is_asked_for_block_by_block(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.sites.lineage.ANSWERED", 3)
    branch, conv, said = go_on_after_rollback(organisation)
    fence(branch)
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == [*said, "after it", "an answer"]
    prove(organisation)


def test_07_a_crash_while_it_is_said_again_says_nothing_twice(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch, conv, said = go_on_after_rollback(organisation)
    fence(branch)
    monkeypatch.setattr("appliance.sites.settling.COMMAND_OPERATIONS", 2)
    settle, left = settling.settle, [1]

    def settle_once(*arguments: Any) -> Any:
        if not left:
            raise PowerCut
        left.pop()
        return settle(*arguments)

    monkeypatch.setitem(settling.DECISIONS, Settle, settle_once)
    with pytest.raises(PowerCut):
        organisation.settle()
    monkeypatch.undo()
    branch.crash(Random(4))
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == [*said, "after it", "an answer"]
    prove(organisation)


def test_08_of_a_clone_that_runs_twice_all_that_either_said_reaches_headquarters(
    organisation: Organisation,
) -> None:
    conv, branch = begin(organisation, "bea", "ann", "bob"), organisation.branches[0]
    say(organisation, "bea", conv, "before")
    organisation.settle()
    clone = branch.kept()
    say(organisation, "bea", conv, "by the original")
    organisation.settle()
    original = branch.kept()
    branch.set_back(clone)
    branch.clock.advance(60_000)
    say(organisation, "bob", conv, "by the clone")
    say(organisation, "bob", conv, "and again")
    heed(organisation)  # as many operations, of another chain
    organisation.settle()
    said = ["before", "by the original", "by the clone", "and again"]
    assert texts(organisation.hub, "ann", conv) == said
    prove(organisation)
    # The original returns under the incarnation that its clone has given up.
    branch.set_back(original)
    branch.clock.advance(60_000)
    say(organisation, "bea", conv, "the original once more")
    heed(organisation)
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == [*said, "the original once more"]
    assert texts(branch, "bea", conv) == [*said, "the original once more"]
    prove(organisation)

"""Headquarters that was set back in time without being told, or was rebuilt on another machine.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.context import SITE
from appliance.revival import revive
from appliance.sites.link_commands import TakeIncarnation
from store.backup import describe
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.fence import Fence
from store.replica import KeyReplica
from store.vault import NoWrap, RootSlots
from sync.errors import FencedError
from tests.appliance.sites.cases import begin, new_organisation, say, texts
from tests.appliance.sites.federation import Federation
from tests.appliance.sites.harness import Organisation, prove
from transports.wire import schema
from transports.wire.schema import Id


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def notice(organisation: Organisation) -> None:
    """Let a branch greet headquarters, which thereby finds that it was set back."""
    hub = organisation.hub
    with pytest.raises(FencedError) as caught:
        organisation.settle()
    assert caught.value.incarnation == hub.core.log.own.incarnation
    error = caught.value
    hub.do(SITE, TakeIncarnation(error.incarnation, error.code, error.forgotten))


def test_07_headquarters_set_back_is_noticed_by_a_greeting_and_sent_again_what_it_lost(
    organisation: Organisation,
) -> None:
    conv, hub = begin(organisation, "bea", "ann", "cat"), organisation.hub
    say(organisation, "bea", conv, "kept")
    organisation.settle()
    kept = hub.kept()
    for login in ("bea", "cat"):
        say(organisation, login, conv, f"lost of {login}")
        organisation.settle()
    hub.set_back(kept)
    assert hub.core.log.breach is None, "nothing there tells of it"
    notice(organisation)
    organisation.settle()
    for place, login in zip(organisation.places, ("ann", "bea", "cat"), strict=True):
        assert texts(place, login, conv) == ["kept", "lost of bea", "lost of cat"]
    prove(organisation)


def test_07_what_headquarters_itself_has_lost_is_given_up_everywhere(
    organisation: Organisation,
) -> None:
    conv, hub = begin(organisation, "ann", "bea", "cat"), organisation.hub
    say(organisation, "ann", conv, "kept")
    organisation.settle()
    kept = hub.kept()
    say(organisation, "ann", conv, "lost")
    hub.by("ann", schema.Conv(1, conv, "rename", title="lost"))
    hub.by("ann", schema.Open(1, "group", hub.ids("bea"), title="lost as well"))
    organisation.settle()
    say(organisation, "bea", conv, "an answer")
    organisation.settle()
    hub.set_back(kept)
    hub.clock.advance(60_000)
    say(organisation, "ann", conv, "on top of it")
    notice(organisation)
    organisation.settle()
    for place, login in zip(organisation.places, ("ann", "bea", "cat"), strict=True):
        assert sorted(texts(place, login, conv)) == ["an answer", "kept", "on top of it"]
        assert place.core.conversations.get(conv).title == "ward"
        assert len(place.core.conversations.ids()) == 1
    prove(organisation)


def test_07_headquarters_that_has_given_its_positions_to_others_since_is_noticed_too(
    organisation: Organisation,
) -> None:
    conv, hub = begin(organisation, "bea", "ann", "cat"), organisation.hub
    kept = hub.kept()
    say(organisation, "cat", conv, "lost")
    organisation.settle()
    hub.set_back(kept)
    hub.clock.advance(60_000)
    for number in range(9):
        say(organisation, "ann", conv, f"{number}")
    notice(organisation)
    organisation.settle()
    for place, login in zip(organisation.places, ("ann", "bea", "cat"), strict=True):
        assert sorted(texts(place, login, conv)) == [*map(str, range(9)), "lost"]
    prove(organisation)


def test_07_headquarters_set_back_again_and_again_converges(organisation: Organisation) -> None:
    conv, hub = begin(organisation, "bea", "ann", "cat"), organisation.hub
    kept = hub.kept()
    for number in range(3):
        say(organisation, "ann", conv, f"lost {number}")
        say(organisation, "bea", conv, f"{number}")
        organisation.settle()
        hub.set_back(kept)
        hub.clock.advance(60_000)
        notice(organisation)
        organisation.settle()
        prove(organisation)
    assert sorted(texts(hub, "ann", conv)) == ["0", "1", "2"]
    assert sorted(texts(organisation.branches[1], "cat", conv)) == ["0", "1", "2"]


def test_24_headquarters_rebuilt_on_another_machine_from_backup_and_key_replica_is_made_whole(
    organisation: Organisation,
) -> None:
    conv, hub = begin(organisation, "ann", "bea", "cat"), organisation.hub
    replica = KeyReplica.create(
        MemoryEngine(Medium()), MemoryDisk(), NoWrap(), SeededEntropy("replica"), node=hub.node
    )
    say(organisation, "bea", conv, "in the backup")
    organisation.settle()
    path = Path("/backup")
    hub.site.ports.engine.copy(path)
    copy = hub.medium.copies[path]
    with MemoryEngine(copy).snapshot() as reader:
        manifest = describe(reader, (), created_ms=1, program="1")
    for login in ("bea", "cat"):
        say(organisation, login, conv, f"after it, by {login}")
    organisation.settle()
    say(organisation, "ann", conv, "at headquarters only, and at its branches")
    organisation.settle()
    with hub.reading() as reader:
        replica.sync(reader, hub.site.vault, hub.clock.wall_ms())
    data, keys = MemoryDisk(), MemoryDisk()
    revived = revive(
        MemoryEngine(copy),
        Fence(data),
        replica,
        manifest,
        clock=hub.clock,
        entropy=SeededEntropy("another machine"),
        tell=lambda step: None,
    )
    revived.core.log.close()
    revived.vault.seal_root_into(RootSlots(keys), 0, NoWrap())
    RootSlots(keys).efface(1, SeededEntropy("effaced"))
    revived.vault.close()
    hub.set_back((copy, (data, keys)))
    assert texts(hub, "ann", conv) == ["in the backup"]
    organisation.settle()
    said = ["in the backup", "after it, by bea", "after it, by cat"]
    for place, login in zip(organisation.places, ("ann", "bea", "cat"), strict=True):
        assert texts(place, login, conv) == said
    prove(organisation)


async def _set_back(federation: Federation) -> None:
    async with federation.running():
        await federation.settle()
        others = federation.ids("bea", "cat")
        reply = await federation.ask("ann", schema.Open(1, "group", others, title="ward"))
        assert reply is not None
        assert reply.conv is not None
        conv = Id(reply.conv)
        await federation.settle()
        hub = federation.houses[0]
        kept = federation.kept(hub)
        await federation.send("bea", conv, "lost at headquarters")
        await federation.settle()
        before, lost = hub.site.core.log.own, await federation.ask("ann", some_send(conv))
        await federation.settle()
        await federation.set_back(hub, kept)
        assert hub.site.core.log.own == before, "nothing there tells of it"
        with trio.fail_after(600):
            while hub.site.core.log.own == before:  # noqa: ASYNC110 - virtual time
                await trio.sleep(1.0)
        await federation.settle()
        federation.verify()
        assert len(federation.sent["bea", bytes(conv)]) == 1
        assert lost is not None


def some_send(conv: Id) -> schema.Send:
    """Return a message that headquarters will have lost."""
    return schema.Send(1, 1, schema.Body("text", "lost everywhere"), conv=conv)


def test_07_headquarters_heals_over_its_links_and_branches_write_their_views_anew() -> None:
    federation = Federation(8, 2, {"ann": 0, "bea": 1, "cat": 2})
    trio.run(_set_back, federation, clock=trio.testing.MockClock(autojump_threshold=0))

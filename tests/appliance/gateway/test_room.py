"""A room of 5,000: everybody hears, what is said is encoded once, and the slow keep nobody."""

import pytest

from appliance.gateway.client import Client
from appliance.gateway.fanout import Fanout
from appliance.gateway.gateway import CODECS
from appliance.gateway.roster import Roster
from appliance.gateway.session import Session
from appliance.limits import MEMBERS
from appliance.messaging.membership import joining
from appliance.operations import ConversationCreated, ConversationMember, Kind, Message, encode
from store.engine.txn import Txn
from store.ids import OpId, Stream, StreamKind
from store.oplog import Op, OpClass
from tests.appliance.messaging.harness import House
from transports.carrier import Codec
from transports.memory import HIGH_WATER_BYTES, MemoryNetwork
from transports.wire.codec import Codec as WireCodec
from transports.wire.schema import Frame

SENDS_PER_SECOND = 5.0


class Room:
    """A conversation with as many members as can be, each of them online and live."""

    def __init__(self) -> None:
        self.site = House("alice").site
        self.conversations = self.site.core.conversations
        self.people = [number.to_bytes(16, "big") for number in range(1, MEMBERS + 1)]
        self.stream = Stream(StreamKind.CONVERSATION, b"c" * 16)
        self.pos = 0
        self.network = MemoryNetwork()
        self.roster = Roster()
        self.fanout = Fanout(self.roster, self.conversations)
        self._fill()
        self.clients = [self._enter(person) for person in self.people]

    def say(self, text: str) -> None:
        """Bring one message to everybody, as after its commit."""
        body = Message("text", text, "", "normal", b"", ())
        self.fanout.operation(self._op(Kind.MESSAGE, encode(body)), 0.0)
        self.fanout.flush()

    def _fill(self) -> None:
        created = ConversationCreated("group", 1, (), b"s" * 16)
        self.conversations.fold(self._op(Kind.CONVERSATION_CREATED, encode(created)), created, None)
        with self.site.ports.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            for person in self.people:
                self.conversations.streams.ensure(txn, Stream(StreamKind.PERSON, person), 0)
                member: ConversationMember = joining(person, "member", None, 0)
                op = self._op(Kind.CONVERSATION_MEMBER, encode(member))
                self.conversations.fold(op, member, None)

    def _enter(self, person: bytes) -> Client:
        number = int.from_bytes(person, "big")
        codec = Codec.JSON if number % 2 else Codec.MSGPACK
        carrier = self.network.connect(codec).carrier
        client = Client(number, carrier, Session(SENDS_PER_SECOND), CODECS[codec])
        client.person, client.pos, client.is_live = person, self.pos, True
        self.roster.add(client)
        return client

    def _op(self, kind: Kind, body: bytes) -> Op:
        self.pos += 1
        return Op(
            OpId(b"n" * 16, 1, self.pos),
            origin=1,
            kind=kind,
            op_class=OpClass.MESSAGE,
            stream=self.stream,
            pseudonym=7,
            feed=7,
            actor=self.people[0],
            device=b"",
            counter=0,
            t=self.pos,
            floor=0,
            key=self.pos,
            conversation=self.stream.id,
            target=b"",
            seen=0,
            body=body,
            op_hash=b"h" * 32,
            pos=self.pos,
            received_ms=0,
            in_timeline=True,
            late=False,
        )


@pytest.fixture(scope="module")
def room() -> Room:
    return Room()


def heard(client: Client) -> int:
    """Take what has come for somebody; return how many payloads that was."""
    count = 0
    while client.carrier.take() is not None:  # type: ignore[attr-defined]  # carriers in memory
        count += 1
    return count


def test_everybody_in_a_room_of_5000_hears(room: Room) -> None:
    assert MEMBERS == len(room.clients) == 5_000
    room.say("all")
    assert [heard(each) for each in room.clients] == [1] * MEMBERS


def test_what_5000_hear_is_encoded_once_for_each_codec(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode_once = WireCodec.encode

    def counting(codec: WireCodec, frame: Frame) -> bytes:
        encoded.append(codec.name)
        return encode_once(codec, frame)

    monkeypatch.setattr(WireCodec, "encode", counting)
    room.say("once")
    assert sorted(encoded) == ["json", "msgpack"]
    assert sum(heard(each) for each in room.clients) == MEMBERS


def test_who_takes_nothing_in_a_room_of_5000_falls_behind_alone(room: Room) -> None:
    slow, *others = room.clients
    said = 0
    while slow.is_live:
        room.say("x" * 16_000)
        said += 1
        assert [heard(each) for each in others] == [1] * (MEMBERS - 1)
        assert said < HIGH_WATER_BYTES // 8_000
    room.say("more")
    assert [heard(each) for each in others] == [1] * (MEMBERS - 1)
    assert heard(slow) == said
    assert all(each.is_live for each in others)

"""Make pieces as a hospital's site would: seeded, with text that compresses like text."""

from __future__ import annotations

from random import Random

from store import canonical, envelope
from store.envelope import Envelope
from store.ids import OpId, Origin, Stream, StreamKind
from store.shipping import Shipment
from store.skeleton import OpClass
from sync.pieces import Entry, Lane, Piece

TEXT = """
the patient in bed seven has been moved to ward two please check blood pressure again before noon
thank you I will call her family results of the scan are back no change since yesterday can
somebody take over the late shift today on my way coffee first then rounds dose halved
"""
WORDS = TEXT.split()

NODE = Origin(b"N" * 16, 0x1234_5678_9ABC_DEF0)


def text(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(2, 14)))


def realistic(count: int, seed: int = 1, after: int = 0) -> tuple[Piece, int]:
    """Return a piece of ``count`` messages and receipts, and how many bytes of text it holds.

    40 persons with a phone each talk in 25 conversations; a fifth of the operations are edits,
    reactions or confirmations of an earlier message.
    """
    random = Random(seed)
    devices = [(random.randbytes(16), random.randbytes(16)) for _ in range(40)]
    conversations = [random.randbytes(16) for _ in range(25)]
    counters = dict.fromkeys(range(40), 1000)
    t = 1_800_000_000_000 << 16
    floors = dict.fromkeys(conversations, t - (9_000 << 16))
    entries: list[Entry] = []
    text_bytes = 0
    for number in range(after + 1, after + count + 1):
        t += random.randint(1_000, 60_000) << 16
        who = random.randrange(40)
        person, device = devices[who]
        conversation = random.choice(conversations)
        is_target = random.random() < 0.2 and number > after + 20
        root = OpId(*NODE, number - random.randint(1, 20)).pack() if is_target else b""
        said = "👍" if is_target else text(random)
        text_bytes += len(said.encode())
        counters[who] += 1
        fields = Envelope(
            11 if is_target else 10,
            person,
            device,
            counters[who],
            t,
            floors[conversation],
            conversation,
            root,
            max(0, number - 5),
        )
        if not is_target:
            floors[conversation] = max(t, floors[conversation] + 1)
        body = canonical.encode([said]) if is_target else canonical.encode(["text", said, [], 0])
        shipment = Shipment(
            number,
            OpClass.MESSAGE,
            Stream(StreamKind.CONVERSATION, conversation),
            random.randbytes(16),
            envelope.encode(fields),
            body,
        )
        entries.append(Entry(number, 0, shipment))
    piece = Piece(Lane.MESSAGES, after, after + count, (NODE,), tuple(entries))
    return piece, text_bytes

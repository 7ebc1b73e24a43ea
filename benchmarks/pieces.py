"""Make pieces for the link as a hospital's site would: seeded, with text that is like text."""

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


class Author:
    """A site of some people with a phone each, who talk in some conversations.

    A fifth of the operations are reactions to an earlier message.
    """

    def __init__(self, seed: int = 1, people: int = 40, conversations: int = 25) -> None:
        random = self._random = Random(seed)
        self._devices = [(random.randbytes(16), random.randbytes(16)) for _ in range(people)]
        self._conversations = [random.randbytes(16) for _ in range(conversations)]
        self._counters = dict.fromkeys(range(people), 1_000)
        self._t = 1_800_000_000_000 << 16
        self._floors = dict.fromkeys(self._conversations, self._t - (9_000 << 16))
        self.number = 0
        self.text_bytes = 0

    def piece(self, count: int) -> Piece:
        """Return the next operations as a piece."""
        after = self.number
        entries = tuple(self._entry() for _ in range(count))
        return Piece(Lane.MESSAGES, after, self.number, (NODE,), entries)

    def _entry(self) -> Entry:
        random, number = self._random, self.number + 1
        self.number = number
        self._t += random.randint(1_000, 60_000) << 16
        who, conversation = random.randrange(len(self._devices)), random.choice(self._conversations)
        is_reaction = random.random() < 0.2 and number > 20
        said = "👍" if is_reaction else text(random)
        self.text_bytes += len(said.encode())
        self._counters[who] += 1
        fields = Envelope(
            11 if is_reaction else 10,
            *self._devices[who],
            self._counters[who],
            self._t,
            self._floors[conversation],
            conversation,
            OpId(*NODE, number - random.randint(1, 20)).pack() if is_reaction else b"",
            max(0, number - 5),
        )
        if not is_reaction:
            self._floors[conversation] = max(self._t, self._floors[conversation] + 1)
        body: list[canonical.Value] = [said] if is_reaction else ["text", said, [], 0]
        stream = Stream(StreamKind.CONVERSATION, conversation)
        shipment = Shipment(
            number,
            OpClass.MESSAGE,
            stream,
            random.randbytes(16),
            envelope.encode(fields),
            canonical.encode(body),
        )
        return Entry(number, 0, shipment)


def realistic(count: int, seed: int = 1) -> tuple[Piece, int]:
    """Return a piece of ``count`` operations, and how many bytes of text it holds."""
    author = Author(seed)
    return author.piece(count), author.text_bytes

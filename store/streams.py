"""Name streams by local pseudonyms, and keep who is who sealed and in memory.

Engine keys cannot be sealed, so they hold random pseudonyms. Which stream a pseudonym stands
for is sealed under the stream's own control keys, and goes when the stream is destroyed.

    STREAM row value
    offset  size  type   meaning
    0       1     u8     version: 1
    1       4     u32    epoch of the sealing
    5       2     u16    index of the sealing
    7       n     bytes  sealed identity: kind u8, id 16 bytes
"""

from __future__ import annotations

import struct
from functools import partial

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError, PartGoneError
from store.ids import Stream, StreamKind
from store.limits import PSEUDONYM_TRIES
from store.ports import Entropy
from store.tables import STREAM
from store.vault import CONTROL, Locator, Vault

VERSION = 1

_CONTEXT = b"strongroom/stream/1"
_HEAD = struct.Struct(">BIH")
_IDENTITY = struct.Struct(">B16s")
_PSEUDONYM_BYTES = 8


def feed_stream(stream: Stream, conversation: bytes) -> Stream:
    """Return the stream whose feed shows an operation of ``stream`` about ``conversation``.

    That is the conversation, where there is one; ``stream`` itself (the same object) when it
    is that conversation or when there is none.
    """
    if not conversation or (stream.id == conversation and stream.kind is StreamKind.CONVERSATION):
        return stream
    return Stream(StreamKind.CONVERSATION, conversation)


class Streams:
    """The two-way map between streams and pseudonyms.

    The writer's thread alone calls ``ensure``; looking up is safe from any thread.
    """

    def __init__(self, vault: Vault, entropy: Entropy) -> None:
        self._vault = vault
        self._entropy = entropy
        self._pseudonyms: dict[Stream, int] = {}
        self._streams: dict[int, Stream | None] = {}

    @classmethod
    def load(cls, reader: Reader, vault: Vault, entropy: Entropy) -> Streams:
        """Open every identity that still has its key; O(streams).

        Raises ``IntegrityError`` or ``FormatError`` for a row that does not open.
        """
        streams = cls(vault, entropy)
        for key, value in reader.range(*STREAM.span()):
            (pseudonym,) = STREAM.columns(key)
            stream = streams._open(reader, pseudonym, value)
            streams._streams[pseudonym] = stream
            if stream is not None:
                streams._pseudonyms[stream] = pseudonym
        return streams

    def __len__(self) -> int:
        """Return how many pseudonyms are in use, those of destroyed streams included."""
        return len(self._streams)

    def pseudonym(self, stream: Stream) -> int | None:
        """Return the stream's pseudonym, or None when it has none here."""
        return self._pseudonyms.get(stream)

    def stream(self, pseudonym: int) -> Stream | None:
        """Return who a pseudonym stands for; None when unknown or destroyed."""
        return self._streams.get(pseudonym)

    def ensure(self, txn: Txn, stream: Stream, now_ms: int) -> int:
        """Return the stream's pseudonym, giving it one in this transaction if needed.

        ``now_ms`` is in Unix milliseconds.
        """
        known = self._pseudonyms.get(stream)
        if known is not None:
            return known
        pseudonym = self._unused(txn)
        locator, sealed = self._vault.seal(
            txn, pseudonym, CONTROL, _IDENTITY.pack(*stream), _CONTEXT, now_ms
        )
        head = _HEAD.pack(VERSION, locator.epoch, locator.index)
        txn.put(STREAM.key(pseudonym), head + sealed)
        txn.on_rollback(partial(self._forget, stream, pseudonym))
        self._streams[pseudonym] = stream
        self._pseudonyms[stream] = pseudonym
        return pseudonym

    def _unused(self, reader: Reader) -> int:
        for _ in range(PSEUDONYM_TRIES):
            pseudonym = int.from_bytes(self._entropy.bytes(_PSEUDONYM_BYTES), "big")
            if pseudonym and reader.get(STREAM.key(pseudonym)) is None:
                return pseudonym
        raise IntegrityError("the entropy source repeats itself")

    def _forget(self, stream: Stream, pseudonym: int) -> None:
        del self._streams[pseudonym]
        del self._pseudonyms[stream]

    def _open(self, reader: Reader, pseudonym: int, value: bytes) -> Stream | None:
        if len(value) < _HEAD.size or value[0] != VERSION:
            raise FormatError("a stream row of another version")
        _version, epoch, index = _HEAD.unpack_from(value)
        locator = Locator(pseudonym, epoch, index)
        try:
            identity = self._vault.unseal(reader, locator, value[_HEAD.size :], _CONTEXT)
        except PartGoneError:
            return None
        try:
            kind, stream_id = _IDENTITY.unpack(identity)
            return Stream(StreamKind(kind), stream_id)
        except (struct.error, ValueError):
            raise FormatError("a stream of an unknown kind") from None

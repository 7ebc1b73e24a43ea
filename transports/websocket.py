"""Encode and decode WebSocket frames, the server's side of RFC 6455, section 5 (sans-IO).

    offset  size      type    meaning
    0       1         u8      FIN (1 bit), three reserved bits (0), opcode (4 bits)
    1       1         u8      MASK (1 bit; clients 1, servers 0), length L (7 bits)
    2       0, 2, 8   uint    length, big-endian, when L is 126 (2 bytes) or 127 (8 bytes)
    then    0, 4      bytes   masking key, when MASK is 1
    then    length    bytes   payload, exclusive-or the repeated masking key

One carrier speaks one kind of message: text for the JSON subprotocol, binary for msgpack; the
other kind is answered with 1003. ``permessage-deflate`` is never agreed on: its window costs
tens of KiB per connection, and compressing what an attacker writes together with what others
wrote leaks the latter through its length (as CRIME did). So reserved bits are always violations.

Any chunking of the same bytes gives the same events, and nothing follows the first ``Closed`` or
``Violation``. Between two calls the decoder holds at most one incomplete frame and one incomplete
message, together never longer than the message limit and one header.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

from transports.carrier import CloseReason, Codec
from transports.mask import apply_mask

CONTROL_PAYLOAD_BYTES = 125
"""The longest payload of a control frame (RFC 6455, section 5.5)."""
CLOSE_MESSAGE_BYTES = CONTROL_PAYLOAD_BYTES - 2
"""The longest reason text of a close frame."""
_HEAD_BYTES = 2
_MASK_BYTES = 4
_SHORT_LENGTH = 126
"""The 7-bit length that says: two bytes of length follow."""
_LONG_LENGTH = 127
"""The 7-bit length that says: eight bytes of length follow."""
_FIN = 0x80
_RESERVED = 0x70
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_EMPTY = b""


class Opcode(IntEnum):
    """What a frame is (RFC 6455, section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer asks for a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The peer answered a ping, or sent a heartbeat."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer said farewell; ``code`` is None when it gave none."""

    code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol; ``reason`` is the close code to answer with."""

    reason: CloseReason
    message: str


Event = bytes | Ping | Pong | Closed | Violation
"""What comes out of a decoder; plain bytes are one whole message."""


class _Step(Enum):
    """What a frame's opcode means, given whether a fragmented message is open."""

    BEGIN = auto()
    CONTINUE = auto()
    CONTROL = auto()
    STRAY = auto()
    INTERRUPTS = auto()


_STEPS: dict[tuple[bool, Opcode], _Step] = {
    # (a fragmented message is open, opcode): step
    (False, Opcode.CONTINUATION): _Step.STRAY,
    (False, Opcode.TEXT): _Step.BEGIN,
    (False, Opcode.BINARY): _Step.BEGIN,
    (False, Opcode.CLOSE): _Step.CONTROL,
    (False, Opcode.PING): _Step.CONTROL,
    (False, Opcode.PONG): _Step.CONTROL,
    (True, Opcode.CONTINUATION): _Step.CONTINUE,
    (True, Opcode.TEXT): _Step.INTERRUPTS,
    (True, Opcode.BINARY): _Step.INTERRUPTS,
    (True, Opcode.CLOSE): _Step.CONTROL,
    (True, Opcode.PING): _Step.CONTROL,
    (True, Opcode.PONG): _Step.CONTROL,
}
_OPCODES = {opcode.value: opcode for opcode in Opcode}
_MESSAGE_OPCODES = {Codec.JSON: Opcode.TEXT, Codec.MSGPACK: Opcode.BINARY}


class _ViolationFoundError(Exception):
    """Carries a violation out of the parsing functions."""

    def __init__(self, reason: CloseReason, message: str) -> None:
        super().__init__(message)
        self.violation = Violation(reason, message)


class FrameDecoder:
    """Turn the bytes of one client into events.

    Args:
        codec: decides which kind of message is accepted, and whether it must be UTF-8.
        max_message_bytes: the longest message, over all its fragments; may be changed any time.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_events",
        "_message",
        "_needed_bytes",
        "_opcode",
        "_plain_head",
        "_utf8",
        "max_message_bytes",
    )

    def __init__(self, codec: Codec, max_message_bytes: int) -> None:
        self._opcode = _MESSAGE_OPCODES[codec]
        self._plain_head = _FIN | self._opcode
        self._buffer: bytearray | None = None
        self._needed_bytes = 0
        self._message: bytearray | None = None
        self._utf8: codecs.IncrementalDecoder | None = None
        self._events: list[Event] = []
        self._ended = False
        self.max_message_bytes = max_message_bytes

    def receive(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes, in order. Cost: one copy of each payload."""
        if self._ended:
            return []
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed_bytes:
                return []
            data = bytes(self._buffer)
            self._buffer = None
        try:
            self._parse(data)
        except _ViolationFoundError as found:
            self._end()
            self._events.append(found.violation)
        events, self._events = self._events, []
        return events

    def _parse(self, data: bytes) -> None:
        """Take whole frames off ``data`` and keep the rest.

        The loop's body is the hot path: one whole, unfragmented message of up to 64 kB.
        Everything else goes to ``_general``.
        """
        offset, end = 0, len(data)
        plain_head, events, is_text = self._plain_head, self._events, self._opcode is Opcode.TEXT
        while end - offset >= 8:
            length = data[offset + 1] - _MASKED
            start = offset + 6
            if length == _SHORT_LENGTH:
                length = data[offset + 2] << 8 | data[offset + 3]
                start = offset + 8
                if length < _SHORT_LENGTH:
                    break
            stop = start + length
            if (
                data[offset] != plain_head
                or self._message is not None
                or not 0 <= length <= self.max_message_bytes
                or (start == offset + 6 and length >= _SHORT_LENGTH)
                or stop > end
            ):
                break
            payload = apply_mask(data[start:stop], data[start - _MASK_BYTES : start])
            if is_text and not payload.isascii():
                _require_utf8(payload)
            events.append(payload)
            offset = stop
        while offset < end and not self._ended:
            taken = self._general(data, offset, end)
            if taken == 0:
                self._buffer = bytearray(memoryview(data)[offset:])
                return
            offset += taken

    def _general(self, data: bytes, offset: int, end: int) -> int:
        """Take any one frame; return its bytes, or 0 when it is incomplete."""
        present = end - offset
        if present < _HEAD_BYTES:
            return self._need(_HEAD_BYTES)
        opcode, step, length = self._head(data[offset], data[offset + 1])
        extension = {_SHORT_LENGTH: 2, _LONG_LENGTH: 8}.get(length, 0)
        if extension:
            if present < _HEAD_BYTES + extension:
                return self._need(_HEAD_BYTES + extension)
            extended = data[offset + _HEAD_BYTES : offset + _HEAD_BYTES + extension]
            length = _extended_length(extended)
        if step is not _Step.CONTROL:
            self._require_fits(length)
        start = _HEAD_BYTES + extension + _MASK_BYTES
        if present < start + length:
            return self._need(start + length)
        start += offset
        payload = apply_mask(data[start : start + length], data[start - _MASK_BYTES : start])
        if step is _Step.CONTROL:
            self._control(opcode, payload)
        else:
            self._fragment(payload, is_last=bool(data[offset] & _FIN))
        return start + length - offset

    def _need(self, needed_bytes: int) -> int:
        self._needed_bytes = needed_bytes
        return 0

    def _head(self, first: int, second: int) -> tuple[Opcode, _Step, int]:
        """Check the first two bytes of a frame, before any more of it is kept."""
        if first & _RESERVED:
            raise _ViolationFoundError(CloseReason.PROTOCOL, "reserved bit set")
        opcode = _OPCODES.get(first & _OPCODE)
        if opcode is None:
            raise _ViolationFoundError(CloseReason.PROTOCOL, "unknown opcode")
        if not second & _MASKED:
            raise _ViolationFoundError(CloseReason.PROTOCOL, "frame not masked")
        length = second & _LENGTH
        step = _STEPS[self._message is not None, opcode]
        if step is _Step.CONTROL:
            if not first & _FIN:
                raise _ViolationFoundError(CloseReason.PROTOCOL, "fragmented control frame")
            if length > CONTROL_PAYLOAD_BYTES:
                raise _ViolationFoundError(CloseReason.PROTOCOL, "control frame too long")
        elif step is _Step.STRAY:
            raise _ViolationFoundError(CloseReason.PROTOCOL, "nothing to continue")
        elif step is _Step.INTERRUPTS:
            raise _ViolationFoundError(CloseReason.PROTOCOL, "message inside a message")
        elif step is _Step.BEGIN and opcode is not self._opcode:
            wanted = self._opcode.name.lower()
            raise _ViolationFoundError(CloseReason.UNSUPPORTED, f"{wanted} messages only")
        return opcode, step, length

    def _require_fits(self, length: int) -> None:
        so_far = len(self._message) if self._message is not None else 0
        if so_far + length > self.max_message_bytes:
            raise _ViolationFoundError(CloseReason.TOO_BIG, "message too long")

    def _fragment(self, payload: bytes, *, is_last: bool) -> None:
        """Add one data frame to the message, checking UTF-8 as far as it has come."""
        if self._opcode is Opcode.TEXT:
            self._utf8 = self._utf8 or codecs.getincrementaldecoder("utf-8")()
            try:
                self._utf8.decode(payload, final=is_last)
            except UnicodeDecodeError:
                raise _ViolationFoundError(CloseReason.INVALID, "text is not UTF-8") from None
        if not is_last:
            if self._message is None:
                self._message = bytearray()
            self._message += payload
            return
        self._events.append(payload if self._message is None else bytes(self._message + payload))
        self._message = None
        self._utf8 = None

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            self._events.append(Ping(payload))
        elif opcode is Opcode.PONG:
            self._events.append(Pong(payload))
        else:
            self._events.append(_parse_close(payload))
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._buffer = self._message = self._utf8 = None


def _require_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _ViolationFoundError(CloseReason.INVALID, "text is not UTF-8") from None


def _extended_length(extended: bytes) -> int:
    """Return a 2- or 8-byte length, which must be the shortest form and below 2^63."""
    length = int.from_bytes(extended)
    smallest = _SHORT_LENGTH if len(extended) == 2 else 0x1_0000
    if length < smallest:
        raise _ViolationFoundError(CloseReason.PROTOCOL, "length not in its shortest form")
    if length >= 1 << 63:
        raise _ViolationFoundError(CloseReason.PROTOCOL, "length out of range")
    return length


def is_close_code(code: int) -> bool:
    """Tell whether a peer may send this close code (RFC 6455, section 7.4, and IANA)."""
    return code in _STANDARD_CLOSE_CODES or 3000 <= code <= 4999


_STANDARD_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


def _parse_close(payload: bytes) -> Closed:
    if not payload:
        return Closed(None, "")
    if len(payload) == 1:
        raise _ViolationFoundError(CloseReason.PROTOCOL, "close code cut short")
    code = int.from_bytes(payload[:2])
    if not is_close_code(code):
        raise _ViolationFoundError(CloseReason.PROTOCOL, "invalid close code")
    try:
        return Closed(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise _ViolationFoundError(CloseReason.INVALID, "close reason is not UTF-8") from None


def frame_head(opcode: Opcode, length: int) -> bytes:
    """Return what precedes ``length`` bytes of payload in a whole, unmasked frame."""
    if length < _SHORT_LENGTH:
        return bytes((_FIN | opcode, length))
    if length < 0x1_0000:
        return bytes((_FIN | opcode, _SHORT_LENGTH)) + length.to_bytes(2)
    return bytes((_FIN | opcode, _LONG_LENGTH)) + length.to_bytes(8)


def encode_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return one whole, unmasked frame as servers send it."""
    return frame_head(opcode, len(payload)) + payload


def message_head(codec: Codec, length: int) -> bytes:
    """Return what precedes a message of the codec's kind, so that its bytes can be shared."""
    return frame_head(_MESSAGE_OPCODES[codec], length)


def encode_close(code: int | None, message: str = "") -> bytes:
    """Return a close frame; ``message`` is cut to what fits, at a character's end.

    Args:
        code: the close code; None answers a peer that gave none.
        message: a short text for people.
    """
    if code is None:
        return encode_frame(Opcode.CLOSE, _EMPTY)
    text = message.encode()[:CLOSE_MESSAGE_BYTES].decode(errors="ignore").encode()
    return encode_frame(Opcode.CLOSE, code.to_bytes(2) + text)

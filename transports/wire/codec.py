"""Turn frames into payloads and back, in JSON and msgpack.

A payload is an array of frames, on every carrier and in both codecs. A frame is encoded once
for each codec and its bytes are shared: ``join`` wraps frames that are already encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from transports.wire import schema
from transports.wire.errors import FrameError
from transports.wire.schema import ClientFrame, Frame, Id, ServerFrame

F = TypeVar("F")


def from_wire(kind: type[Any], value: object) -> Any:
    """Read an ``Id`` from bytes (msgpack) or lower-case hex (JSON); msgspec's decoding hook."""
    if kind is not Id:
        raise NotImplementedError
    if isinstance(value, bytes):
        return Id(value)
    if isinstance(value, str) and value == value.lower():
        return Id(bytes.fromhex(value))
    raise ValueError("expected an id: bytes, or lower-case hex")


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise NotImplementedError


def _raw(value: object) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    raise NotImplementedError


class Rejected(msgspec.Struct, frozen=True):
    """A frame of a payload that could not be read; ``re`` is its request id where it had one."""

    code: str
    re: int | None = None


class _Head(msgspec.Struct):
    t: str = ""
    id: int | None = None


class Reader(Generic[F]):
    """Decode payloads of one direction in one codec."""

    def __init__(self, module: Any, frame: Any) -> None:
        self._all = module.Decoder(list[frame], dec_hook=from_wire)
        self._one = module.Decoder(frame, dec_hook=from_wire)
        self._raw = module.Decoder(list[msgspec.Raw])
        self._head = module.Decoder(_Head)
        self._known = frozenset(
            kind.__struct_config__.tag for kind in getattr(frame, "__args__", (frame,))
        )

    def decode(self, payload: bytes) -> list[F | Rejected]:
        """Return the payload's frames in order; bad ones come as ``Rejected``.

        Raises ``FrameError`` ("frame.malformed") when the payload is no array of frames at all.
        """
        try:
            frames: list[F | Rejected] = self._all.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self._decode_each(payload)
        return frames

    def _decode_each(self, payload: bytes) -> list[F | Rejected]:
        try:
            raws = self._raw.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise FrameError("frame.malformed") from None
        return [self._decode_one(raw) for raw in raws]

    def _decode_one(self, raw: msgspec.Raw) -> F | Rejected:
        try:
            frame: F = self._one.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self._reject(raw)
        return frame

    def _reject(self, raw: msgspec.Raw) -> Rejected:
        try:
            head = self._head.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return Rejected("frame.invalid")
        code = "frame.invalid" if head.t in self._known else "frame.unknown"
        return Rejected(code, head.id)


class Codec:
    """One encoding of frames: its name, its writer, and a reader for each direction."""

    def __init__(self, name: str, module: Any, hook: Any) -> None:
        self.name = name
        self.client: Reader[ClientFrame] = Reader(module, ClientFrame)
        self.server: Reader[ServerFrame] = Reader(module, ServerFrame)
        self._encode = module.Encoder(enc_hook=hook).encode

    def encode(self, frame: Frame) -> bytes:
        """Return one frame's bytes, to be shared among receivers and joined into payloads."""
        data: bytes = self._encode(frame)
        return data

    def join(self, frames: Sequence[bytes]) -> bytes:
        """Wrap encoded frames into one payload."""
        raise NotImplementedError

    def payload(self, *frames: Frame) -> bytes:
        """Encode frames into one payload."""
        return self.join([self._encode(frame) for frame in frames])

    def __repr__(self) -> str:
        return f"<codec {self.name}>"


class _Json(Codec):
    def join(self, frames: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(frames) + b"]"


class _Msgpack(Codec):
    def join(self, frames: Sequence[bytes]) -> bytes:
        count = len(frames)
        if count < 16:
            head = bytes((0x90 | count,))
        elif count < 1 << 16:
            head = struct.pack(">BH", 0xDC, count)
        else:
            head = struct.pack(">BI", 0xDD, count)
        return head + b"".join(frames)


JSON: Codec = _Json("json", msgspec.json, _hex)
MSGPACK: Codec = _Msgpack("msgpack", msgspec.msgpack, _raw)

SUBPROTOCOLS = {"strongroom.v1.json": JSON, "strongroom.v1.msgpack": MSGPACK}
"""WebSocket subprotocol names and the codec each one stands for."""

ALPN = "strongroom/1"
"""QUIC application protocol; its payloads are msgpack behind a u32 big-endian length."""

__all__ = ["ALPN", "JSON", "MSGPACK", "SUBPROTOCOLS", "Codec", "Reader", "Rejected", "schema"]

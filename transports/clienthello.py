"""Read the server name out of a TLS ClientHello before any TLS context is chosen (sans-IO).

Client certificates are asked for only under certain server names, and OpenSSL fixes that choice
when the connection object is made: so the name is read from the first bytes beforehand. Nothing
is judged here beyond what finding the name needs; OpenSSL judges the message itself.

    offset  size  type    meaning (RFC 8446, sections 5.1 and 4.1.2)
    0       1     u8      content type, 22 = handshake
    1       2     u16     legacy record version
    3       2     u16     record length
    5       1     u8      handshake type, 1 = ClientHello
    6       3     u24     handshake length
    9       2     u16     legacy version
    11      32    bytes   random
    then          u8+     legacy session id
    then          u16+    cipher suites
    then          u8+     compression methods
    then          u16+    extensions: (u16 type, u16+ data); type 0 = server_name (RFC 6066)
"""

from __future__ import annotations

from dataclasses import dataclass

RECORD_HEAD_BYTES = 5
HELLO_BYTES_MAX = 16 * 1024
"""The longest first record worth waiting for; real ones are below 2 KiB."""
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0
_FIXED_BYTES = 4 + 2 + 32
"""Handshake head, legacy version and random."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What was found: ``server_name`` is None when the client sent none that is readable."""

    server_name: str | None


class NotTlsError(ValueError):
    """The bytes do not begin a TLS handshake; plain HTTP on the TLS port, for example."""


def read_hello(data: bytes) -> Hello | None:
    """Return what the first record says, or None when it is not complete yet.

    Raises:
        NotTlsError: the bytes cannot become a ClientHello.
    """
    if data[:1] and data[0] != _HANDSHAKE:
        raise NotTlsError("not a TLS handshake")
    if len(data) < RECORD_HEAD_BYTES:
        return None
    length = int.from_bytes(data[3:5])
    if data[1] != 3 or not _FIXED_BYTES <= length <= HELLO_BYTES_MAX:
        raise NotTlsError("not a TLS handshake")
    if len(data) < RECORD_HEAD_BYTES + length:
        return None
    record = data[RECORD_HEAD_BYTES : RECORD_HEAD_BYTES + length]
    if record[0] != _CLIENT_HELLO:
        raise NotTlsError("not a ClientHello")
    return Hello(_server_name(record))


class _Fields:
    """A cursor over length-prefixed fields; an IndexError is a field that is cut short."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._offset = offset

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        taken = self._data[self._offset : self._offset + count]
        if len(taken) < count:
            raise IndexError
        self._offset += count
        return taken

    def prefixed(self, prefix_bytes: int) -> bytes:
        """Return the next field, whose length is in its first ``prefix_bytes`` bytes."""
        return self.take(int.from_bytes(self.take(prefix_bytes)))


def _server_name(record: bytes) -> str | None:
    """Return the host name extension, lower-case; None when absent, odd or over two records."""
    try:
        fields = _Fields(record, _FIXED_BYTES)
        fields.prefixed(1)
        fields.prefixed(2)
        fields.prefixed(1)
        extensions = _Fields(fields.prefixed(2))
        while True:
            kind, data = int.from_bytes(extensions.take(2)), extensions.prefixed(2)
            if kind == _SERVER_NAME:
                names = _Fields(_Fields(data).prefixed(2))
                is_host = int.from_bytes(names.take(1)) == _HOST_NAME
                return names.prefixed(2).decode("ascii").lower() if is_host else None
    except (IndexError, UnicodeDecodeError):
        return None

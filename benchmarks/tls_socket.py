"""TLS 1.3 over a TCP socket that is read without waiting: what WebSocket and XMPP lines share."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Final

from benchmarks.lines import Events, LineLostError, Wire

READ_BYTES: Final = 256 * 1024
HEAD_BYTES: Final = 52
"""Headers of IPv4 and of TCP with time stamps, which Linux sends in each segment."""
TCP_INFO: Final = struct.Struct("@120xQQII")
"""Of Linux's ``tcp_info``: bytes acknowledged, bytes received, segments out, segments in."""


class TlsSocket:
    """One connection; ``open`` first, as ``Line.open``.

    Args:
        address: host and port.
        context: the TLS context of a client.
        source: the local address to connect from; empty: any.
    """

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, source: str = "") -> None:
        self._address = address
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=address[0])
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self._socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self._socket.bind((source, 0))

    def open(self) -> Iterator[Events]:
        """Connect and shake hands."""
        status = self._socket.connect_ex(self._address)
        if status == errno.EINPROGRESS:
            yield select.EPOLLOUT
            status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            raise OSError(status, os.strerror(status))
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                yield select.EPOLLIN
                self._pull()
            else:
                self._push()
                return

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Encrypt and send everything."""
        self._tls.write(data)
        self._push()

    def receive(self) -> bytes:
        """Return what has arrived, decrypted; raises ``LineLostError``."""
        self._pull()
        pieces = []
        while self._incoming.pending:
            try:
                piece = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            if not piece:
                raise LineLostError
            pieces.append(piece)
        return b"".join(pieces)

    def wire(self) -> Wire:
        """Return what has travelled so far, as the system counts it."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
        acknowledged, received, segments_out, segments_in = TCP_INFO.unpack(info)
        return Wire(
            acknowledged + segments_out * HEAD_BYTES,
            segments_out,
            received + segments_in * HEAD_BYTES,
            segments_in,
        )

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()

    def _pull(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise LineLostError from error
        if not data:
            raise LineLostError
        self._incoming.write(data)

    def _push(self) -> None:
        """Send what is encrypted; a full socket is waited for, as load is never that large."""
        data = memoryview(self._outgoing.read())
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                select.select([], [self._socket], [], SEND_SECONDS)
            except OSError as error:
                raise LineLostError from error


SEND_SECONDS: Final = 10.0
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux: choose the port at connecting, so that one address serves more than its ports."""

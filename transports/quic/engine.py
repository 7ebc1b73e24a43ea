"""Keep aioquic behind one seam: a QUIC connection with bounded credit and one message stream.

Everything that leans on aioquic's inside is in this file, so that another engine with the same
sans-IO interface can take its place. Four things differ from ``QuicConnection`` as it comes:

* Credit is linear and counts from the first byte that is missing. aioquic doubles its windows
  from the highest offset it has *seen*, so a peer could have it allocate without bound by
  sending single bytes far ahead.
* The peer may open one bidirectional stream and no other; the engine itself closes the
  connection of a peer that tries (STREAM_LIMIT_ERROR).
* Stateless reset tokens (RFC 9000, section 10.3) are derived from a key, so that a server that
  has lost its connections, by a restart for instance, can tell their peers so.
* An acknowledgement waits a little for data to travel with, instead of a packet of its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    QuicConnection,
)
from aioquic.quic.events import QuicEvent
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from transports.certificates import Identity
from transports.quic.limits import QuicLimits
from transports.wire.codec import ALPN

STREAM = 0
"""The first client bidirectional stream: control and messages."""
CID_BYTES = 8
"""Length of the connection ids this side gives out."""
TOKEN_BYTES = 16
"""Length of a stateless reset token."""
MAX_DATAGRAM_FRAME_BYTES = 2_048
"""The longest DATAGRAM frame announced as acceptable; packets are shorter than that anyway."""

# aioquic's log repeats what peers say; nothing a peer sends may reach a log line.
logging.getLogger("quic").disabled = True


def reset_token(key: bytes, cid: bytes) -> bytes:
    """Return the stateless reset token (16 bytes) of a connection id."""
    return hashlib.blake2b(cid, digest_size=TOKEN_BYTES, key=key, person=b"quic-reset").digest()


def configuration(identity: Identity, limits: QuicLimits) -> QuicConfiguration:
    """Return what every server connection made with ``identity`` shares.

    TLS 1.3 only, as QUIC is; no session tickets are given out, so there is no 0-RTT.
    """
    leaf, *rest = x509.load_pem_x509_certificates(identity.chain_pem)
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=False,
        connection_id_length=CID_BYTES,
        idle_timeout=limits.idle_seconds,
        max_data=limits.window_bytes,
        max_stream_data=limits.window_bytes,
        max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
        certificate=leaf,
        certificate_chain=rest,
        private_key=load_pem_private_key(identity.key_pem, None),
    )


class Engine(QuicConnection):
    """One server-side QUIC connection. Sans-IO: time is an argument, in seconds.

    ``paused``: the owner takes nothing more for now, so the peer gets no further credit.
    """

    def __init__(
        self,
        shared: QuicConfiguration,
        limits: QuicLimits,
        reset_key: bytes,
        original_cid: bytes,
        retry_cid: bytes | None,
    ) -> None:
        super().__init__(
            configuration=shared,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )
        self.paused = False
        self.original_cid = original_cid
        self._limits = limits
        self._reset_key = reset_key
        self._unacknowledged = 0
        self._ack_delay = limits.acknowledge_seconds
        for limit, streams in ((self._local_max_streams_bidi, 1), (self._local_max_streams_uni, 0)):
            limit.value = limit.sent = streams
        self._derive_tokens()

    def events(self) -> Iterator[QuicEvent]:
        """Yield what happened since the last call."""
        while (event := self.next_event()) is not None:
            yield event

    def receive(self, data: bytes, address: Any, now: float) -> None:
        """Take one datagram; closes the connection when its stream has too many holes."""
        self.receive_datagram(data, address, now)
        self._unacknowledged += 1
        stream = self._streams.get(STREAM)
        if stream is not None and len(stream.receiver._ranges) > self._limits.receive_ranges:
            self.close(error_code=QuicErrorCode.FLOW_CONTROL_ERROR, frame_type=0)

    @property
    def is_writable(self) -> bool:
        """Whether the peer has opened the message stream and still listens to it."""
        stream = self._streams.get(STREAM)
        return stream is not None and stream.sender._reset_error_code is None

    def in_flight(self) -> int:
        """Return the bytes written and not yet acknowledged by the peer."""
        stream = self._streams.get(STREAM)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def acknowledged(self) -> int:
        """Return how many bytes of the message stream the peer has acknowledged."""
        stream = self._streams.get(STREAM)
        return 0 if stream is None else stream.sender._buffer_start

    def write(self, data: bytes) -> None:
        """Append to the message stream; only while ``is_writable``."""
        self.send_stream_data(STREAM, data)

    def write_datagram(self, payload: bytes) -> bool:
        """Queue a DATAGRAM frame; False when the peer takes none of this size."""
        accepted = self._remote_max_datagram_frame_size
        if accepted is None or len(payload) + 3 > accepted:
            return False
        if len(self._datagrams_pending) < self._limits.datagrams_waiting:
            self.send_datagram_frame(payload)
        return True

    def packets(self, now: float) -> list[tuple[bytes, Any]]:
        """Return the datagrams to send now, each with its address."""
        space = self._spaces.get(Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None and self._acknowledge_now():
            space.ack_at = min(space.ack_at, now)
            self._unacknowledged = 0
        return self.datagrams_to_send(now)

    @property
    def is_address_validated(self) -> bool:
        """Whether the peer has shown that it receives at its present address."""
        return bool(self._network_paths) and self._network_paths[0].is_validated

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        self._derive_tokens()

    def _derive_tokens(self) -> None:
        for each in self._host_cids:
            each.stateless_reset_token = reset_token(self._reset_key, each.cid)

    def _acknowledge_now(self) -> bool:
        if self._unacknowledged >= self._limits.acknowledge_datagrams:
            return True
        stream = self._streams.get(STREAM)
        return stream is not None and not stream.sender.buffer_is_empty

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        stream = self._streams.get(STREAM)
        if stream is not None:
            limit.value = self._credit(stream.receiver.starting_offset(), limit.value)
        if limit.value == limit.sent:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_DATA,
            capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        buffer.push_uint_var(limit.value)
        limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        consumed = stream.receiver.starting_offset()
        stream.max_stream_data_local = self._credit(consumed, stream.max_stream_data_local)
        if stream.max_stream_data_local == stream.max_stream_data_local_sent:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        buffer.push_uint_var(stream.stream_id or 0)
        buffer.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    def _credit(self, consumed: int, granted: int) -> int:
        window = self._limits.window_bytes
        if self.paused or granted - consumed > window // 2:
            return granted
        return consumed + window

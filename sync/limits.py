"""Name every limit of the link between sites, with its unit."""

from __future__ import annotations

FRAME_BYTES = 65_536
"""Longest body of one frame, in bytes."""

SOFTWARE_BYTES = 64
"""Longest name of the peer's program and version, in bytes."""

PART_BYTES = 2_048
"""Compressed bytes of a piece in one frame: how long a more urgent lane waits at most."""

PIECE_BYTES = 131_072
"""About how much one piece should hold when it is read, in bytes before compression."""

PIECE_BYTES_MAX = 4 * 1024 * 1024
"""Most bytes of one piece before compression; a conversation's registers travel with its cause."""

PIECE_ENTRIES = 16_384
"""Most operations in one piece."""

PIECE_ORIGINS = 4_096
"""Most origins that one piece names."""

COMPRESSION_LEVEL = 6
"""zstd level of every lane."""

WINDOW_LOG = 17
"""Binary logarithm of how far back a lane's stream may refer, in bytes: 128 KiB."""

UNPACK_SLICE_BYTES = 64
"""Compressed bytes unpacked at a time: even the worst of them become 2 MiB at most."""

LANE_WINDOW_BYTES = 512 * 1024
"""Bytes of a lane's pieces that may be on their way or waiting here, before compression."""

FLOOR_SHARE = 10
"""Each waiting lane has one byte in so many, however much is before it."""

CONTROL_QUEUE_BYTES = 256 * 1024
"""Answers and notes waiting for a peer that does not read; one more ends the link."""

NOTE_KIND_BYTES = 32
"""Longest kind of a note, in bytes."""

NOTE_BYTES = 16_384
"""Longest body of a note between the layers above, in bytes."""

FRAME_CREDIT = 2_000
"""Frames without operations that a peer may send at once."""

FRAME_CREDIT_PER_SECOND = 200
"""Such frames that each second allows on top, up to ``FRAME_CREDIT`` in all; so does each part."""

WANTS = 64
"""Questions for history that one side may have open."""

WANT_LIMIT = 1_000
"""Most operations that one question for history asks for."""

PINGS_OPEN = 64
"""Pings that wait for their answer; no more are sent meanwhile."""

HANDSHAKE_SECONDS = 20.0
"""How long the peer has to say who it is and where it stands."""

KEEPALIVE_SECONDS = 60.0
"""Silence after which a ping is sent: about 350 kB a day with all headers, if nothing else is."""

SILENCE_SECONDS = 30.0
"""How long an answer to a ping may take before the line counts as dead."""

BULK_IDLE_SECONDS = 300.0
"""How long a branch keeps the connection for history after its last use."""

QUIET_ADVANCE_SECONDS = 5.0
"""How long it may take to tell the peer that a lane held nothing new for it."""

PACE_START_BYTES = 8 * 1024
"""Bytes on their way before the first measurement."""

PACE_BYTES_MIN = 8 * 1024
"""Fewest bytes that may be on their way, however slow the line."""

PACE_BYTES_MAX = 4 * 1024 * 1024
"""Most bytes that may be on their way."""

PACE_DELAY_SECONDS = 0.6
"""How long our own bytes may wait in the line's queues."""

PACE_RECENT = 8
"""Round trips that must all be longer than the shortest before our own bytes count as waiting."""

PACE_BASE_SECONDS = 600.0
"""How long the shortest round trip counts as what the line itself takes."""

BACKOFF_SECONDS_MIN = 1.0
"""First pause before connecting again, before the jitter."""

BACKOFF_SECONDS_MAX = 120.0
"""Longest pause before connecting again, before the jitter."""

FAREWELL_SECONDS = 2.0
"""How long the last words of a link have to leave."""

SEND_BYTES = 2 * PART_BYTES
"""About how much is given to a connection at a time: what no urgent piece can overtake."""

PULL_SECONDS = 1.0
"""How often it is looked again whether what is due can leave, at most."""

CONNECT_SECONDS = 30.0
"""From the beginning of an attempt to reach headquarters to its answer, name and proxy included."""

CONNECTIONS_PER_SITE = 8
"""Connections of one branch at one time; a newcomer beyond is turned away."""

PROXY_HEAD_BYTES = 16 * 1024
"""Longest answer of a proxy."""

PROXY_CREDENTIALS_BYTES = 1_024
"""Longest file with a proxy's name and password, in bytes."""

BANDWIDTH_BURST_SECONDS = 0.5
"""How far a link with a bandwidth limit may be ahead of it, as a share of a second's bytes."""

NEWS_SECONDS = 0.1
"""How long new operations gather before they are looked for again, so that they share a piece."""

NEWS_SECONDS_PER_LINK = 0.001
"""The same for each link at headquarters, where a thousand looking at once would take too long."""

LOOK_SECONDS = 600.0
"""How long a link is left alone that has no news: then its cursors follow what was for others."""

"""Name every bound of the gateway, with its unit."""

from __future__ import annotations

from typing import Final

STRANGER_ERRORS: Final = 5
"""Errors a connection may cause before it has signed in; the last one closes it."""

SIGNALS_PER_SECOND: Final = 5.0
"""Typing and presence frames of one session; what is beyond is dropped in silence."""

PAYLOAD_FRAMES: Final = 256
"""Frames in one payload; a payload with more is refused whole."""

IN_FLIGHT: Final = 512
"""Commands of one session that await their commit; beyond, it is told to wait."""

OVERLOAD_WAIT_SECONDS: Final = 1.0
"""What a client is told to wait when the writer's queue is full."""

CATCH_UP_EVENTS: Final = 128
"""Events read and sent to one session in one step of catching up."""

CATCH_UP_BYTES: Final = 64 * 1024
"""Bytes of events after which a step ends early: a step must fit into a carrier's queue."""

LIVE_BYTES: Final = 128 * 1024
"""Bytes that one turn may collect for a live session; beyond, it goes on from the log."""

CATCH_UP_SESSIONS: Final = 32
"""Sessions that take a step of catching up in one turn; the others wait for the next."""

GAP_EVENTS: Final = 20_000
"""Positions a session may be behind and still be sent everything; beyond, it gets ``gap``."""

BACKGROUND_SECONDS: Final = 20.0
"""How long events are held back for a session in background mode; urgent ones are not."""

BACKGROUND_EVENTS: Final = 500
"""Events held back at the most for a session in background mode."""

PRESENCE_MEMBERS: Final = 64
"""Presence is told within conversations of at most so many members."""

PRESENCE_PEOPLE_SHARE: Final = 16
"""Somebody with so many times more conversations than people are online is compared with each of
those, instead of looking through the conversations."""

KEEPALIVE_SECONDS: Final = 45.0
"""Silence after which the carrier asks an active session whether it is there."""

KEEPALIVE_BACKGROUND_SECONDS: Final = 240.0
"""The same for a session in background mode."""

SIGN_IN_CHECKS: Final = 2
"""Password verifications at once; each takes about 0.2 s of CPU and 64 MiB."""

SIGN_IN_QUEUE: Final = 256
"""Password verifications that may wait; beyond, sign-in is told to come back."""

DRAIN_SECONDS: Final = 5.0
"""How long a stopping server waits for commands in flight."""

DRAIN_POLL_SECONDS: Final = 0.02
"""How often a stopping server looks whether it is done."""

BYE_AFTER_SECONDS: Final = 2.0
"""When clients are told to come back after the server stopped on purpose."""

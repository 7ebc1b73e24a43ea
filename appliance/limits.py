"""Name the bounds of the product that clients meet, each with its unit."""

from __future__ import annotations

from typing import Final

SECOND_MS: Final = 1_000

# --- messages -------------------------------------------------------------------------------------

BODY_BYTES: Final = 16_384
"""Longest body of a message: text and data together, in bytes of UTF-8."""

BODY_KIND_CHARACTERS: Final = 32
"""Longest kind of a body, such as ``text``."""

MENTIONS: Final = 100
"""Persons that one message may mention."""

EMOJI_BYTES: Final = 32
"""Longest reaction, in bytes of UTF-8; families and flags need up to about 28."""

TARGETS_PER_MESSAGE: Final = 1_000
"""Edits and reactions that one message takes; recalls and confirmations always pass."""

COUNTER_LIMIT: Final = 1 << 64
"""First message number of a device that no longer fits."""

# --- conversations --------------------------------------------------------------------------------

TITLE_CHARACTERS: Final = 200
"""Longest title of a conversation or duty, in code points."""

MEMBERS: Final = 5_000
"""Members of one conversation at one time."""

OPEN_MEMBERS: Final = 256
"""Persons named when a group is opened; further ones are added one by one."""

CONVERSATIONS_PER_PERSON: Final = 2_000
"""Conversations that a person is in at one time."""

FORMER_TIMES: Final = 32
"""Earlier memberships kept for a person who leaves and rejoins; the oldest beyond are lost."""

# --- reading --------------------------------------------------------------------------------------

HISTORY_ITEMS: Final = 200
"""Messages in one page of history."""

HISTORY_OPENED: Final = 2_000
"""Operations opened for one page of history; a page that needs more ends early."""

UNREAD: Final = 1_000
"""Unread messages counted for one conversation; ``1000`` means: at least so many."""

UNREAD_OPENED: Final = 4_000
"""Operations opened to count one conversation's unread messages."""

# --- marks ----------------------------------------------------------------------------------------

DELIVERED_MEMBERS: Final = 64
"""Delivery is noted in conversations of at most so many members."""

MARK_MEMBERS: Final = 64
"""Read marks are told to everybody in conversations of at most so many members, else listed."""

MARKS_PER_GOT: Final = 256
"""Conversations that one ``got`` advances; the next one goes on from there."""

# --- urgent messages and duties -------------------------------------------------------------------

REPEAT_SECONDS: Final = 120
"""Time between repetitions of an unconfirmed urgent message."""

REPEATS: Final = 5
"""Repetitions of an urgent message that has no chain of duty, before it goes to an owner."""

TICK_URGENT: Final = 64
"""Urgent messages that one tick of the clock handles."""

SEEN_AHEAD_MS: Final = 150_000
"""How far ahead of the clock a message may ask to be sorted, in ms: half of what sites believe."""

OPEN_URGENT_PER_PERSON: Final = 50
"""Unconfirmed urgent messages of one sender at one time."""

DUTIES: Final = 2_000
"""Duties of one site."""

DUTY_NAME_CHARACTERS: Final = 64

CHAIN_PERSONS: Final = 16
"""Persons in a duty's chain."""

STEP_SECONDS_MIN: Final = 30
STEP_SECONDS_MAX: Final = 86_400
"""Bounds of the time after which an urgent message goes on along a duty's chain."""

"""Bound what concerns branches, each with its unit."""

from __future__ import annotations

from typing import Final

SITES: Final = 10_000
"""Branches of one headquarters, revoked ones included; all are held in memory."""

SITE_NAME_CHARACTERS: Final = 32
"""Longest name of a branch: it stands after a login name, as in ``anna@north``."""

INVITATION_HOURS: Final = 24
"""How long a branch may join after its invitation."""

TOKEN_BYTES: Final = 16
"""The one-time token of an invitation: 128 random bits."""

ADDRESSES: Final = 8
"""Addresses of headquarters that an invitation carries."""

ADDRESS_CHARACTERS: Final = 261
"""Longest address: a host name of 253 characters, a colon, a port; an IPv6 has brackets."""

APPLY_SECONDS: Final = 20.0
"""How long headquarters may take to answer an application."""

ANSWER_BYTES: Final = 65_536
"""Longest answer of headquarters to an application."""

POLL_SECONDS: Final = 5.0
"""How often a branch that joins asks whether it has been approved."""

RENEWAL_SECONDS: Final = 3_600.0
"""How often a branch looks at the age of its certificate."""

AGED_MS: Final = 24 * 3_600_000
"""Age from which a lease is AGED, in ms."""

EXPIRED_MS: Final = 7 * 24 * 3_600_000
"""Age from which a lease is EXPIRED, in ms."""

LEASE_DRIFT_MS: Final = 3_600_000
"""By how much headquarters takes a lease to last longer than it does, in ms: a branch's uptime may
count too slowly, by one part in 168."""

LEASE_BOOT_CHARACTERS: Final = 64
"""Longest name of a boot; Linux gives 36 characters."""

LEASE_ASK_SECONDS: Final = 3_600.0
"""How often a branch asks for its lease anew."""

LEASE_MARK_SECONDS: Final = 600.0
"""How often a branch notes the age of its lease for the next start."""

LINE_SECONDS: Final = 5.0
"""How often people at a branch are told how many operations wait for headquarters."""

PARCEL_CHUNKS: Final = 1 << 20
"""Most chunks of 64 KiB in one parcel: 64 GiB, of which 32 MiB of hashes are held."""

PARCEL_CHAPTERS: Final = 1_024
"""Most incarnations of a log that one parcel tells of."""

PARCEL_NOTES: Final = 4_096
"""Most notes of one kind in a parcel: what proves 130 million operations."""

PARCEL_HISTORY: Final = 100_000
"""Operations with which one question for history is answered in a parcel."""

LEASE_RETRY_SECONDS: Final = 60.0
"""How soon a branch asks again when its question for a lease was not answered."""

AUDIENCE_AT_START: Final = 200_000
"""Newest arrivals that headquarters looks at when the first branch is linked after a start."""

AUDIENCE_POSITIONS: Final = 4_000_000
"""Arrivals of which headquarters remembers whom they concern: 8 bytes for each branch concerned."""

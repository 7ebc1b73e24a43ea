"""Name the bounds of exports, each with its unit."""

from __future__ import annotations

from typing import Final

PAGE_RECORDS: Final = 64
"""Most records that one page shows; each costs a privileged operation in the log."""

PAGE_WALKED: Final = 1_024
"""Messages opened, and conversations looked into, for one page; a page may be empty."""

PAGE_BYTES: Final = 1 << 20
"""Weight from which a page takes no further record, in bytes of the log's rows."""

OPERATION_BYTES: Final = 512
"""Weight of an operation's proof beside its row, in bytes."""

MEMBER_BYTES: Final = 192
"""Weight of one member in the list of who was there, in bytes."""

DESTROYED_ROWS: Final = 8_192
"""Rows of the log that one page looks through for what is destroyed."""

SEGMENTS: Final = 64
"""Segments of the log whose hashes are remembered while a page is made."""

CURSOR_CHARACTERS: Final = 1_024
"""Longest cursor that is looked at, in characters."""

PROBLEMS: Final = 100
"""Problems that a verification lists; it counts the others."""

STATEMENTS: Final = 4_096
"""Statements of segments whose signature a verification remembers as checked."""

EML_BYTES: Final = 8 << 20
"""Lines of one EML file, in bytes; a conversation-day with more goes on in a further part."""

EML_ADDRESSES: Final = 500
"""Addresses in the To of one EML file; the attachment lists everybody."""

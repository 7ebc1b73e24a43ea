"""Merge an ordered overlay of puts and deletes over an ordered base range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def merge(
    base: Iterator[tuple[bytes, bytes]],
    overlay: Iterable[tuple[bytes, bytes | None]],
    *,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield ``base`` as changed by ``overlay`` (None hides a key of the base).

    Both must be ordered the way ``reverse`` says, without repeated keys. The base is read one
    pair ahead of the overlay and no further, so a caller that stops early pays for no more.
    """
    pair = next(base, None)
    for key, value in overlay:
        while pair is not None and (pair[0] > key if reverse else pair[0] < key):
            yield pair
            pair = next(base, None)
        if pair is not None and pair[0] == key:
            pair = next(base, None)
        if value is not None:
            yield key, value
    if pair is not None:
        yield pair
        yield from base

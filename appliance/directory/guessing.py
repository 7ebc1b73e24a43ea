"""Estimate how many guesses a weak password takes, from the pieces that it is made of.

The cheapest way to build the text from pieces decides: a common word, a run along the
keyboard or alphabet, a date, a repetition of what came before, or single characters. The
estimate is meant for finding what is weak; it says little about what is strong. Marks and
spaces between the pieces count once, as a way of writing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from appliance.common_passwords import RUNS, WORDS

WORD_BITS: Final = 10.0
"""Cost of one common word; there are about 2^10 of them."""

SWAPPED_BITS: Final = 2.0
"""Extra cost of a word with swapped letters (p@ssw0rd)."""

RUN_BITS: Final = 7.0
REPEAT_BITS: Final = 5.0
YEAR_BITS: Final = 7.0
DATE_BITS: Final = 14.0
DIGIT_BITS: Final = 3.3
LETTER_BITS: Final = 4.7
UPPER_BITS: Final = 1.0
MARK_BITS: Final = 5.0
OTHER_SCRIPT_BITS: Final = 9.0

LONGEST_WORD: Final = max(map(len, WORDS))
SHORTEST_RUN: Final = 3
SHORTEST_REPEAT: Final = 2

_SWAPS: Final = {"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "8": "b"}
_SWAPS_I: Final = str.maketrans({**_SWAPS, "1": "i", "!": "i"})
_SWAPS_L: Final = str.maketrans({**_SWAPS, "1": "l", "!": "l"})


def guess_bits(text: str, known: Mapping[str, float] | None = None) -> float:
    """Return the binary logarithm of the guesses it takes, roughly.

    ``known`` adds words of the person's own (lower-case) with their cost. O(n^2) for n
    characters; 256 of them take some milliseconds.
    """
    closed = "".join(each for each in text if each.isalnum())
    bits = _cheapest(text, known or {})
    if len(closed) == len(text):
        return bits
    return min(bits, _cheapest(closed, known or {}) + MARK_BITS)


def _cheapest(text: str, known: Mapping[str, float]) -> float:
    lower = _lower(text)
    best = [0.0] + [float("inf")] * len(text)
    for start in range(len(text)):
        so_far = best[start]
        for end, bits in _pieces(text, lower, start, known):
            best[end] = min(best[end], so_far + bits)
    return best[-1]


def _pieces(
    text: str, lower: str, start: int, known: Mapping[str, float]
) -> Iterator[tuple[int, float]]:
    """Yield the end and cost of every piece that begins at ``start``."""
    yield start + 1, _character_bits(text[start])
    yield from _words(lower, start, known)
    yield from _runs(lower, start)
    yield from _dates(lower, start)
    yield from _repeats(lower, start)


def _words(lower: str, start: int, known: Mapping[str, float]) -> Iterator[tuple[int, float]]:
    longest = max([LONGEST_WORD, *map(len, known)])
    piece = lower[start : start + longest]
    for reading, extra in (
        (piece, 0.0),
        (piece.translate(_SWAPS_I), SWAPPED_BITS),
        (piece.translate(_SWAPS_L), SWAPPED_BITS),
    ):
        for size in range(2, len(reading) + 1):
            word = reading[:size]
            if word in known:
                yield start + size, known[word] + extra
            elif word in WORDS:
                yield start + size, WORD_BITS + extra


def _runs(lower: str, start: int) -> Iterator[tuple[int, float]]:
    end = start + SHORTEST_RUN
    while end <= len(lower) and any(lower[start:end] in run for run in RUNS):
        yield end, RUN_BITS
        end += 1


def _dates(lower: str, start: int) -> Iterator[tuple[int, float]]:
    digits = lower[start : start + 8]
    if _is_year(digits[:4]):
        yield start + 4, YEAR_BITS
    if _is_digits(digits, 8) and (
        (_is_year(digits[:4]) and _is_day(digits[4:]))
        or (_is_year(digits[4:]) and _is_day(digits[:4]))
    ):
        yield start + 8, DATE_BITS
    if _is_digits(digits[:6], 6) and (_is_day(digits[:4]) or _is_day(digits[2:6])):
        yield start + 6, DATE_BITS


def _is_year(text: str) -> bool:
    return _is_digits(text, 4) and text[:2] in ("19", "20")


def _is_day(text: str) -> bool:
    """Tell whether four digits are a day and a month, in either order."""
    first, second = int(text[:2]), int(text[2:])
    return 1 <= min(first, second) <= 12 and max(first, second) <= 31


def _repeats(lower: str, start: int) -> Iterator[tuple[int, float]]:
    """Yield what was there before, also overlapping: aaaa is an a and a repetition."""
    end = start + SHORTEST_REPEAT
    while end <= len(lower) and lower.find(lower[start:end], 0, end - 1) >= 0:
        yield end, REPEAT_BITS
        end += 1


def _is_digits(text: str, count: int) -> bool:
    return len(text) == count and text.isascii() and text.isdigit()


def _character_bits(character: str) -> float:
    if not character.isascii():
        return OTHER_SCRIPT_BITS
    if character.isdigit():
        return DIGIT_BITS
    if not character.isalpha():
        return MARK_BITS
    return LETTER_BITS + (UPPER_BITS if character.isupper() else 0)


def _lower(text: str) -> str:
    """Return the text in lower case with the same length, so that places correspond."""
    return "".join(low if len(low := each.lower()) == 1 else each for each in text)

"""Judge what people's programs wrote down at all sites: is anything lost, doubled, out of order?

What may be judged is only what clients saw: what they sent, what was acknowledged, what they were
told of, and each group's history as every member's own site shows it at the end. What was sent
and never acknowledged may be there or not, but the same everywhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from benchmarks.histories import Acknowledged, Record, Sent, Silent, Timeline, Told, Trouble


class Finding(NamedTuple):
    """``kind`` is lost, doubled, order, cause, differs, changed, invented or trouble."""

    kind: str
    detail: str


Shown = list[tuple[str, str, str]]
"""A history: (msg, key, text)."""


@dataclass
class Evidence:
    """The records of all programs, sorted."""

    sent: dict[str, Sent] = field(default_factory=dict)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    told: dict[tuple[str, str], list[Told]] = field(default_factory=lambda: defaultdict(list))
    timelines: dict[tuple[str, str], Shown] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    troubles: list[Trouble] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Evidence:
        """Sort records; those of one person are in the order in which they were written."""
        found = cls()
        for record in records:
            match record:
                case Sent():
                    found.sent[record.text] = record
                case Acknowledged():
                    found.acknowledged.append(record)
                case Told():
                    found.told[record.who, record.group].append(record)
                case Timeline():
                    found.timelines[record.who, record.group] = record.shown
                case Silent():
                    found.silent.add(record.who)
                case Trouble():
                    found.troubles.append(record)
        return found


Members = Mapping[str, Sequence[str]]
"""Group -> who is in it."""


def is_settled(evidence: Evidence, members: Members) -> bool:
    """Tell whether all have fallen silent, and were told of everything that is acknowledged."""
    heard = {key: {each.text for each in told} for key, told in evidence.told.items()}
    return evidence.silent >= {who for each in members.values() for who in each} and all(
        each.text in heard.get((who, each.group), ())
        for each in evidence.acknowledged
        for who in members[each.group]
    )


def findings(evidence: Evidence, members: Members) -> list[Finding]:
    """Return everything that is wrong."""
    found = [Finding("trouble", f"{each.who}: {each.what}") for each in evidence.troubles]
    for group, people in members.items():
        sent = {text: each for text, each in evidence.sent.items() if each.group == group}
        said = [each for each in evidence.acknowledged if each.group == group]
        reference = evidence.timelines.get((people[0], group), [])
        for who in people:
            shown = evidence.timelines.get((who, group), [])
            found += [Finding(kind, f"{who}'s {group}: {detail}") for kind, detail in [
                *_same(shown, reference),
                *_of_timeline(shown, sent, said),
                *_of_told(evidence.told[who, group], shown, sent, said),
            ]]  # fmt: skip
    return found


def _same(shown: Shown, reference: Shown) -> Iterator[Finding]:
    if shown != reference:
        where = next((n for n, (a, b) in enumerate(zip(shown, reference, strict=False)) if a != b),
                     min(len(shown), len(reference)))  # fmt: skip
        yield Finding("differs", f"{len(shown)} and {len(reference)} messages, from {where} on")


def _of_timeline(
    shown: Shown, sent: Mapping[str, Sent], said: Sequence[Acknowledged]
) -> Iterator[Finding]:
    """Compare a history with what was sent and acknowledged."""
    texts = [text for _, _, text in shown]
    yield from _twice(msg for msg, _, _ in shown)
    yield from _twice(texts)
    yield from _kept({text: (msg, key) for msg, key, text in shown}, said)
    for (_, key, text), (_, later, other) in pairwise(shown):
        if key > later:  # two sites may give one key: then who made it decides
            yield Finding("order", f"the key of {other} is below that of {text}")
    yield from (Finding("invented", text) for text in texts if text not in sent)
    yield from _in_order(texts, sent, by_priority=False)
    places = {text: place for place, text in enumerate(texts)}
    for text, place in places.items():
        cause = sent[text].after if text in sent else ""
        if cause and places.get(cause, place) >= place:
            yield Finding("cause", f"{text} does not stand after {cause}")


def _of_told(
    told: Sequence[Told], shown: Shown, sent: Mapping[str, Sent], said: Sequence[Acknowledged]
) -> Iterator[Finding]:
    """Compare what somebody was told of with the history, and with what was acknowledged."""
    yield from _twice(each.msg for each in told)
    yield from _twice(f"{device} {number}" for device, number in (each.name for each in told))
    yield from _kept({each.text: (each.msg, each.key) for each in told}, said)
    yield from _in_order([each.text for each in told], sent, by_priority=True)
    known = set(shown)
    for each in told:
        if (each.msg, each.key, each.text) not in known:
            yield Finding("differs", f"{each.text} was told otherwise than it is shown")


def _twice(names: Iterable[str]) -> Iterator[Finding]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding("doubled", name)


def _kept(there: Mapping[str, tuple[str, str]], said: Sequence[Acknowledged]) -> Iterator[Finding]:
    for each in said:
        if each.text not in there:
            yield Finding("lost", each.text)
        elif there[each.text] != (each.msg, each.key):
            yield Finding("changed", each.text)


def _in_order(
    texts: Sequence[str], sent: Mapping[str, Sent], *, by_priority: bool
) -> Iterator[Finding]:
    """Compare with the order of sending, of each sender; urgent ones may be told of earlier."""
    places = {text: place for place, text in enumerate(sent)}
    last: dict[tuple[str, str], str] = {}
    for text in (each for each in texts if each in sent):
        by = sent[text]
        lane = (by.who, by.priority if by_priority else "")
        if lane in last and places[last[lane]] > places[text]:
            yield Finding("order", f"{text} comes after {last[lane]}")
        last[lane] = text

"""The checker of histories: a sound one passes, and whatever is wrong with one is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import histories
from benchmarks.histories import Acknowledged, Record, Sent, Silent, Timeline, Told, Trouble
from tests.system.checker import Evidence, findings, is_settled

PEOPLE = ("ann", "bob", "cem")
MEMBERS = {"ward": PEOPLE}


def sound(spoken: list[str], told_late: list[int]) -> Evidence:
    """Return the evidence of a talk: who speaks, in the order of the keys.

    Each is told in the order of the keys, but of the messages whose place is in ``told_late``
    after all others, as far as that leaves each sender's order alone.
    """
    records: list[Record] = []
    shown: list[tuple[str, str, str]] = []
    for place, who in enumerate(spoken):
        text, msg, key = f"{who}/{place}", f"m{place}", f"{place:06}"
        after = shown[-1][2] if shown else ""
        records.append(Sent(who, "ward", text, float(place), "normal", after))
        records.append(Acknowledged(who, "ward", text, msg, key, place + 0.5))
        shown.append((msg, key, text))
    for who in PEOPLE:
        late = {spoken[place % len(spoken)] for place in told_late if spoken} - {who}
        told = sorted(range(len(spoken)), key=lambda place: (spoken[place] in late, place))
        records += [
            Told(who, "ward", text, msg, key, (spoken[place], place), 0.0)
            for place, (msg, key, text) in ((place, shown[place]) for place in told)
        ]
        records += [Silent(who), Timeline(who, "ward", list(shown))]
    return Evidence.of(records)


TALKS = st.builds(
    sound,
    st.lists(st.sampled_from(PEOPLE), min_size=5, max_size=30),
    st.lists(st.integers(0, 40), max_size=3),
)


@given(TALKS)
def test_a_sound_history_is_found_sound(talk: Evidence) -> None:
    assert is_settled(talk, MEMBERS)
    assert findings(talk, MEMBERS) == []


@given(TALKS, st.integers(0, 100))
def test_what_was_never_acknowledged_may_be_missing_everywhere(talk: Evidence, place: int) -> None:
    gone = talk.acknowledged.pop(place % len(talk.acknowledged)).text
    for who in PEOPLE:
        talk.timelines[who, "ward"] = [e for e in talk.timelines[who, "ward"] if e[2] != gone]
        talk.told[who, "ward"] = [e for e in talk.told[who, "ward"] if e.text != gone]
    del talk.sent[gone]
    talk.sent.update(
        {t: Sent(e.who, e.group, t, e.at) for t, e in talk.sent.items() if e.after == gone}
    )
    assert findings(talk, MEMBERS) == []


# --- what is wrong is found -----------------------------------------------------------------------


def lose_everywhere(talk: Evidence, dice: Random) -> None:
    gone = dice.choice(talk.acknowledged).text
    for who in PEOPLE:
        talk.timelines[who, "ward"] = [e for e in talk.timelines[who, "ward"] if e[2] != gone]


def lose_at_one_site(talk: Evidence, dice: Random) -> None:
    shown = talk.timelines[dice.choice(PEOPLE), "ward"]
    del shown[dice.randrange(len(shown))]


def lose_a_telling(talk: Evidence, dice: Random) -> None:
    told = talk.told[dice.choice(PEOPLE), "ward"]
    del told[dice.randrange(len(told))]


def lose_a_timeline(talk: Evidence, dice: Random) -> None:
    del talk.timelines[dice.choice(PEOPLE), "ward"]


def double_in_the_timeline(talk: Evidence, dice: Random) -> None:
    shown = talk.timelines[dice.choice(PEOPLE), "ward"]
    shown.insert(dice.randrange(len(shown)), dice.choice(shown))


def double_under_another_name_everywhere(talk: Evidence, dice: Random) -> None:
    place = dice.randrange(len(talk.acknowledged))
    for who in PEOPLE:
        shown = talk.timelines[who, "ward"]
        _, key, text = shown[place]
        shown.insert(place + 1, ("again", key + "0", text))


def double_a_telling(talk: Evidence, dice: Random) -> None:
    told = talk.told[dice.choice(PEOPLE), "ward"]
    told.append(dice.choice(told))


def swap_at_one_site(talk: Evidence, dice: Random) -> None:
    shown = talk.timelines[dice.choice(PEOPLE), "ward"]
    place = dice.randrange(len(shown) - 1)
    shown[place], shown[place + 1] = shown[place + 1], shown[place]


def swap_two_of_one_sender_everywhere(talk: Evidence, dice: Random) -> None:
    """The keys stay in order: only the texts change places."""
    order = {each.who: [a for a in talk.acknowledged if a.who == each.who]
             for each in talk.acknowledged}  # fmt: skip
    one, other = dice.sample(max(order.values(), key=len), 2)
    swapped = {one.text: other.text, other.text: one.text}
    for who in PEOPLE:
        shown = talk.timelines[who, "ward"]
        shown[:] = [(msg, key, swapped.get(text, text)) for msg, key, text in shown]


def tell_out_of_order(talk: Evidence, dice: Random) -> None:
    told = talk.told[dice.choice(PEOPLE), "ward"]
    sender = max(PEOPLE, key=lambda who: sum(talk.sent[e.text].who == who for e in told))
    own = [place for place, each in enumerate(told) if talk.sent[each.text].who == sender]
    one, other = sorted(dice.sample(own, 2))
    told[one], told[other] = told[other], told[one]


def change_a_key_at_one_site(talk: Evidence, dice: Random) -> None:
    shown = talk.timelines[dice.choice(PEOPLE), "ward"]
    place = dice.randrange(len(shown))
    msg, key, text = shown[place]
    shown[place] = (msg, key + "5", text)


def change_an_acknowledged_name(talk: Evidence, dice: Random) -> None:
    place = dice.randrange(len(talk.acknowledged))
    each = talk.acknowledged[place]
    talk.acknowledged[place] = Acknowledged(
        each.who, each.group, each.text, "other", each.key, each.at
    )


def invent(talk: Evidence, dice: Random) -> None:
    place = dice.randrange(len(talk.acknowledged))
    for who in PEOPLE:
        shown = talk.timelines[who, "ward"]
        shown.insert(place, ("m", shown[place][1][:-1] + "0", "nobody said this"))


def put_an_answer_before_its_question(talk: Evidence, dice: Random) -> None:
    """Two people's texts change places in all histories, keys stay: only causality sees it."""
    places = [n for n in range(len(talk.acknowledged) - 1)
              if talk.acknowledged[n].who != talk.acknowledged[n + 1].who]  # fmt: skip
    if not places:
        lose_everywhere(talk, dice)
        return
    place = dice.choice(places)
    for who in PEOPLE:
        shown = talk.timelines[who, "ward"]
        one, other = shown[place], shown[place + 1]
        shown[place], shown[place + 1] = (*one[:2], other[2]), (*other[:2], one[2])


def meet_trouble(talk: Evidence, dice: Random) -> None:
    talk.troubles.append(Trouble(dice.choice(PEOPLE), "Gap"))


@pytest.mark.parametrize(
    ("harm", "kinds"),
    [
        (lose_everywhere, {"lost"}),
        (lose_at_one_site, {"lost", "differs"}),
        (lose_a_telling, {"lost"}),
        (lose_a_timeline, {"lost", "differs"}),
        (double_in_the_timeline, {"doubled"}),
        (double_under_another_name_everywhere, {"doubled"}),
        (double_a_telling, {"doubled"}),
        (swap_at_one_site, {"differs", "order"}),
        (swap_two_of_one_sender_everywhere, {"order"}),
        (tell_out_of_order, {"order"}),
        (change_a_key_at_one_site, {"differs", "changed"}),
        (change_an_acknowledged_name, {"changed"}),
        (invent, {"invented"}),
        (put_an_answer_before_its_question, set()),
        (meet_trouble, {"trouble"}),
    ],
)
@given(TALKS, st.integers())
def test_whatever_is_wrong_is_found(
    harm: Callable[[Evidence, Random], None], kinds: set[str], talk: Evidence, seed: int
) -> None:
    harm(talk, Random(seed))
    found = {each.kind for each in findings(talk, MEMBERS)}
    assert found
    assert kinds <= found


def test_a_talk_is_not_settled_before_everybody_was_told_and_is_silent() -> None:
    talks = [sound(["ann", "bob"], []) for _ in range(2)]
    talks[0].silent.discard("bob")
    talks[1].told.clear()
    assert not any(is_settled(talk, MEMBERS) for talk in talks)


def test_records_come_back_as_they_were_written_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "people"
    records: list[Record] = [
        Sent("ann", "ward", "hello", 1.0),
        Silent("ann"),
        Timeline("ann", "ward", []),
    ]
    lines = b"".join(map(histories.encode, records))
    path.write_bytes(lines + histories.encode(Silent("bob"))[:-1])
    assert list(histories.read(path)) == records

"""What moved last is told without gaps, or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.messaging.recent import REMEMBERED, Recent

MOVES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), max_size=40)


@given(moves=MOVES, pos=st.integers(0, 31), most=st.integers(0, 50))
def test_what_it_tells_leaves_nothing_out_whatever_the_order(
    moves: list[tuple[int, int]], pos: int, most: int
) -> None:
    recent = Recent()
    for each in moves:
        recent.note(*each)
    found = recent.since(pos, most)
    assert found is None or found >= {feed for at, feed in moves if at > pos}


def test_only_what_came_after_is_told() -> None:
    recent = Recent()
    for pos in range(1, 11):
        recent.note(pos, pos % 3)
    assert recent.since(8, 3) == {0, 1}
    assert recent.since(10, 1) == set()


def test_it_says_so_when_it_does_not_reach_back() -> None:
    recent = Recent()
    assert recent.since(0, 10) is None
    for pos in range(1, REMEMBERED + 2):
        recent.note(pos, 7)
    assert recent.since(REMEMBERED - 2, 3) is None
    assert recent.since(REMEMBERED - 2, 4) == {7}
    assert recent.since(0, 2 * REMEMBERED) is None

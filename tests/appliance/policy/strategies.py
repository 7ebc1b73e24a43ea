"""Random policies, records and what happens to them, small enough that they meet often."""

from typing import TypeVar

from hypothesis import strategies as st

from appliance.policy.decision import Facts
from appliance.policy.policies import FOREVER, Filing, Standing
from appliance.policy.rules import FIRST_CLASS, Policy, RetentionClass, Rule

UNITS = ("surgery", "trading")
LABELS = ("trial", "study")
ROLES = ("member", "auditor")
CLASSES = (RetentionClass(FIRST_CLASS, "record"), RetentionClass(FIRST_CLASS + 1, "orders"))
KINDS = ("standard", "audit", "record", "orders")

# Few different spans, in seconds, so that they are often equal and often in each other's way.
spans_ms = st.sampled_from([0, 0, 1, 2, 3, 5, 8]).map(lambda seconds: seconds * 1_000)


def maybe(values: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(("", "", "", *values))


rules = st.builds(
    Rule,
    st.just("rule"),
    unit=maybe(UNITS),
    kind=maybe(KINDS),
    label=maybe(LABELS),
    role=maybe(ROLES),
    min_ms=spans_ms,
    max_ms=spans_ms,
    trigger=st.sampled_from(["age", "age", "closed", "case_closed", "never"]),
    action=st.sampled_from(["destroy", "destroy", "hide", "review"]),
    metadata=st.sampled_from(["destroy", "keep"]),
    recall=st.sampled_from(["hide", "destroy"]),
    offline=st.sampled_from(["wait", "escrow"]),
)


def named(found: list[Rule]) -> Policy:
    fields = [{**{f: getattr(r, f) for f in r.__struct_fields__}} for r in found]
    return Policy(
        tuple(Rule(**{**each, "name": f"r{n}"}) for n, each in enumerate(fields)), CLASSES
    )


policies = st.lists(rules, max_size=4).map(named)

filings = st.builds(
    Filing,
    st.sampled_from([1, 2, 16, 17]),
    st.sets(st.sampled_from(LABELS)).map(lambda found: tuple(sorted(found))),
)
standings = st.builds(
    Standing, st.sampled_from(("", *UNITS)), st.frozensets(st.sampled_from(ROLES))
)


Period = TypeVar("Period", Filing, Standing)


def histories(each: st.SearchStrategy[Period]) -> st.SearchStrategy[tuple[Period, ...]]:
    """Build up to three periods that end at ever later positions, the last one never."""

    def build(found: list[Period]) -> tuple[Period, ...]:
        ends = [10 * n for n in range(1, len(found))] + [FOREVER]
        return tuple(one._replace(until=end) for one, end in zip(found, ends, strict=True))

    return st.lists(each, min_size=1, max_size=3).map(build)


times_ms = st.integers(0, 12).map(lambda seconds: seconds * 1_000)

facts = st.builds(
    Facts,
    pos=st.integers(1, 40),
    born_hi_ms=times_ms,
    filings=filings.map(lambda one: (one,)),
    standings=standings.map(lambda one: (one,)),
    closed_ms=st.none() | times_ms,
    case_closed_ms=st.none() | times_ms,
    is_held=st.just(False),
    is_recalled=st.booleans(),
    is_requested=st.booleans(),
    is_user_deleted=st.booleans(),
)

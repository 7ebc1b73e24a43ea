"""Policies as TOML: what is written reads back, and every mistake is told at once, with advice."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.directory.roles import ROLES
from appliance.policy.limits import CLASSES, RULES, TEXT_BYTES
from appliance.policy.presets import PRESETS
from appliance.policy.rules import (
    ACTIONS,
    BUILT_IN,
    CLOCKS,
    METADATA,
    OFFLINES,
    RECALLS,
    TRIGGERS,
    Policy,
    RetentionClass,
    Rule,
    class_numbers,
)
from appliance.policy.text import (
    NOTICE,
    PolicyError,
    dropped_classes,
    read_policy,
    write_policy,
)

SECOND = 1_000
DAY = 86_400_000

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
words = st.text(st.characters(codec="utf-8"), max_size=20).filter(
    lambda text: text.isprintable() and text == text.strip()
)
spans = st.integers(0, 10_000_000).map(lambda seconds: seconds * SECOND)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    own = draw(st.lists(names.filter(lambda name: name not in BUILT_IN), max_size=3, unique=True))
    kinds = st.sampled_from(["", "standard", "audit", *own])
    found = []
    for name in draw(st.lists(names, max_size=4, unique=True)):
        trigger = draw(st.sampled_from(TRIGGERS))
        low, high = sorted((draw(spans), draw(spans)))
        found.append(
            Rule(
                name,
                unit=draw(words),
                kind=draw(kinds),
                label=draw(words),
                role=draw(st.sampled_from(["", *sorted(ROLES)])),
                min_ms=low,
                max_ms=0 if trigger == "never" else high,
                trigger=trigger,
                action=draw(st.sampled_from(ACTIONS)),
                metadata=draw(st.sampled_from(METADATA)),
                recall=draw(st.sampled_from(RECALLS)),
                offline=draw(st.sampled_from(OFFLINES)),
                basis=draw(words),
            )
        )
    numbers = draw(st.lists(st.integers(16, 99), min_size=len(own), max_size=3, unique=True))
    return Policy(
        tuple(found),
        tuple(RetentionClass(*each) for each in zip(numbers, own, strict=False)),
        draw(words),
        draw(st.integers(0, 90)) * DAY,
        draw(st.integers(1, 90)) * DAY,
        draw(st.sampled_from(CLOCKS)),
    )


@given(policies())
def test_what_is_written_reads_back(policy: Policy) -> None:
    assert read_policy(write_policy(policy), class_numbers(policy)) == policy


def test_an_empty_document_is_a_policy_without_rules() -> None:
    assert read_policy("") == Policy((), ())


def test_what_is_not_said_is_as_by_default() -> None:
    assert read_policy('[[rule]]\nname = "a"\n').rules == (Rule("a"),)


def test_a_preset_says_that_it_is_a_starting_point() -> None:
    assert write_policy(PRESETS["clinic"]).startswith(f"# From the preset clinic: {NOTICE}.")
    own = msgspec.structs.replace(PRESETS["clinic"], preset="")
    assert NOTICE not in write_policy(own)


# --- mistakes -------------------------------------------------------------------------------------


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read_policy(text)
    assert str(caught.value) == "; ".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


RULE = '[[rule]]\nname = "ward"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rule", "policy: not TOML: Expected '=' after a key in a key/value pair (at end"),
        ('clocc = "none"', "clocc: unknown key (did you mean clock?)"),
        ('[[rules]]\nname = "a"', "rules: unknown key (did you mean rule?)"),
        ('rule = "a"', "rule: must be tables ([[rule]])"),
        ("class = [1]", "class: must be tables ([[class]])"),
        ("cooling_off = 7", 'cooling_off: must be a text (cooling_off = "...")'),
        ('cooling_off = "91d"', "cooling_off: is longer than 90d"),
        ('approval_expires = "0"', "approval_expires: must be from 1h to 90d"),
        ('approval_expires = "91d"', "approval_expires: must be from 1h to 90d"),
        ('clock = "sistem"', 'clock: cannot be "sistem" (did you mean system?)'),
        ('preset = "' + "a" * 33 + '"', "preset: is longer than 32 characters"),
        ("[[class]]", 'class 1: has no name (name = "...")'),
        ('[[class]]\nname = "a"\nid = "x"', 'class "a", id: unknown key (one of: name)'),
        ('[[class]]\nname = "audit"', 'class "audit": is built in (leave it out)'),
        ("[[class]]\nname = []", "class 1, name: is not allowed (small letters, digits and -"),
        ('[[class]]\nname = "A b"', "class 1, name: is not allowed (small letters, digits and -"),
        ('[[class]]\nname = "' + "a" * 33 + '"', "class 1, name: is not allowed (small letters"),
        ('[[class]]\nname = "a"\n' * 2, 'class "a": stands here more than once'),
        ("[[rule]]", 'rule 1: has no name (name = "...")'),
        ("[[rule]]\nname = 7", "rule 1, name: is not allowed (small letters, digits and -"),
        (RULE * 2, 'rule "ward": stands here more than once (each name is used once)'),
        (RULE + 'maxx = "1d"', 'rule "ward", maxx: unknown key (did you mean max?)'),
        (RULE + 'class = "odrers"', 'class: there is no class "odrers" for rules (one of: audit'),
        (RULE + 'class = "standart"', 'class "standart" for rules (did you mean standard?)'),
        (RULE + 'class = "control"', '"control" for rules (age does not end control operations)'),
        (RULE + 'min = "2d"\nmax = "1d"', "max: is shorter than min (at least 2d, or no max)"),
        (RULE + 'max = "1d"\ntrigger = "never"', "trigger: never comes, so there is no max"),
        (RULE + 'min = "1 d"', 'rule "ward", min: must be "0", or a whole number and one of'),
        (RULE + "min = 1", 'rule "ward", min: must be a text (min = "...")'),
        (RULE + 'action = "destory"', 'action: cannot be "destory" (did you mean destroy?)'),
        (RULE + 'trigger = "closing"', 'trigger: cannot be "closing" (did you mean closed?)'),
        (RULE + 'metadata = ""', 'metadata: cannot be "" (one of: destroy, keep)'),
        (RULE + 'recall = "no"', 'recall: cannot be "no" (one of: destroy, hide)'),
        (RULE + 'offline = "no"', 'offline: cannot be "no" (one of: escrow, wait)'),
        (RULE + 'role = "audit"', 'role: cannot be "audit" (did you mean auditor?)'),
        (RULE + 'unit = "' + "a" * 101 + '"', "unit: is longer than 100 characters"),
        (RULE + 'class = "' + "a" * 101 + '"', "class: is longer than 32 characters"),
        (RULE + 'label = " a"', "label: has spaces around it, or characters that are not shown"),
        (RULE + 'basis = "a\\nb"', "basis: has spaces around it, or characters that are not shown"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_advice(text: str, told: str) -> None:
    (found,) = mistakes(text)
    assert told in found


def test_all_mistakes_are_told_at_once() -> None:
    text = 'clocc = "x"\n[[rule]]\nmin = "x"\n[[rule]]\nname = "b"\naction = "x"\ntriger = "age"\n'
    assert len(mistakes(text)) == 5


def test_a_maximum_may_be_just_the_minimum() -> None:
    assert read_policy(RULE + 'min = "1d"\nmax = "1d"').rules[0].max_ms == DAY


def test_a_maximum_after_closing_may_be_shorter_than_the_minimum() -> None:
    text = RULE + 'min = "6y"\nmax = "30d"\ntrigger = "case_closed"'
    assert read_policy(text).rules[0].max_ms == 30 * DAY


def test_no_policy_is_larger_than_an_operation_can_carry() -> None:
    assert "shorter than" not in mistakes("#" * (TEXT_BYTES + 1))[0]
    many = "".join(f'[[rule]]\nname = "r{n}"\n' for n in range(RULES + 1))
    assert mistakes(many) == [f"rule: at most {RULES}"]
    many = "".join(f'[[class]]\nname = "c{n}"\n' for n in range(CLASSES + 1))
    assert mistakes(many) == [f"class: at most {CLASSES}"]
    wordy = "".join(f'[[rule]]\nname = "r{n}"\nbasis = "{"法" * 200}"\n' for n in range(RULES))
    assert mistakes(wordy) == ["policy: is larger than 49152 bytes (shorten names and bases)"]
    wordier = wordy.replace("basis", f'label = "{"法" * 100}"\nunit = "{"法" * 100}"\nbasis')
    assert mistakes(wordier) == ["policy: is larger than 49152 bytes (shorten names and bases)"]


def test_deep_nesting_is_refused_like_anything_else() -> None:
    assert mistakes("a = " + "[" * 5_000)[0].startswith("policy: not TOML")


tomlish = st.recursive(
    st.sampled_from(['"a"', '"1d"', "1", "true", '""', "1979-05-27", "inf"]),
    lambda inner: st.lists(inner, max_size=2).map(lambda each: f"[{', '.join(each)}]"),
    max_leaves=3,
)
keys = st.sampled_from(["name", "class", "rule", "min", "max", "role", "clock", "x", "trigger"])
heads = st.sampled_from(["[[rule]]", "[[class]]", "[rule]", "[class.x]", ""])
lines = heads | st.tuples(keys, tomlish).map(" = ".join) | st.text(max_size=5)


@given(st.lists(lines, max_size=8).map("\n".join))
def test_whatever_is_read_is_a_policy_or_a_list_of_mistakes(text: str) -> None:
    try:
        policy = read_policy(text)
    except PolicyError:
        return
    assert read_policy(write_policy(policy)) == policy


# --- numbers of classes ---------------------------------------------------------------------------


def document(*classes: str) -> str:
    return "".join(f'[[class]]\nname = "{name}"\n' for name in classes)


def test_classes_are_numbered_from_sixteen_in_order() -> None:
    policy = read_policy(document("record", "orders"))
    assert class_numbers(policy) == {**BUILT_IN, "record": 16, "orders": 17}


def test_a_class_keeps_its_number_and_nobody_gets_one_that_is_gone() -> None:
    known = class_numbers(read_policy(document("record", "orders")))
    later = read_policy(document("inpatients", "orders"), known)
    assert class_numbers(later) == {**BUILT_IN, "inpatients": 18, "orders": 17}
    again = read_policy(document("record"), known | class_numbers(later))
    assert class_numbers(again) == {**BUILT_IN, "record": 16}


def test_a_class_in_use_cannot_be_dropped() -> None:
    policy = read_policy(document("orders"), {"record": 16, "orders": 17})
    assert dropped_classes(policy, {"record": 16, "orders": 17, "standard": 2}) == ["record"]
    assert dropped_classes(policy, {"orders": 17, "audit": 1, "control": 0}) == []

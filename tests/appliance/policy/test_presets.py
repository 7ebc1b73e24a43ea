"""The presets say what the table of regimes says, and that they are starting points."""

import pytest

from appliance.policy.presets import DEFAULT, PRESETS
from appliance.policy.rules import BUILT_IN, class_numbers
from appliance.policy.text import NOTICE, read_policy, write_policy

DAY = 86_400_000
YEAR = 366 * DAY

# Restated here on purpose: a changed number must be changed twice. Class, min, max.
TABLE = {
    "hospital": {
        ("standard", 0, 180 * DAY),
        ("record", 6 * YEAR, 15 * YEAR),
        ("audit", 6 * YEAR, 10 * YEAR),
    },
    "clinic": {("standard", 0, 90 * DAY), ("audit", 6 * YEAR, 10 * YEAR)},
    "broker-dealer": {("standard", 6 * YEAR, 7 * YEAR), ("audit", 6 * YEAR, 7 * YEAR)},
    "bank-eu": {
        ("orders", 5 * YEAR, 7 * YEAR),
        ("standard", 0, YEAR),
        ("audit", 5 * YEAR, 7 * YEAR),
    },
    "cn-mlps3": {("standard", 180 * DAY, 3 * YEAR), ("audit", 180 * DAY, 5 * YEAR)},
    "keep": {("", 0, 0)},
}


def test_these_are_the_presets() -> None:
    assert set(PRESETS) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_keeps_as_long_as_its_regime_asks(name: str) -> None:
    rules = PRESETS[name].rules
    assert {(rule.kind, rule.min_ms, rule.max_ms) for rule in rules} == TABLE[name]
    assert PRESETS[name].preset == name


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_names_its_basis_and_asks_for_counsel(name: str) -> None:
    assert all(rule.basis for rule in PRESETS[name].rules)
    assert NOTICE in write_policy(PRESETS[name])


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_is_a_policy_without_mistakes(name: str) -> None:
    assert read_policy(write_policy(PRESETS[name])) == PRESETS[name]
    kinds = {rule.kind for rule in PRESETS[name].rules}
    assert kinds - {""} <= set(class_numbers(PRESETS[name])) - {"control"}
    assert set(class_numbers(PRESETS[name])) - set(BUILT_IN) <= kinds


def test_a_new_site_ends_nothing_by_age() -> None:
    assert all(rule.max_ms == 0 for rule in PRESETS[DEFAULT].rules)

"""Hold the policies that a site may begin with, each a starting point for its own.

None of them is advice: which law applies, and what it asks, is for the organisation's counsel to
confirm. ``write_policy`` says so at the head of every preset's document.

    preset          class      min     max     basis
    keep            every      -       -       nothing ends: how a new site begins
    hospital        standard   -       180 d   minimisation; records go to class record
                    record     6 y     15 y    HIPAA 164.316, local medical-record rules
                    audit      6 y     10 y    HIPAA 164.316, NEN 7513
    clinic          standard   -       90 d    minimisation
                    audit      6 y     10 y    HIPAA 164.316, NEN 7513
    broker-dealer   standard   6 y     7 y     SEC 17a-4(b), FINRA 4511
                    audit      6 y     7 y     SEC 17a-4(f)
    bank-eu         orders     5 y     7 y     MiFID II art. 16(7)
                    standard   -       1 y     GDPR art. 5(1)(e)
                    audit      5 y     7 y     MiFID II art. 16(7)
    cn-mlps3        standard   180 d   3 y     Cybersecurity Law art. 21, PIPL art. 47
                    audit      180 d   5 y     MLPS level 3
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.policy.durations import parse_duration
from appliance.policy.rules import (
    AUDIT_NAME,
    BUILT_IN,
    FIRST_CLASS,
    STANDARD_NAME,
    Policy,
    RetentionClass,
    Rule,
)

DEFAULT: Final = "keep"
"""What a new site begins with."""

_Row = tuple[str, str, str, str, str]
"""Rule name, class, min, max, basis."""

_TABLE: Final[dict[str, tuple[_Row, ...]]] = {
    "keep": (("everything", "", "0", "0", "No maximum: nothing ends by age."),),
    "hospital": (
        (
            "chat",
            STANDARD_NAME,
            "0",
            "180d",
            "Minimisation; orders and what belongs to the record go to class record.",
        ),
        (
            "record",
            "record",
            "6y",
            "15y",
            "HIPAA 164.316 and local medical-record rules (in China 30 years for inpatients: "
            "make a class of its own).",
        ),
        ("audit", AUDIT_NAME, "6y", "10y", "HIPAA 164.316, NEN 7513."),
    ),
    "clinic": (
        ("chat", STANDARD_NAME, "0", "90d", "Minimisation."),
        ("audit", AUDIT_NAME, "6y", "10y", "HIPAA 164.316, NEN 7513."),
    ),
    "broker-dealer": (
        ("business", STANDARD_NAME, "6y", "7y", "SEC 17a-4(b), FINRA 4511."),
        ("audit", AUDIT_NAME, "6y", "7y", "SEC 17a-4(f)."),
    ),
    "bank-eu": (
        ("orders", "orders", "5y", "7y", "MiFID II art. 16(7)."),
        ("chat", STANDARD_NAME, "0", "1y", "GDPR art. 5(1)(e)."),
        ("audit", AUDIT_NAME, "5y", "7y", "MiFID II art. 16(7)."),
    ),
    "cn-mlps3": (
        ("chat", STANDARD_NAME, "180d", "3y", "Cybersecurity Law art. 21, PIPL art. 47."),
        ("audit", AUDIT_NAME, "180d", "5y", "MLPS level 3."),
    ),
}


def _policy(name: str, rows: tuple[_Row, ...]) -> Policy:
    rules = tuple(
        Rule(
            rule,
            kind=kind,
            min_ms=parse_duration(minimum),
            max_ms=parse_duration(maximum),
            basis=basis,
        )
        for rule, kind, minimum, maximum, basis in rows
    )
    own = [rule.kind for rule in rules if rule.kind and rule.kind not in BUILT_IN]
    classes = tuple(RetentionClass(number, kind) for number, kind in enumerate(own, FIRST_CLASS))
    return Policy(rules, classes, name)


PRESETS: Final[Mapping[str, Policy]] = MappingProxyType(
    {name: _policy(name, rows) for name, rows in _TABLE.items()}
)
"""Every preset by name. Classes of its own are numbered as if no other version had any."""

"""Define retention rules and the policy they make up, as they are stored and signed.

rule field   meaning
name         unique in its policy; shown in plans and certificates
unit         selects what people of this unit wrote; empty: any
kind         selects conversations of this retention class, by name; empty: any
label        selects conversations with this label; empty: any
role         selects what people with this access role wrote; empty: any
min_ms       kept at least so long; 0: no minimum
max_ms       gone after so long; 0: no maximum
trigger      what the age counts from: age, closed, case_closed, or never
action       at the maximum: destroy, hide (versions stay), or review
metadata     with the body goes the envelope (destroy), or it stays (keep)
recall       what a recall leads to once the minimum has passed: hide or destroy
offline      what a branch may do while cut off: escrow or wait
"""

from __future__ import annotations

import msgspec


class Rule(msgspec.Struct, array_like=True, frozen=True):
    """One retention rule; all that it names must match."""

    name: str
    unit: str = ""
    kind: str = ""
    label: str = ""
    role: str = ""
    min_ms: int = 0
    max_ms: int = 0
    trigger: str = "age"
    action: str = "destroy"
    metadata: str = "destroy"
    recall: str = "hide"
    offline: str = "wait"


class RetentionClass(msgspec.Struct, array_like=True, frozen=True):
    """A retention class of conversations: its name and the number that records carry."""

    number: int
    name: str


class Policy(msgspec.Struct, array_like=True, frozen=True):
    """All rules and classes; ``preset`` names where it came from, empty for one's own."""

    rules: tuple[Rule, ...]
    classes: tuple[RetentionClass, ...]
    preset: str = ""

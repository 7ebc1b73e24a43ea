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
offline      what a branch may do while cut off: escrow or wait (this release always waits)
basis        the law or purpose it rests on, in words

A rule that names no class matches the conversations of every class; the trail of privileged acts
(class ``audit``) only matches a rule that names it, so that no general maximum ends the trail.
Operations of class ``control`` match no rule: age does not end them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from store import canonical

TRIGGERS: Final = ("age", "closed", "case_closed", "never")
ACTIONS: Final = ("destroy", "hide", "review")
METADATA: Final = ("destroy", "keep")
RECALLS: Final = ("hide", "destroy")
OFFLINES: Final = ("wait", "escrow")
CLOCKS: Final = ("none", "system", "headquarters")
"""The words that a rule, or a policy, may contain; the first is the default, but for clocks."""

CONTROL_NAME: Final = "control"
AUDIT_NAME: Final = "audit"
STANDARD_NAME: Final = "standard"

BUILT_IN: Final = {CONTROL_NAME: 0, AUDIT_NAME: 1, STANDARD_NAME: 2}
"""Classes that every policy has, by name; ``standard`` is the conversations' default."""

FIRST_CLASS: Final = 16
"""Smallest number of a class that is not built in."""

_HASHED: Final = "strongroom/policy/1"


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
    basis: str = ""


class RetentionClass(msgspec.Struct, array_like=True, frozen=True):
    """A retention class of conversations: its name and the number that records carry."""

    number: int
    name: str


class Policy(msgspec.Struct, array_like=True, frozen=True):
    """All rules and classes; ``preset`` names where it came from, empty for one's own.

    An approved act that destroys waits ``cooling_ms``; a request that nobody approves ends
    after ``expires_ms``. ``clock`` is the trusted time source: none, system or headquarters.
    In the policy file these are ``cooling_off``, ``approval_expires`` and ``clock``.
    """

    rules: tuple[Rule, ...]
    classes: tuple[RetentionClass, ...]
    preset: str = ""
    cooling_ms: int = 86_400_000
    expires_ms: int = 7 * 86_400_000
    clock: str = "system"


def class_numbers(policy: Policy) -> dict[str, int]:
    """Return the numbers of a policy's classes by name, the built-in ones included."""
    return BUILT_IN | {each.name: each.number for each in policy.classes}


def policy_hash(policy: Policy) -> bytes:
    """Return SHA-256 over the policy's canonical bytes; certificates name it.

    The bytes are the canonical array ("strongroom/policy/1", policy in field order).
    """
    return sha256(canonical.encode((_HASHED, msgspec.to_builtins(policy)))).digest()

"""The stored form of a policy: its classes' numbers and its hash."""

from hashlib import sha256
from typing import Any

import msgspec
import pytest

from appliance.policy.rules import (
    BUILT_IN,
    Policy,
    RetentionClass,
    Rule,
    class_numbers,
    policy_hash,
)
from store.vault import AUDIT, CONTROL, STANDARD

POLICY = Policy((Rule("ward", kind="record", min_ms=1_000),), (RetentionClass(16, "record"),))


def test_the_built_in_classes_are_those_of_the_vault() -> None:
    assert BUILT_IN == {"control": CONTROL, "audit": AUDIT, "standard": STANDARD}


def test_a_policy_has_its_own_classes_and_the_built_in_ones() -> None:
    assert class_numbers(POLICY) == {**BUILT_IN, "record": 16}


def test_the_hash_is_over_these_bytes() -> None:
    rule = ["ward", "", "record", "", "", 1_000, 0, "age", "destroy", "destroy", "hide", "wait", ""]
    fields = [[rule], [[16, "record"]], "", 86_400_000, 604_800_000, "system"]
    data = msgspec.msgpack.encode(["strongroom/policy/1", fields])
    assert policy_hash(POLICY) == sha256(data).digest()


CHANGES: dict[str, Any] = {
    "name": "other",
    "unit": "surgery",
    "kind": "standard",
    "label": "trial",
    "role": "member",
    "min_ms": 2_000,
    "max_ms": 9_000,
    "trigger": "closed",
    "action": "hide",
    "metadata": "keep",
    "recall": "destroy",
    "offline": "escrow",
    "basis": "law",
}


@pytest.mark.parametrize("field", Rule.__struct_fields__)
def test_every_field_of_a_rule_counts_in_the_hash(field: str) -> None:
    rule = msgspec.structs.replace(POLICY.rules[0], **{field: CHANGES[field]})
    assert policy_hash(msgspec.structs.replace(POLICY, rules=(rule,))) != policy_hash(POLICY)


def test_a_policy_survives_its_encoding() -> None:
    data = msgspec.msgpack.encode(POLICY)
    assert msgspec.msgpack.decode(data, type=Policy) == POLICY

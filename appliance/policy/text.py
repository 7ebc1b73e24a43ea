"""Read a policy from a TOML document, tell all its mistakes at once, and write it back.

    preset = ""                     # where it came from
    clock = "system"                # trusted time: none, system or headquarters
    cooling_off = "1d"              # from an approval to the act, where the act destroys
    approval_expires = "7d"         # a request that nobody approves ends after so long

    [[class]]                       # a retention class of conversations, beside the built-in
    name = "record"                 # "standard" (the default) and "audit" (the trail)

    [[rule]]
    name = "ward"                   # unique; shown in plans and certificates
    class = "record"                # selectors: empty or left out means any; all must match
    unit = ""                       # the author's unit
    label = ""                      # a label of the conversation
    role = ""                       # an access role of the author
    min = "6y"                      # kept at least so long; "0": no minimum
    max = "15y"                     # ended after so long; "0": no maximum
    trigger = "age"                 # what max counts from: age, closed, case_closed or never
    action = "destroy"              # at the maximum: destroy, hide or review
    metadata = "destroy"            # who, when and where: goes with the content, or keep
    recall = "hide"                 # once the minimum has passed: hide or destroy
    offline = "wait"                # while a branch is cut off: wait or escrow (not built yet)
    basis = "HIPAA 164.316"         # the law or purpose it rests on

Durations are as in ``appliance.policy.durations``. The document names classes; their numbers are
given here and never change: a known name keeps its number, a new one gets the next free from 16.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from appliance.directory.roles import ROLES
from appliance.policy.durations import DurationError, parse_duration, print_duration
from appliance.policy.limits import (
    BASIS_CHARACTERS,
    CLASSES,
    COOLING_MS_MAX,
    EXPIRES_MS_MAX,
    EXPIRES_MS_MIN,
    NAME_CHARACTERS,
    POLICY_BYTES,
    RULES,
    SELECTOR_CHARACTERS,
    TEXT_BYTES,
)
from appliance.policy.rules import (
    ACTIONS,
    AUDIT_NAME,
    BUILT_IN,
    CLOCKS,
    CONTROL_NAME,
    FIRST_CLASS,
    METADATA,
    OFFLINES,
    RECALLS,
    STANDARD_NAME,
    TRIGGERS,
    Policy,
    RetentionClass,
    Rule,
)
from appliance.problems import Problem, ProblemsError
from store import canonical
from store.errors import LimitError

NOTICE: Final = "a starting point, to be confirmed by counsel"
"""What every preset says of itself."""

WHERE: Final = "policy"
"""Where a mistake of the whole document stands."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_NAME_HINT: Final = f"small letters, digits and -, at most {NAME_CHARACTERS}"

_FIELDS: Final = {
    "name": "name",
    "class": "kind",
    "unit": "unit",
    "label": "label",
    "role": "role",
    "min": "min_ms",
    "max": "max_ms",
    "trigger": "trigger",
    "action": "action",
    "metadata": "metadata",
    "recall": "recall",
    "offline": "offline",
    "basis": "basis",
}
"""Keys of a rule in the document, in its order, and the fields they set."""

_DURATIONS: Final = frozenset(("min", "max", "cooling_off", "approval_expires"))
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "role": tuple(sorted(ROLES)),
    "trigger": TRIGGERS,
    "action": ACTIONS,
    "metadata": METADATA,
    "recall": RECALLS,
    "offline": OFFLINES,
    "clock": CLOCKS,
}
_LENGTHS: Final = {
    "unit": SELECTOR_CHARACTERS,
    "label": SELECTOR_CHARACTERS,
    "basis": BASIS_CHARACTERS,
    "preset": NAME_CHARACTERS,
}
_TOP: Final = {
    "preset": "preset",
    "clock": "clock",
    "cooling_off": "cooling_ms",
    "approval_expires": "expires_ms",
}
"""Keys of the document itself, and the fields they set."""

_DEFAULT_RULE: Final = Rule("")
_DEFAULT_POLICY: Final = Policy((), ())


class PolicyError(ProblemsError):
    """A document is no policy."""

    code: ClassVar[str] = "policy.invalid"
    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = "`strongroom policy show` prints a policy that is right."


def read_policy(text: str, known: Mapping[str, int] = BUILT_IN) -> Policy:
    """Read a document.

    Args:
        text: the TOML document.
        known: the number of every class that any version had (``Policies.class_numbers``).

    Raises:
        PolicyError: with every mistake found.
    """
    return _Reading(known).policy(text)


def write_policy(policy: Policy) -> str:
    """Return the document of a policy; reading it gives the policy again."""
    lines = []
    if policy.preset:
        lines += [f"# From the preset {policy.preset}: {NOTICE}."]
    lines += _written(_TOP, policy, _DEFAULT_POLICY, ("clock", "cooling_off", "approval_expires"))
    for each in policy.classes:
        lines += ["", "[[class]]", f"name = {_quoted(each.name)}"]
    for rule in policy.rules:
        lines += ["", "[[rule]]", *_written(_FIELDS, rule, _DEFAULT_RULE, ("name", "min", "max"))]
    return "\n".join(lines) + "\n"


def dropped_classes(policy: Policy, in_use: Mapping[str, int]) -> list[str]:
    """Return the classes in use that a policy lacks: it may not be set while there is any.

    ``in_use`` are the names and numbers of classes that a conversation or record has.
    """
    has = {each.number for each in policy.classes} | set(BUILT_IN.values())
    return sorted(name for name, number in in_use.items() if number not in has)


class _Reading:
    """One reading of a document; ``problems`` grows while it goes on."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self.known = BUILT_IN | dict(known)
        self.problems: list[Problem] = []

    def policy(self, text: str) -> Policy:
        document = self._document(text)
        top = {key: value for key, value in document.items() if key not in ("class", "rule")}
        self._unknown("", top, [*_TOP, "class", "rule"])
        fields = self._values("", top, _TOP)
        classes = self._classes(self._tables("class", document, CLASSES))
        allowed = {STANDARD_NAME, AUDIT_NAME, *(each.name for each in classes)}
        tables = self._tables("rule", document, RULES)
        rules = [self._rule(number, table, allowed) for number, table in enumerate(tables, 1)]
        self._repeated("rule", [rule.name for rule in rules])
        policy = Policy(tuple(rules), classes, **fields)
        self._limits(policy)
        if self.problems:
            raise PolicyError(self.problems)
        return policy

    def _document(self, text: str) -> dict[str, Any]:
        if len(text.encode("utf-8", "replace")) > TEXT_BYTES:
            raise PolicyError([Problem(WHERE, f"is larger than {TEXT_BYTES} bytes")])
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError([Problem(WHERE, f"not TOML: {error}")]) from None
        except RecursionError:
            raise PolicyError([Problem(WHERE, "not TOML: nested too deeply")]) from None

    def _tables(self, key: str, document: dict[str, Any], limit: int) -> list[dict[str, Any]]:
        """Return the tables of a key; of something else, none."""
        found = document.get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self._add(key, "must be tables", f"[[{key}]]")
            return []
        if len(found) > limit:
            self._add(key, f"at most {limit}")
        return found[:limit]

    # --- classes --------------------------------------------------------------------------------

    def _classes(self, tables: list[dict[str, Any]]) -> tuple[RetentionClass, ...]:
        names: list[str] = []
        for number, table in enumerate(tables, 1):
            where = self._named("class", number, table)
            self._unknown(where, table, ["name"])
            name = table.get("name")
            if not self._is_name(where, name):
                continue
            if name in BUILT_IN:
                self._add(where, "is built in", "leave it out")
            else:
                names.append(str(name))
        self._repeated("class", names)
        return self._numbered(names)

    def _numbered(self, names: Iterable[str]) -> tuple[RetentionClass, ...]:
        """Give each name its number: the one it always had, or the next that nobody had."""
        following = max(FIRST_CLASS, 1 + max(self.known.values()))
        found = []
        for name in dict.fromkeys(names):
            number = self.known.get(name)
            if number is None:
                number, following = following, following + 1
            found.append(RetentionClass(number, name))
        return tuple(found)

    # --- rules ----------------------------------------------------------------------------------

    def _rule(self, number: int, table: dict[str, Any], allowed: set[str]) -> Rule:
        where = self._named("rule", number, table)
        self._unknown(where, table, list(_FIELDS))
        if self._is_name(where, table.get("name")):
            fields = self._values(where, table, _FIELDS)
        else:
            fields = self._values(where, {**table, "name": ""}, _FIELDS)
        rule = Rule(**{"name": "", **fields})
        if rule.kind and rule.kind not in allowed:
            is_control = rule.kind == CONTROL_NAME
            hint = (
                "age does not end control operations" if is_control else _near(rule.kind, allowed)
            )
            self._add(f"{where}, class", f'there is no class "{rule.kind}" for rules', hint)
        if rule.trigger == "never" and rule.max_ms:
            self._add(f"{where}, trigger", "never comes, so there is no max", 'max = "0"')
        elif rule.trigger == "age" and 0 < rule.max_ms < rule.min_ms:
            longer = print_duration(rule.min_ms)
            self._add(f"{where}, max", "is shorter than min", f"at least {longer}, or no max")
        return rule

    def _values(
        self, where: str, table: Mapping[str, Any], fields: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the fields that a table sets right; what is wrong keeps its default."""
        found = {}
        for key, field in fields.items():
            if key not in table:
                continue
            value = self._value(f"{where}, {key}" if where else key, key, table[key])
            if value is not None:
                found[field] = value
        return found

    def _value(self, where: str, key: str, value: Any) -> str | int | None:
        if not isinstance(value, str):
            self._add(where, "must be a text", f'{key} = "..."')
        elif key in _DURATIONS:
            return self._duration(where, value)
        elif key in _WORDS and value not in _WORDS[key] and (value or key != "role"):
            wrong = value[:NAME_CHARACTERS]
            self._add(where, f'cannot be "{wrong}"', _near(value, _WORDS[key]))
        elif len(value) > _LENGTHS.get(key, NAME_CHARACTERS):
            self._add(where, f"is longer than {_LENGTHS.get(key, NAME_CHARACTERS)} characters")
        elif not value.isprintable() or value != value.strip():
            self._add(where, "has spaces around it, or characters that are not shown")
        else:
            return value
        return None

    def _duration(self, where: str, value: str) -> int | None:
        try:
            return parse_duration(value)
        except DurationError as error:
            self._add(where, str(error))
        return None

    # --- all --------------------------------------------------------------------------------------

    def _limits(self, policy: Policy) -> None:
        if policy.cooling_ms > COOLING_MS_MAX:
            self._add("cooling_off", f"is longer than {print_duration(COOLING_MS_MAX)}")
        if not EXPIRES_MS_MIN <= policy.expires_ms <= EXPIRES_MS_MAX:
            low, high = print_duration(EXPIRES_MS_MIN), print_duration(EXPIRES_MS_MAX)
            self._add("approval_expires", f"must be from {low} to {high}")
        if self.problems:
            return
        try:
            size = len(canonical.encode(msgspec.to_builtins(policy)))
        except LimitError:
            size = POLICY_BYTES + 1
        if size > POLICY_BYTES:
            self._add(WHERE, f"is larger than {POLICY_BYTES} bytes", "shorten names and bases")

    def _named(self, key: str, number: int, table: Mapping[str, Any]) -> str:
        """Return how a table is called in messages: by its name, or by its place."""
        name = table.get("name")
        return f'{key} "{name}"' if _is_name(name) else f"{key} {number}"

    def _is_name(self, where: str, name: object) -> bool:
        if name is None:
            self._add(where, "has no name", 'name = "..."')
        elif not _is_name(name):
            self._add(f"{where}, name", "is not allowed", _NAME_HINT)
        return _is_name(name)

    def _repeated(self, key: str, names: list[str]) -> None:
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            self._add(f'{key} "{name}"', "stands here more than once", "each name is used once")

    def _unknown(self, where: str, table: Mapping[str, Any], allowed: list[str]) -> None:
        for key in table:
            if key not in allowed:
                at = f"{where}, {key}" if where else key
                self._add(at[: 4 * NAME_CHARACTERS], "unknown key", _near(key, allowed))

    def _add(self, where: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(where, what, hint))


def _written(
    fields: Mapping[str, str], of: Policy | Rule, default: Policy | Rule, always: tuple[str, ...]
) -> Iterator[str]:
    """Yield the lines of what is not as by default, and of the keys that always stand there."""
    for key, field in fields.items():
        value = getattr(of, field)
        if key in always or value != getattr(default, field):
            text = print_duration(value) if key in _DURATIONS else value
            yield f"{key} = {_quoted(text)}"


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are TOML's too."""
    return json.dumps(text, ensure_ascii=False)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= NAME_CHARACTERS and bool(_NAME.fullmatch(name))


def _near(word: str, known: Iterable[str]) -> str:
    words = sorted(known)
    near = difflib.get_close_matches(word[: 4 * NAME_CHARACTERS], words, 1, 0.6)
    return f"did you mean {near[0]}?" if near else "one of: " + ", ".join(words)

"""Verification: a good export passes; a flipped bit, a dropped version, a missing end do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance.evidence import lines
from appliance.evidence.cursors import Tally
from appliance.evidence.limits import PROBLEMS
from appliance.evidence.proofs import Problem, Verdict, verify_export
from store.ids import OpId
from tests.appliance.evidence.archive import Archive
from transports.wire import schema
from transports.wire.schema import Id


class Exported:
    """An export with every kind of line, and the key that an auditor has."""

    def __init__(self) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            house = Archive(monkeypatch, "alice", "bob", "carol")
            ward, pair = house.group("alice", "bob", title="Ward 3"), house.direct("bob", "carol")
            msg = house.say("alice", ward, "one").msg
            assert msg is not None
            for text in ("two", "three"):
                edit = schema.Edit(1, house.number("alice"), msg, schema.Body("text", text))
                house.by("alice", edit)
            house.by("bob", schema.React(1, house.number("bob"), msg, "+", True))
            house.by("alice", schema.Recall(1, house.number("alice"), msg))
            house.say("bob", ward, "plain")
            gone = house.say("bob", pair, "gone").msg
            assert gone is not None
            house.say("carol", pair, "not gone")
            house.change("alice", ward, "add", person=Id(house.person("carol")))
            house.say("carol", ward, "late")
            house.close_segments()
            house.say("carol", ward, "pending")
            house.destroy(gone)
            house.approve(from_ms=1)
            self.lines = house.export(reason="complaint 12")
            self.key = house.site_key
            self.sign = house.site.core.sign

    def verify(self, changed: list[bytes] | None = None) -> Verdict:
        return verify_export(self.lines if changed is None else changed, self.key)

    def reforge(self, changed: list[bytes]) -> list[bytes]:
        """Recompute hashes and counts, as somebody who changes an export can; not the signature."""
        chain, tally = lines.CHAIN_START, Tally()
        for data in changed[:-1]:
            chain = lines.chain(chain, data)
            line = lines.decode(data)
            if isinstance(line, lines.Record):
                each = (*line.versions, *line.events)
                tally = Tally(
                    tally.records + 1,
                    tally.destroyed,
                    tally.operations + len(each),
                    tally.pending + sum(op.proof.is_pending for op in each),
                )
            elif isinstance(line, lines.Destroyed):
                tally = tally._replace(destroyed=tally.destroyed + 1)
        end = lines.decode(changed[-1])
        assert isinstance(end, lines.End)
        return [*changed[:-1], lines.encode(lines.End(*tally, chain.hex(), end.signature))]

    def resign(self, changed: list[bytes]) -> list[bytes]:
        """Also make the signature, as the site itself could."""
        *rest, last = self.reforge(changed)
        header, end = lines.decode(changed[0]), lines.decode(last)
        assert isinstance(header, lines.Header)
        assert isinstance(end, lines.End)
        signature = self.sign(lines.end_bytes(end, bytes.fromhex(header.node)))
        return [*rest, lines.encode(msgspec.structs.replace(end, signature=signature))]

    def place(self, kind: type[lines.Line], number: int = 0) -> int:
        places = [at for at, data in enumerate(self.lines) if isinstance(lines.decode(data), kind)]
        return places[number]


@pytest.fixture(scope="module")
def exported() -> Exported:
    return Exported()


def test_a_good_export_passes(exported: Exported) -> None:
    verdict = exported.verify()
    assert (verdict.findings, verdict.problems, verdict.is_good) == ((), 0, True)
    assert verdict.tally == (5, 1, 9, 1)


def test_it_passes_with_the_right_key_only(exported: Exported) -> None:
    for key in (bytes(SigningKey(b"o" * 32).verify_key), b"", b"short"):
        verdict = verify_export(exported.lines, key)
        assert {each.problem for each in verdict.findings} >= {Problem.HEADER, Problem.SIGNATURE}


@settings(max_examples=150)
@given(st.data())
def test_any_flipped_bit_is_found(exported: Exported, data: st.DataObject) -> None:
    changed = list(exported.lines)
    at = data.draw(st.integers(0, len(changed) - 1))
    raw = bytearray(changed[at])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed[at] = bytes(raw)
    assert not exported.verify(changed).is_good


@given(st.data())
def test_any_dropped_repeated_or_moved_line_is_found(
    exported: Exported, data: st.DataObject
) -> None:
    changed = list(exported.lines)
    at = data.draw(st.integers(0, len(changed) - 1))
    line = changed.pop(at)
    assert not exported.verify(changed).is_good
    changed.insert(data.draw(st.integers(0, len(changed)).filter(lambda to: to != at)), line)
    assert not exported.verify(changed).is_good
    assert not exported.verify([*exported.lines[:at], line, *exported.lines[at:]]).is_good


def test_an_export_that_was_cut_short_is_found(exported: Exported) -> None:
    for size in range(len(exported.lines)):
        verdict = exported.verify(exported.lines[:size])
        assert Problem.TRUNCATED in {each.problem for each in verdict.findings}


def change(exported: Exported, kind: type[lines.Line], edit: Any, number: int = 0) -> list[bytes]:
    changed = list(exported.lines)
    at = exported.place(kind, number)
    changed[at] = lines.encode(edit(lines.decode(changed[at])))
    return changed


def without_version(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, versions=record.versions[:1] + record.versions[2:])


def first_with_versions(exported: Exported) -> int:
    for number in range(5):
        record = lines.decode(exported.lines[exported.place(lines.Record, number)])
        assert isinstance(record, lines.Record)
        if len(record.versions) == 3:
            return number
    raise AssertionError


def test_a_dropped_version_is_found_even_if_everything_else_was_recomputed(
    exported: Exported,
) -> None:
    number = first_with_versions(exported)
    changed = change(exported, lines.Record, without_version, number)
    verdict = exported.verify(exported.reforge(changed))
    assert [each.problem for each in verdict.findings] == [Problem.SIGNATURE]


def edited_content(record: lines.Record) -> lines.Record:
    first = record.versions[0]
    content = {**(first.content or {}), "text": "never said"}
    forged = msgspec.structs.replace(first, content=content)
    return msgspec.structs.replace(record, versions=(forged, *record.versions[1:]))


def other_author(record: lines.Record) -> lines.Record:
    first = record.versions[0]
    by = lines.Named("00" * 16, "mallory", "Mallory")
    forged = msgspec.structs.replace(first, by=by)
    return msgspec.structs.replace(record, versions=(forged, *record.versions[1:]))


def swapped_versions(record: lines.Record) -> lines.Record:
    one, two, three = record.versions
    return msgspec.structs.replace(record, versions=(one, three, two))


def repeated_version(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, versions=(*record.versions, record.versions[-1]))


def said_not_recalled(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, state=lines.PRESENT)


def no_versions(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, versions=())


def events_as_versions(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, versions=(*record.versions, *record.events), events=())


def other_time(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, at=record.at + 1)


def other_context(record: lines.Record) -> lines.Record:
    return msgspec.structs.replace(record, context="00" * 32)


def broken_opening(record: lines.Record) -> lines.Record:
    first = record.versions[0]
    proof = msgspec.structs.replace(first.proof, salt=b"s" * 16)
    forged = msgspec.structs.replace(first, proof=proof)
    return msgspec.structs.replace(record, versions=(forged, *record.versions[1:]))


def no_statement(record: lines.Record) -> lines.Record:
    first = record.versions[0]
    proof = msgspec.structs.replace(first.proof, statement=b"")
    forged = msgspec.structs.replace(first, proof=proof)
    return msgspec.structs.replace(record, versions=(forged, *record.versions[1:]))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (edited_content, Problem.CONTENT),
        (other_author, Problem.CONTENT),
        (swapped_versions, Problem.HISTORY),
        (repeated_version, Problem.HISTORY),
        (said_not_recalled, Problem.HISTORY),
        (no_versions, Problem.HISTORY),
        (events_as_versions, Problem.HISTORY),
        (other_time, Problem.HISTORY),
        (other_context, Problem.CONTEXT),
        (broken_opening, Problem.OPENING),
        (no_statement, Problem.SEGMENT),
    ],
)
def test_a_forged_record_is_found_although_the_site_has_signed_it(
    exported: Exported, edit: Any, problem: Problem
) -> None:
    changed = change(exported, lines.Record, edit, first_with_versions(exported))
    found = {each.problem for each in exported.verify(exported.resign(changed)).findings}
    assert found == {problem}


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        (lines.Header, {"schema": "strongroom.export/2"}, Problem.HEADER),
        (lines.Header, {"sites": ()}, Problem.HEADER),
        (lines.Header, {"node": "00" * 16}, Problem.HEADER),
        (lines.Conversation, {"title": "Other"}, Problem.CONTEXT),
        (lines.Destroyed, {"id": "00" * 32}, Problem.CONTENT),
        (lines.Destroyed, {"skeleton": b""}, Problem.CONTENT),
    ],
)
def test_a_forged_line_is_found_although_the_site_has_signed_it(
    exported: Exported, kind: type[lines.Line], fields: dict[str, Any], problem: Problem
) -> None:
    changed = change(exported, kind, lambda line: msgspec.structs.replace(line, **fields))
    found = {each.problem for each in exported.verify(exported.resign(changed)).findings}
    assert problem in found


def test_counts_and_hash_are_checked_on_their_own(exported: Exported) -> None:
    end = lines.decode(exported.lines[-1])
    for fields, problem in (({"records": 9}, Problem.COUNTS), ({"digest": ""}, Problem.DIGEST)):
        forged = [*exported.lines[:-1], lines.encode(msgspec.structs.replace(end, **fields))]
        found = {each.problem for each in exported.verify(forged).findings}
        assert found == {problem, Problem.SIGNATURE}


def test_what_stands_out_of_order_is_found(exported: Exported) -> None:
    header, end = exported.lines[0], exported.lines[-1]
    for changed in ([header, *exported.lines], [*exported.lines, end], exported.lines[1:]):
        found = {each.problem for each in exported.verify(changed).findings}
        assert Problem.ORDER in found


def test_a_context_serves_its_own_conversation_only(exported: Exported) -> None:
    record = lines.decode(exported.lines[exported.place(lines.Record)])
    assert isinstance(record, lines.Record)
    moved = msgspec.structs.replace(record, conversation="00" * 16)
    changed = list(exported.lines)
    changed[exported.place(lines.Record)] = lines.encode(moved)
    found = {each.problem for each in exported.verify(exported.resign(changed)).findings}
    assert found == {Problem.CONTEXT, Problem.HISTORY}


def test_findings_are_bounded(exported: Exported) -> None:
    verdict = exported.verify([b"{}"] * 1_000)
    assert (len(verdict.findings), verdict.problems) == (PROBLEMS, 1_001)


def test_a_statement_of_an_unknown_site_counts_for_nothing(exported: Exported) -> None:
    header = lines.decode(exported.lines[0])
    assert isinstance(header, lines.Header)
    mallory = bytes(SigningKey(b"m" * 32).verify_key).hex()
    forged = msgspec.structs.replace(
        header, sites=(lines.SiteKey(OpId(b"x" * 16, 1, 1).node.hex(), mallory), *header.sites)
    )
    changed = [lines.encode(forged), *exported.lines[1:]]
    found = {each.problem for each in exported.verify(exported.resign(changed)).findings}
    assert found == {Problem.HEADER}

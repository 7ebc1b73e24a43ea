"""docs/protocol.md says of frames, limits, close codes and errors what the code says."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from typing import Any, get_args, get_origin

import msgspec
import pytest

from tests.docs.generate import shown
from tests.docs.markdown import ROOT, Section, codes, sections, under
from transports.carrier import CloseReason
from transports.quic.connection import LENGTH_BYTES
from transports.wire import schema
from transports.wire.codec import ALPN, MSGPACK, SUBPROTOCOLS
from transports.wire.errors import CATALOGUE

PAGE = sections(ROOT / "docs" / "protocol.md")
ONE = {each.path: each for each in PAGE}

CLIENT = {kind.__struct_config__.tag: kind for kind in get_args(schema.ClientFrame)}
SERVER = {kind.__struct_config__.tag: kind for kind in get_args(schema.ServerFrame)}
EVENTS = {kind.__struct_config__.tag: kind for kind in get_args(schema.Occurrence)}
PARTS: dict[str, type[msgspec.Struct]] = {
    "body": schema.Body,
    "device info": schema.DeviceInfo,
    "announced limits": schema.Limits,
    "history item": schema.HistoryItem,
    "reaction": schema.Reaction,
    "member": schema.Member,
    "conversation item": schema.ConversationItem,
    "person item": schema.PersonItem,
    "device item": schema.DeviceItem,
    "duty item": schema.DutyItem,
}
CHAPTERS: dict[str, dict[str, type[msgspec.Struct]]] = {
    "Frames to the server": CLIENT,
    "Frames to the client": SERVER,
    "Events": EVENTS,
    "Parts": PARTS,
}
CASES = [(chapter, name) for chapter, kinds in CHAPTERS.items() for name in kinds]

NAMES = {int: "integer", float: "number", str: "text", bool: "boolean", schema.Id: "id"}
NAMES |= {kind: name for name, kind in PARTS.items()}
COMMON = {each.name for each in msgspec.structs.fields(schema.Occurred)}

# Where codes are raised that sessions can meet, and where others.
ROOMS_OF_SESSIONS = (
    "appliance/gateway",
    "appliance/messaging",
    "appliance/directory",
    "appliance/disposal",
    "appliance/sites/authority.py",
)
ELSEWHERE = "Only where administrators"
LATER = "Kept for later"


def chapter(title: str) -> dict[str, Section]:
    """Return a chapter's own sections by name."""
    found = [each for each in under(PAGE, title) if each.level == 3]
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def rows(section: Section, *columns: str) -> list[dict[str, str]]:
    """Return the rows of the section's table that begins with these columns."""
    tables = [table for table in section.tables() if [*table[0]][: len(columns)] == [*columns]]
    return tables[0] if tables else []


def type_name(kind: Any) -> str:
    """Return how the page calls a field's type."""
    if kind in NAMES:
        return NAMES[kind]
    if kind == schema.Occurrence:
        return "occurrence"
    arguments = [each for each in get_args(kind) if each not in (type(None), Ellipsis)]
    if get_origin(kind) is tuple:
        return f"list of {'item' if arguments == [Any] else type_name(arguments[0])}"
    assert len(arguments) == 1, kind
    return type_name(arguments[0])


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """Return how the page writes a field's default."""
    if field.required:
        return "required"
    if field.default is None:
        return "absent"
    value = field.default
    if isinstance(value, msgspec.Struct):
        return "`{}`"
    return f"`{json.dumps(value.decode() if isinstance(value, bytes) else value)}`"


def told_fields(section: Section) -> list[tuple[str, str, str]]:
    return [(codes(row["field"])[0], row["type"], row["default"]) for row in rows(section, "field")]


def real_fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, str]]:
    common = COMMON if issubclass(kind, schema.Occurred) else set()
    return [
        (field.encode_name, type_name(field.type), default_text(field))
        for field in msgspec.structs.fields(kind)
        if field.name not in common
    ]


@pytest.mark.parametrize("title", CHAPTERS)
def test_a_chapter_has_a_section_for_each_type_and_no_other(title: str) -> None:
    assert set(chapter(title)) == set(CHAPTERS[title])


@pytest.mark.parametrize(("title", "name"), CASES)
def test_a_section_tells_each_field_with_type_and_default(title: str, name: str) -> None:
    told = told_fields(chapter(title)[name])
    assert sorted(told) == sorted(real_fields(CHAPTERS[title][name]))


def test_what_all_events_have_is_told_once() -> None:
    (events,) = [each for each in PAGE if each.name == "Events"]
    fields = msgspec.structs.fields(schema.Occurred)
    told = [(name, kind) for name, kind, _ in told_fields(events)]
    assert told == [(field.encode_name, type_name(field.type)) for field in fields]


def test_no_type_of_the_schema_is_forgotten() -> None:
    named = {kind for kinds in CHAPTERS.values() for kind in kinds.values()}
    bases = {schema.Frame, schema.Occurred}
    structs = {
        kind
        for _, kind in inspect.getmembers(schema, inspect.isclass)
        if issubclass(kind, msgspec.Struct) and kind.__module__ == schema.__name__
    }
    assert structs - bases == named


# --- replies and errors -------------------------------------------------------------------------


def line(section: Section, begin: str) -> str:
    (found,) = [each for each in section.lines if each.startswith(begin)]
    return found


def paragraph(section: Section, begin: str) -> str:
    (found,) = [part for part in section.text.split("\n\n") if part.startswith(begin)]
    return found


@pytest.mark.parametrize("name", CLIENT)
def test_each_frame_tells_its_reply_and_its_errors(name: str) -> None:
    section = chapter("Frames to the server")[name]
    reply, errors = line(section, "Reply: "), line(section, "Errors: ")
    assert reply.startswith("Reply: none") or codes(reply)[0] in SERVER
    assert errors == "Errors: none" or set(codes(errors)) <= CATALOGUE.keys()
    has_request = "id" in CLIENT[name].__struct_fields__
    assert reply.startswith("Reply: none") is not has_request or name == "auth"


def told_codes() -> dict[str, set[str]]:
    """Return the codes that sessions meet, those met elsewhere, and those kept for later."""
    (section,) = [each for each in PAGE if each.name == "Errors"]
    frames = chapter("Frames to the server").values()
    sessions = {code for frame in frames for code in codes(line(frame, "Errors: "))}
    sessions |= set(codes(line(section, "Any frame may get")))
    sessions |= set(codes(line(section, "Any command may also get")))
    return {
        "sessions": sessions,
        "elsewhere": set(codes(paragraph(section, ELSEWHERE))),
        "later": set(codes(paragraph(section, LATER))),
    }


def test_every_code_of_the_catalogue_is_told_once_and_no_other() -> None:
    told = told_codes()
    assert set.union(*told.values()) == set(CATALOGUE)
    assert sum(map(len, told.values())) == len(CATALOGUE)


def raised_codes(place: str) -> set[str]:
    """Return the codes that a file or folder mentions as text."""
    root = ROOT / place
    found: set[str] = set()
    for path in [root] if root.is_file() else root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value in CATALOGUE:
                found.add(str(node.value))
    return found


def test_the_rooms_of_sessions_raise_what_is_told_of_them() -> None:
    told = told_codes()
    raised = set().union(*map(raised_codes, ROOMS_OF_SESSIONS)) | raised_codes(
        "transports/wire/codec.py"
    )
    raised |= raised_codes("appliance/positions.py")
    assert told["sessions"] - raised == set()
    assert raised - told["sessions"] - told["elsewhere"] == set()


@pytest.mark.parametrize("room", ["appliance/gateway", "appliance/positions.py"])
def test_what_the_gateway_answers_with_is_told_of_sessions(room: str) -> None:
    assert raised_codes(room) - told_codes()["sessions"] == set()


# --- limits, close codes, carriers --------------------------------------------------------------


def limit_rows() -> list[dict[str, str]]:
    (section,) = [each for each in PAGE if each.path == ("The session protocol", "Limits")]
    return rows(section, "limit", "value")


def value_of(place: str) -> Any:
    """Return the number at a dotted place: a constant, or a field's default."""
    parts = place.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            found = _default(found, name)
        return found
    raise AssertionError(place)


def _default(owner: Any, name: str) -> Any:
    if isinstance(owner, type) and issubclass(owner, msgspec.Struct):
        (field,) = [each for each in msgspec.structs.fields(owner) if each.name == name]
        return field.default
    if isinstance(owner, type):
        return owner.__dataclass_fields__[name].default  # type: ignore[attr-defined]  # a dataclass
    return getattr(owner, name)


@pytest.mark.parametrize("row", limit_rows(), ids=lambda row: row["limit"])
def test_a_limit_is_what_the_code_says(row: dict[str, str]) -> None:
    assert row["value"] == shown(value_of(codes(row["in the code"])[0]))


def test_every_announced_limit_is_told() -> None:
    announced = {name for row in limit_rows() for name in codes(row["announced"])}
    assert announced == set(schema.Limits.__struct_fields__)


def test_limits_of_fields_are_those_of_the_table() -> None:
    known = {row["value"] for row in limit_rows()}
    told = [
        row["limit"]
        for section in chapter("Frames to the server").values()
        for row in rows(section, "field")
    ]
    numbers = {number for text in told for number in re.findall(r"\d[\d,]+", text)}
    assert numbers
    assert numbers - known == set()


def test_every_close_code_is_told() -> None:
    (section,) = [each for each in PAGE if each.name == "Close codes"]
    told = {int(row["code"]): row["name"] for row in rows(section, "code", "name")}
    assert told == {
        reason.value: reason.name.lower().replace("_", " ") for reason in CloseReason
    } | {CloseReason.TOO_BIG.value: "too big"}


def test_the_carriers_are_told_by_their_names() -> None:
    carriers = " ".join(each.text for each in under(PAGE, "Carriers"))
    (websocket,) = [each for each in PAGE if each.name == "WebSocket"]
    assert {codes(row["subprotocol"])[0] for row in rows(websocket, "subprotocol")} == set(
        SUBPROTOCOLS
    )
    assert f"`{ALPN}`" in carriers


def test_the_example_of_a_payload_on_quic_is_one() -> None:
    (quic,) = [each for each in PAGE if each.name == "QUIC"]
    (example,) = [fence for fence in quic.fences if fence.language == "hex"]
    data = bytes.fromhex("".join(example.lines))
    length = int.from_bytes(data[:LENGTH_BYTES], "big")
    assert MSGPACK.client.decode(data[LENGTH_BYTES:]) == [schema.Ping(1)]
    assert length == len(data) - LENGTH_BYTES


def test_a_field_that_is_told_wrongly_is_found() -> None:
    lines = ["| field | type | default |", "|---|---|---|", "| `v` | text | required |"]
    assert told_fields(Section(3, "`hello`", (), lines)) != real_fields(schema.Hello)[:1]
    assert (
        told_fields(Section(3, "`hello`", (), [*lines[:2], "| `v` | integer | required |"]))
        == (real_fields(schema.Hello)[:1])
    )

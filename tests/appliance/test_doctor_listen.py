"""A certificate is judged as clients judge it, and a port that answers is no finding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from appliance import doctor_listen
from appliance.findings import Finding
from appliance.server import Appliance
from tests.appliance.test_doctor import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, monkeypatch)
    yield made
    made.site.close()


@pytest.mark.parametrize(("days", "severity"), [(15, None), (17, "WARNING"), (31, "FAILURE")])
def test_a_certificate_is_told_in_time_and_when_it_is_over(
    place: Place, days: int, severity: str | None
) -> None:
    found = [
        each.severity.name
        for each in place.certificate(place.identity(), days=days)
        if each.id == "certificate.expires"
    ]
    assert found == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("name", "names", "is_named"),
    [
        ("chat.example", ("chat.example",), True),
        ("Chat.Example", ("chat.example",), True),
        ("chat.example", ("*.example",), True),
        ("a.chat.example", ("*.example",), False),
        ("example", ("*.example",), False),
        ("10.0.0.5", ("10.0.0.5",), True),
        ("::1", ("0:0:0:0:0:0:0:1",), False),
        ("0:0:0:0:0:0:0:1", ("::1",), True),
        ("10.0.0.5", ("*.0.0.5",), False),
    ],
)
def test_a_name_is_covered_as_clients_judge_it(
    name: str, names: tuple[str, ...], is_named: bool
) -> None:
    assert doctor_listen._is_named(name, names) is is_named


def test_a_served_port_that_answers_is_no_finding(place: Place) -> None:
    appliance = Appliance(place.site, place.config)

    async def main() -> list[Finding]:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            identity = appliance.identity
            assert identity is not None
            found = await doctor_listen.examine_port(
                appliance.addresses, identity.identity, is_quic=True
            )
            await appliance.drain()
        return found

    assert trio.run(main) == []
    place.reopen()

"""Check the figures: valid Prometheus text, served on a loopback address when configured."""

from __future__ import annotations

import re
import socket

import trio
import trio.testing
from msgspec import structs

from appliance.config import MetricsSection
from tests.appliance.simulation import CONFIG, World, found, running

SAMPLE = re.compile(r'strongroom_[a-z_]+(\{[a-z]+="[a-z0-9-]+"\})? -?[0-9.e+-]+')


def test_every_figure_has_help_and_type_and_base_units() -> None:
    async def main() -> str:
        world = World(1)
        found(world, "alice")
        async with running(world) as appliance:
            await trio.sleep(10)
            return appliance.metrics()

    text = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    lines = text.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    names = [line.split(" ")[0] for line in samples]
    assert len(names) == len(set(names)) > 20
    for name in (each.partition("{")[0] for each in names):
        assert any(line.startswith(f"# HELP {name} ") for line in lines)
        kind = "counter" if name.endswith("_total") else "gauge"
        assert f"# TYPE {name} {kind}" in lines
    assert "strongroom_ready 1" in lines
    assert "strongroom_people 1" in lines


def test_a_collector_on_this_machine_reads_them_over_http() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = structs.replace(CONFIG, metrics=MetricsSection(listen=f"127.0.0.1:{port}"))

    async def ask(path: str) -> bytes:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request.encode("ascii"))
            return b"".join([bytes(chunk) async for chunk in stream])

    async def main() -> tuple[bytes, bytes]:
        world = World(1)
        found(world, "alice")
        async with running(world, config):
            with trio.fail_after(10):
                return await ask("/metrics"), await ask("/elsewhere")

    metrics, elsewhere = trio.run(main)
    assert metrics.startswith(b"HTTP/1.1 200 ")
    assert b"\nstrongroom_people 1\n" in metrics
    assert elsewhere.startswith(b"HTTP/1.1 404 ")

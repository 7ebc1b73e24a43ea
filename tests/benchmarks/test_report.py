"""The table and the plot of docs/performance.md are those of the results that are kept."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.plot import Bar, plot
from benchmarks.report import BEGIN, END, Line
from benchmarks.run import WORKLOADS


def line(workload: str, cpu: float, server: str = "strongroom", carrier: str = "websocket") -> Line:
    times = {"p50_ms": 1.5, "p99_ms": 20.0, "rss_mib": 60.0, "client_cpu_share": 0.25}
    whose = {"workload": workload, "carrier": carrier, "server": server, "revision": "abc"}
    return {**whose, **times, "server_cpu_us_per_op": cpu, "machine": "CPython, 2 cores"}


def test_the_page_shows_the_results_that_are_kept() -> None:
    page = report.PAGE.read_text("utf-8")
    assert page == report.replaced(page, report.section(report.kept())), "run: make bench-report"


def test_the_plot_shows_the_results_that_are_kept() -> None:
    assert report.PLOT.read_text("utf-8") == plot(report.bars(report.kept()))


def test_every_kept_line_has_what_a_line_must_have() -> None:
    wanted = {
        "workload",
        "carrier",
        "ops",
        "server_cpu_us_per_op",
        "client_cpu_us_per_op",
        "p50_ms",
        "p99_ms",
        "rss_mib",
        "revision",
    }
    assert [each for each in report.kept() if not wanted <= each.keys()] == []


def test_the_table_knows_only_workloads_that_there_are() -> None:
    assert set(report.MEASURES) <= set(WORKLOADS)


def test_several_runs_become_one_row_with_their_median_and_range() -> None:
    table = report.table([line("W1", 90.0), line("W1", 70.0), line("W1", 81.5)])
    (row,) = table.splitlines()[2:]
    assert "| W1 | strongroom, websocket | 81.5 (70 to 90) µs CPU a message | 80 |" in row
    assert "| 1.50 / 20 | 25% | 60 | abc |" in row


def test_ours_come_before_other_servers_and_only_ours_have_a_budget() -> None:
    lines = [line("W1", 500.0, "prosody 1", "xmpp"), line("W5", 700.0), line("W1", 81.0)]
    rows = report.rows(lines)
    assert [(row.workload, row.server) for row in rows] == [
        ("W1", "strongroom"),
        ("W1", "prosody 1"),
        ("W5", "strongroom"),
    ]
    assert [bar.budget for bar in report.bars(lines)] == [80, None, 1_200]


def test_what_else_was_measured_is_told_of_ours_alone() -> None:
    storm = {**line("storm", 500.0), "seconds_until_all": 5.9}
    table = report.details([storm, line("W1", 80.0), line("W1", 500.0, "prosody 1", "xmpp")])
    told = table.splitlines()[2:]
    assert told == ["| storm | websocket | 5.90 | seconds until everybody was back |"]


def test_how_busy_the_machine_was_is_told() -> None:
    lines = [{**line("W1", 80.0), "load": load} for load in (2.0, 17.5)]
    assert "CPython, 2 cores, wanted by 2 to 17.5 processes at a time" in report.section(lines)


def test_text_around_the_results_stays() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert report.replaced(page, f"{BEGIN}\nnew\n{END}") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        report.replaced(page, "")


def test_recording_replaces_what_was_kept_of_the_workload(tmp_path: Path) -> None:
    report.record("W1", ['{"a":1}', '{"a":2}'], tmp_path)
    report.record("W1", ['{"a":3}'], tmp_path)
    assert report.kept(tmp_path) == [{"a": 3}]


def test_the_plot_is_a_picture_with_a_bar_for_each_value() -> None:
    bars = [Bar("one", 1.0, None, is_ours=True), Bar("<two>", 1_000.0, 80.0, is_ours=False)]
    picture = ET.fromstring(plot(bars))  # noqa: S314 - our own picture
    named = "{http://www.w3.org/2000/svg}"
    widths = [float(each.attrib["width"]) for each in picture.iter(f"{named}rect")][1:]
    assert widths[0] == 0 < widths[1]
    assert [each for each in picture.iter(f"{named}text") if each.text == "<two>"]

"""Check the error catalogue: complete in both languages, stable in form."""

from __future__ import annotations

import re

import pytest

from transports.wire.errors import CATALOGUE, Refusal, StrongroomError, text


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_both_languages(code: str) -> None:
    entry = CATALOGUE[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", code)
    assert entry.en.endswith(".")
    assert entry.zh.endswith("。")
    assert text(code, "en-GB") == entry.en
    assert text(code, "zh-CN") == text(code, "zh") == entry.zh


def test_an_error_knows_its_code_and_whether_to_retry() -> None:
    error = Refusal("rate.limited", after=2.5)
    assert (error.code, error.after, error.retryable) == ("rate.limited", 2.5, True)
    assert str(error) == "rate.limited"
    assert StrongroomError().code == "server.failed"

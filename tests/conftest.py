"""What holds for every test: no skips where everything is required.

A test that needs more than Python skips with its reason on a bare machine. `.ci/run` installs what they need
and sets REQUIRE_ALL=1; from then on a skip would hide that something was not tested, so it fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

E2E = Path(__file__).resolve().parent / "e2e"
SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Published vectors and real exports, kept beside this repository where they are at hand. Not everybody has them."""
REQUIRED = os.environ.get("REQUIRE_ALL") == "1"


def why_not_allowed(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Return the reason of a skip that counts as a failure here; None for everything else."""
    if not REQUIRED or not report.skipped or hasattr(report, "wasxfail"):
        return None
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason.startswith("shared:") and not SHARED.exists():
        return None
    if reason.startswith("kernel:"):
        return None  # rights that this machine does not give: nothing that could be installed
    return f"skipped, but REQUIRE_ALL=1 allows no skips: {reason}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in tests/e2e starts real processes."""
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    return _judged(report)


def _judged(report: Any) -> Any:
    why = why_not_allowed(report)
    if why is not None:
        report.outcome, report.longrepr = "failed", why
    return report

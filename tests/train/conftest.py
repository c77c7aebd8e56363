"""A test of trainings begins as a worker does: with a piece of work of its own, and on one thread.

A process remembers how many threads the test before was given. On two, last bits depend on what stands beside a row,
and on busy cores one thread waits for the other, which takes three times as long: both by which files came before.
"""

import sys

import pytest

from curate.models.device import work_on


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before any fixture."""
    work_on(0, 1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)

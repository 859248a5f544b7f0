"""Runs each test of the network on both event loops."""

from tests.loops import pytest_asyncio_loop_factories
from tests.sources.conftest import certificates

__all__ = ["certificates", "pytest_asyncio_loop_factories"]

"""The service that the tests run against is started by `tests/it/python` of the repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillframe import MilvusClient


@pytest.fixture(scope="session")
def uri() -> str:
    """Address of a service that has the collection `feas` with its files."""
    return os.environ["STILLFRAME_TEST_URI"]


@pytest.fixture(scope="session")
def storage() -> Path:
    """Where that service keeps its objects."""
    return Path(os.environ["STILLFRAME_TEST_STORAGE"])


@pytest.fixture
def client(uri: str) -> Iterator[MilvusClient]:
    with MilvusClient(uri=uri) as client:
        yield client

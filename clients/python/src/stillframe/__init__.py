"""Snapshots and restores of vector collections, by a Stillframe service.

The methods, arguments and result attributes are those of Milvus' snapshot user guide, so that its
examples run after ``from pymilvus import MilvusClient`` is changed to
``from stillframe import MilvusClient``.
"""

from ._async import AsyncMilvusClient
from ._errors import (
    ApiError,
    FieldError,
    FlushTimeout,
    InvalidArgument,
    NotServedHere,
    RestoreFailed,
    StillframeError,
    Unreachable,
    WaitTimeout,
)
from ._models import RestoreSnapshotInfo, SnapshotInfo
from ._sync import MilvusClient

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AsyncMilvusClient",
    "FieldError",
    "FlushTimeout",
    "InvalidArgument",
    "MilvusClient",
    "NotServedHere",
    "RestoreFailed",
    "RestoreSnapshotInfo",
    "SnapshotInfo",
    "StillframeError",
    "Unreachable",
    "WaitTimeout",
    "__version__",
]

"""Milvus' binlog files: what their events hold.

A file is the magic number 0x00fffabc and events, little-endian. An event is a header (timestamp u64,
type u8, length u32 with the header, position of the next event u32), a fixed part, and its content.
The first event, the descriptor, names collection, partition, segment and field, and for each type of
event the bytes of its fixed part. Every other event's content here is one Parquet file with one column
`val`: the field's values of an insert event, JSON texts of a delete event.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator

MAGIC = 0x00FFFABC
DESCRIPTOR, INSERT, DELETE = 0, 1, 2
_HEADER = struct.Struct("<QBII")
_DESCRIPTOR = struct.Struct("<qqqqQQi")


@dataclass(frozen=True)
class Event:
    """An event after the descriptor."""

    kind: int
    #: Of the descriptor. -1 in delete files, which are of no field.
    field_id: int
    segment_id: int
    #: A whole Parquet file.
    parquet: bytes


def events(content: bytes) -> Iterator[Event]:
    """The events of a file.

    :raises ValueError: when it is no binlog, or is cut off.
    """
    try:
        (magic,) = struct.unpack_from("<I", content)
        if magic != MAGIC:
            raise ValueError(f"no binlog: it begins with {magic:#x}")
        _, kind, length, at = _HEADER.unpack_from(content, 4)
        if kind != DESCRIPTOR:
            raise ValueError(f"the first event is of type {kind}, not a descriptor")
        fixed = 4 + _HEADER.size
        _, _, segment_id, field_id, _, _, _ = _DESCRIPTOR.unpack_from(content, fixed)
        # one byte for each type of event, until the length of the descriptor's extra JSON
        lengths = content[fixed + _DESCRIPTOR.size :]
        while at < len(content):
            _, kind, length, following = _HEADER.unpack_from(content, at)
            start = at + _HEADER.size + lengths[kind]
            if not (start <= at + length == following <= len(content)):
                raise ValueError(f"the event at {at} ends at {at + length}, the file at {len(content)}")
            payload = content[start:following]
            if payload[:4] != b"PAR1" or payload[-4:] != b"PAR1":
                raise ValueError(f"the event at {at} holds no Parquet file")
            yield Event(kind, field_id, segment_id, payload)
            at = following
    except (struct.error, IndexError) as error:
        raise ValueError(f"the binlog is cut off: {error}") from error

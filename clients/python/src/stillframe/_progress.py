"""A progress bar of a restore, in a terminal; lines where there is none."""

from __future__ import annotations

import sys
from typing import Optional, TextIO

from ._models import RestoreSnapshotInfo

WIDTH = 30


class ProgressBar:
    """Shows a restore job. With ``wanted`` None it does so in a terminal only."""

    def __init__(self, wanted: Optional[bool], stream: Optional[TextIO] = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown = self._terminal if wanted is None else wanted
        self._last = ""

    def show(self, info: RestoreSnapshotInfo) -> None:
        """Shows a new state of the job."""
        line = text(info)
        if not self._shown or line == self._last:
            return
        # what the last line had more is blanked
        self._stream.write(f"\r{line.ljust(len(self._last))}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._last = line

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self._shown and self._terminal and self._last:
            self._stream.write("\n")
            self._stream.flush()


def text(info: RestoreSnapshotInfo) -> str:
    """The job as one line."""
    full = WIDTH * info.progress // 100
    raw = info.raw
    parts = [
        f"{info.collection_name} [{'#' * full}{'.' * (WIDTH - full)}] {info.progress:3d}%",
        str(raw["state"]),
        f"{raw['done_files']}/{raw['total_files']} files",
    ]
    if raw.get("bytes_per_second") is not None:
        parts.append(f"{raw['bytes_per_second'] / 1e6:.1f} MB/s")
    if raw.get("eta_seconds") is not None:
        parts.append(f"{raw['eta_seconds']} s left")
    return "  ".join(parts)

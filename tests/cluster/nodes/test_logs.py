"""Log files: what is written is read back whole, in order, within the limits asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.clock import Clock
from slipway.cluster.kubelet import LogOptions
from slipway.cluster.nodes.logs import LONGEST_LINE, LogWriter, read_log

NOW = [1_800_000_000.25]


def writer(path: Path, **more: Any) -> LogWriter:
    return LogWriter(path, Clock(lambda: NOW[0]), **more)


async def read(path: Path, **options: Any) -> bytes:
    ended = asyncio.Event()
    ended.set()
    return b"".join([data async for data in read_log(path, LogOptions(**options), ended)])


@given(chunks=st.lists(st.binary(max_size=50), max_size=12))
def test_whatever_is_written_in_pieces_is_read_whole(chunks: list[bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"
    log = writer(path)
    for chunk in chunks:
        log.write("stdout", chunk)
    log.close()
    whole = b"".join(chunks)
    assert asyncio.run(read(path)) == whole


async def test_lines_carry_time_stream_and_tag_on_disk(tmp_path: Path) -> None:
    log = writer(tmp_path / "0.log")
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"oops\n")
    log.write("stdout", b"o\n" + b"x" * (LONGEST_LINE + 5) + b"\n")
    log.close()
    lines = (tmp_path / "0.log").read_bytes().splitlines()
    assert lines[0] == b"2027-01-15T08:00:00.250000000Z stdout F one"
    assert lines[1].endswith(b"stderr F oops")
    assert lines[2].endswith(b"stdout F two")
    assert [line.split(b" ")[2] for line in lines[3:]] == [b"P", b"F"]
    assert (await read(tmp_path / "0.log")).endswith(b"\n" + b"x" * (LONGEST_LINE + 5) + b"\n")


async def test_tail_since_limit_and_timestamps(tmp_path: Path) -> None:
    log = writer(tmp_path / "0.log")
    for number in range(5):
        NOW[0] += 1
        log.write("stdout", b"line %d\n" % number)
    log.close()
    path = tmp_path / "0.log"
    assert await read(path, tail_lines=2) == b"line 3\nline 4\n"
    assert await read(path, tail_lines=0) == b""
    assert await read(path, since=NOW[0] - 1) == b"line 3\nline 4\n"
    assert await read(path, limit_bytes=9) == b"line 0\nli"
    assert (await read(path, tail_lines=1, timestamps=True)).split(b" ", 1)[1] == b"line 4\n"


async def test_a_follower_sees_what_comes_also_across_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = writer(path, rotate_at=300)
    ended = asyncio.Event()
    got = bytearray()

    async def follow() -> None:
        async for data in read_log(path, LogOptions(follow=True), ended):
            got.extend(data)

    task = asyncio.create_task(follow())
    for number in range(12):
        log.write("stdout", b"line %d\n" % number)
        await asyncio.sleep(0.06)
    log.close()
    ended.set()
    async with asyncio.timeout(30):
        await task
    assert bytes(got) == b"".join(b"line %d\n" % number for number in range(12))
    assert (tmp_path / "0.log.1").exists()


@pytest.mark.parametrize("options", [{"tail_lines": 3}, {"limit_bytes": 4}, {}])
async def test_an_empty_log_is_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    writer(tmp_path / "0.log").close()
    assert await read(tmp_path / "0.log", **options) == b""

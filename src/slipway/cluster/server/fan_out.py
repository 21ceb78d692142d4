"""One change, a thousand watchers: its bytes are made once and given to all of them in one pass.

A watch without selectors says what every other of its resource, namespace and version says. Each has a task that waits
for its end (`Follower.wait`), in a `Feed` with the others like it. When something changes, a pass over the feed gives
each connection the bytes of what it has not seen, and wakes no task: that would cost more than all the rest. What a
connection does not take, since its client reads slowly, and what is better sent in parts, is left to the watch's own
task, which goes on from its cursor and joins again once nothing is left to bring.

After a pass the server has as much time for requests as the pass took. Under many writes each pass so brings several
changes at once, which cost hardly more than one.
"""

from __future__ import annotations

import asyncio
import logging

from slipway.cluster.exchange import Sink
from slipway.cluster.registry.definition import Definition
from slipway.cluster.server.api_encoding import event_line
from slipway.cluster.store import Change, Compacted, Store, Watch

logger = logging.getLogger(__name__)

LARGEST = 64 * 1024  # bytes that are given to a connection at once
LONGEST_REST = 0.05  # seconds: that the machine stood still is no reason to be late


class FanOut:
    """The feeds of a server, and when the next pass over those with changes may begin."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[tuple[int, str], Feed] = {}
        self._changed: dict[Feed, None] = {}
        self._rested = 0.0  # by the loop's time

    def feed(self, definition: Definition, prefix: str) -> Feed:
        # A CRD that changes gets a new definition; the feed keeps the old one alive.
        key = (id(definition), prefix)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self, self._store, definition, prefix)
        return feed

    def abandoned(self, feed: Feed) -> None:
        """Nobody follows it any more."""
        self._changed.pop(feed, None)
        del self._feeds[id(feed.definition), feed.prefix]

    def changed(self, feed: Feed) -> None:
        if not self._changed:
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._rested), self._pass)
        self._changed[feed] = None

    def _pass(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        changed, self._changed = self._changed, {}
        for feed in changed:
            feed.send()
        ended = loop.time()
        self._rested = ended + min(ended - began, LONGEST_REST)


class Feed:
    """Those who watch what lies under a prefix of one resource in one version, and wait for its next change."""

    def __init__(self, fan_out: FanOut, store: Store, definition: Definition, prefix: str) -> None:
        self.definition = definition
        self.prefix = prefix
        self._fan_out = fan_out
        self._history = store.bucket(definition.bucket)
        self._followers: dict[asyncio.Future[None], tuple[Watch, Sink]] = {}
        self._change: asyncio.Future[None] | None = None  # until the pass that follows it is over

    def join(self, cursor: Watch, sink: Sink) -> asyncio.Future[None]:
        """Done when there is something that the sink does not take: the cursor stands before it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers[turn] = cursor, sink
        if self._change is None:
            self._await_change()
        return turn

    def leave(self, turn: asyncio.Future[None]) -> None:
        del self._followers[turn]
        if not self._followers:
            if self._change is not None:
                self._history.forget_waiter(self._change)
            self._fan_out.abandoned(self)

    def send(self) -> None:
        """Give each follower what it has not seen."""
        blocks: dict[int, bytes | None] = {}  # nearly all of them stand at one place and get the same
        for turn, (cursor, sink) in self._followers.items():
            position = cursor.position
            if position not in blocks:
                blocks[position] = self._block(cursor)
            block = blocks[position]
            if block is not None and (not block or sink.take(block)):
                cursor.skip()
            else:
                wake(turn)
        self._change = None
        if self._followers:
            self._await_change()

    def _await_change(self) -> None:
        self._change = self._history.next_change()
        self._change.add_done_callback(lambda _: self._fan_out.changed(self))

    def _block(self, cursor: Watch) -> bytes | None:
        """The lines of what comes after the cursor; None for what the followers' own tasks have to bring."""
        try:
            changes = [change for change in cursor.peek() if change.record.key.startswith(self.prefix)]
            block = b"".join([event_line(self.definition, change.kind, change.record) for change in changes])
        except Compacted:
            return None
        except Exception:
            logger.exception("%s: a change could not be encoded", self.definition.bucket)
            return None
        return block if len(block) <= LARGEST else None


class Follower:
    """One watch: `wait` is how it waits for changes, once `attach` has told where its bytes go."""

    def __init__(self, fan_out: FanOut, definition: Definition, prefix: str) -> None:
        self._fan_out = fan_out
        self._definition = definition
        self._prefix = prefix
        self._sink: Sink | None = None

    def attach(self, sink: Sink) -> None:
        self._sink = sink

    async def wait(self, cursor: Watch, seconds: float) -> list[Change]:
        """The changes that the watch's own task has to bring; none when the time is over."""
        changes = cursor.ready()
        if changes or self._sink is None:
            return changes or await cursor.next(seconds)
        feed = self._fan_out.feed(self._definition, self._prefix)
        turn = feed.join(cursor, self._sink)
        timer = asyncio.get_running_loop().call_later(seconds, wake, turn)
        try:
            await turn
        finally:
            timer.cancel()
            feed.leave(turn)
        return cursor.ready()


def wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)

"""A pod's status told to the API: when it has changed, and several changes that follow each other at once."""

from __future__ import annotations

import asyncio
import hashlib
import logging

import orjson

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.resources import PODS
from slipway.cluster.nodes.pod_state import Object, PodState
from slipway.cluster.nodes.pod_status import pod_status
from slipway.cluster.nodes.surroundings import Surroundings
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

_RETRY = 1.0  # seconds
_SETTLE = 0.005  # seconds in which changes that follow each other become one report


class StatusReports:
    """Those of one pod, whose `state` they tell."""

    __slots__ = ("_around", "_reported", "_state", "_unreported", "_writing")

    def __init__(self, around: Surroundings, state: PodState) -> None:
        self._around = around
        self._state = state
        self._reported = b""  # the digest of what was said last
        self._unreported: Object | None = None
        self._writing: asyncio.Task[None] | None = None

    def status(self, pod: Object) -> Object:
        """The pod's status as it is now."""
        return pod_status(pod, self._state, self._around.reporter, self._around.clock.now())

    def report(self, pod: Object) -> None:
        """Tell it, soon, if it is not what was told last."""
        status = self.status(pod)
        digest = hashlib.blake2b(orjson.dumps(status), digest_size=16).digest()
        if digest == self._reported or self._state.withdrawn:
            return
        self._reported = digest
        for row in status["conditions"]:
            self._state.conditions[row["type"]] = row
        self._unreported = status
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(pod["metadata"]))

    def under_way(self) -> list[asyncio.Task[None]]:
        """What is being written now."""
        return [] if self._writing is None else [self._writing]

    async def _write(self, meta: Object) -> None:
        try:
            while self._unreported is not None and not self._state.withdrawn:
                await self._around.clock.sleep(_SETTLE)
                status, self._unreported = self._unreported, None
                if not await self._written(meta, status):
                    self._unreported = self._unreported or status
                    await self._around.clock.sleep(_RETRY)
        finally:
            self._writing = None

    async def _written(self, meta: Object, status: Object) -> bool:
        """False when it has to be tried again."""
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            await self._around.client.patch(
                PODS, meta["name"], meta["namespace"], body, PatchType.STRATEGIC, subresource="status"
            )
        except StatusError as error:
            if error.code in (404, 409):  # deleted, or replaced by a namesake
                return True
            logger.debug("status of %s/%s: %s", meta["namespace"], meta["name"], error)
            return False
        return True

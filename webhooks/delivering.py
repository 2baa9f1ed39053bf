"""The process that delivers: all attempts of it wait side by side, so one that hangs holds nobody up."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import ParamSpec, TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, connection

from eventbus import database_time, failpoint
from eventbus.processes import turned
from webhooks import claims, secrets, services
from webhooks.calling import Caller, Outcome
from webhooks.claims import Claim
from webhooks.messages import signed
from webhooks.metrics import count_attempt

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: What the process is called, in the Procfile too.
KIND = "deliver_webhooks"
#: Attempts under way in one process, and how many of them at webhooks that fail: those may all hang.
AT_ONCE = 200
FAILING_AT_ONCE = 100
#: Seconds between two looks when nothing was due, and after the database did not answer.
LOOK_EVERY, AFTER_ERROR = 0.3, 1.0
#: Seconds that attempts get to end when the process is to.
GRACE = 4.0


class Deliverer:
    """Delivers what is due, until it is stopped. As many processes as there are share the work."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._under_way: dict[asyncio.Task[None], tuple[Claim, bool]] = {}
        self._has_room = asyncio.Event()
        # One connection to the database, for short statements one after another.
        self._database = ThreadPoolExecutor(1, thread_name_prefix="database")

    def run(self) -> None:
        """Returns when it was stopped. What was under way by then is sent again."""
        asyncio.run(self._run())
        self._database.shutdown()

    def stop(self) -> None:
        """From any thread."""
        self._stopping.set()

    async def _run(self) -> None:
        caller = Caller(AT_ONCE)
        while not self._stopping.is_set():
            turned(KIND)
            try:
                pause = 0.0 if await self._begin(caller) or await self._ask(services.recover_step) else LOOK_EVERY
            except (DatabaseError, InterfaceError) as error:
                log.warning("webhooks.database_away", error=type(error).__name__)
                pause = AFTER_ERROR
            await self._wait(pause)
        caller.close()
        await self._end()

    async def _begin(self, caller: Caller) -> int:
        """Begin what is due and has room; returns how many attempts that are."""
        begun = 0
        for failing in (False, True):
            busy = sum(is_failing for _, is_failing in self._under_way.values())
            room = AT_ONCE - len(self._under_way)
            found = await self._ask(
                claims.claim, min(room, FAILING_AT_ONCE - busy) if failing else room, failing=failing
            )
            for claim in found:
                task = asyncio.create_task(self._deliver(caller, claim))
                self._under_way[task] = claim, failing
                task.add_done_callback(self._note_end)
            begun += len(found)
        return begun

    def _note_end(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._has_room.set()

    async def _deliver(self, caller: Caller, claim: Claim) -> None:
        failpoint("webhook.before_send")
        at = database_time()
        try:
            keys = [secrets.unseal(each) for each in claim.secrets]
            body = claim.told.body()
            outcome = await caller.call(claim.url, signed(str(claim.told.event_id), body, at=at, secrets=keys), body)
        except Exception as error:
            # A fault of ours in this one: it counts as an attempt, and is seen.
            log.exception("webhook.not_sent", delivery_id=str(claim.delivery_id))
            outcome = Outcome(0, error=f"It could not be sent: {type(error).__name__}.")
        count_attempt(outcome)
        failpoint("webhook.after_send")
        try:
            await self._ask(claims.note, claim, outcome, at=at)
        except (DatabaseError, InterfaceError) as error:
            # It is sent again when the lease ends.
            log.warning("webhook.not_noted", delivery_id=str(claim.delivery_id), error=type(error).__name__)

    async def _ask(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the database, beside all that waits for partners."""

        def asked() -> T:
            try:
                return ask(*args, **kwargs)
            except (DatabaseError, InterfaceError):
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._database, asked)

    async def _wait(self, seconds: float) -> None:
        """So long, or until an attempt has ended and made room, or a stop is wished."""
        until = monotonic() + seconds
        while not (self._stopping.is_set() or self._has_room.is_set()) and (left := until - monotonic()) > 0:
            try:
                await asyncio.wait_for(self._has_room.wait(), min(left, 0.1))
            except TimeoutError:
                pass  # the stop comes from another thread
        self._has_room.clear()

    async def _end(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=GRACE)
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        try:
            await self._ask(claims.give_back, [claim for claim, _ in left.values()])
            await self._ask(lambda: connection.close())
        except (DatabaseError, InterfaceError) as error:
            log.warning("webhooks.not_given_back", error=type(error).__name__)

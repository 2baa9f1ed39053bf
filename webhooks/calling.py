"""One POST to a partner: within a time for the whole of it, to the address that was checked, and no further."""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from time import monotonic

import httpx

from webhooks.addresses import ForbiddenAddress, check_url, host_of, look_up

#: Seconds for all of it: looking up the name, connecting, sending, and the answer, however it drips.
DEADLINE = 20.0
#: Seconds until the next address of a name is tried.
CONNECT = 5.0
#: So much of an answer is read, and so much kept.
MOST_READ, MOST_KEPT = 2_000, 500
#: An answer may ask for so long a pause at most, in seconds.
LONGEST_PAUSE = 86_400


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `status` None: no answer. `error`: what was wrong. `retry_after`: seconds that it asks for."""

    milliseconds: int
    status: int | None = None
    error: str = ""
    answer: str = ""
    retry_after: float | None = None

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """The partner wants no more."""
        return self.status == 410


@dataclass(frozen=True, slots=True)
class Answer:
    """As far as it is of interest."""

    status: int
    headers: httpx.Headers
    begins: bytes


class Caller:
    """Makes the calls of a process. Name servers that are slow for one partner hold nobody else up."""

    def __init__(self, most_at_once: int) -> None:
        self._lookups = ThreadPoolExecutor(most_at_once, thread_name_prefix="look-up")
        # The authorities are read once: that takes as long as a call.
        self._tls: SSLContext = httpx.create_ssl_context()

    async def call(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """POST it. Whatever goes wrong on the way or over there is an outcome."""
        began = monotonic()
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._post(url, headers, body)
        except TimeoutError:
            return Outcome(_since(began), error=f"There was no answer within {DEADLINE:g} seconds.")
        except ForbiddenAddress as error:
            return Outcome(_since(began), error=str(error))
        except socket.gaierror:
            return Outcome(_since(began), error="Its host's name can't be looked up.")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Outcome(_since(began), error=_storable(f"{type(error).__name__}: {error}"))
        begins = _storable(answer.begins.decode("utf-8", "replace"))
        pause = retry_after(answer.headers.get("retry-after", ""), now=datetime.now(UTC))
        refusal = "" if 200 <= answer.status < 300 else f"It answered {answer.status}."
        return Outcome(_since(began), answer.status, refusal, begins, pause)

    def close(self) -> None:
        """Begin no more look-ups."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def _post(self, text: str, headers: Mapping[str, str], body: bytes) -> Answer:
        url = check_url(text)
        addresses = await asyncio.get_running_loop().run_in_executor(self._lookups, look_up, url)
        *others, last = addresses
        for address in others:
            try:
                return await self._post_to(address, url, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # the name has another one
        return await self._post_to(last, url, headers, body)

    async def _post_to(self, address: str, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> Answer:
        # By the address, so that nothing is looked up again; the name is for the server and its certificate. A client
        # of its own, so that no cookie goes from one partner to another. The environment's proxies are not for us.
        async with (
            httpx.AsyncClient(
                verify=self._tls,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(DEADLINE, connect=CONNECT),
            ) as client,
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers={**headers, "host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
                extensions={"sni_hostname": host_of(url)},
            ) as response,
        ):
            begins = b""
            # As it comes: a small answer may unpack to a large one.
            async for piece in response.aiter_raw():
                begins += piece
                if len(begins) >= MOST_READ:
                    break
            return Answer(response.status_code, response.headers, begins)


def retry_after(text: str, *, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, bounded; None where it says nothing that can be read."""
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), LONGEST_PAUSE))
    try:
        seconds = (parsedate_to_datetime(text).astimezone(UTC) - now).total_seconds()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def _storable(text: str) -> str:
    """How it begins, as a database takes it: over there somebody may have written anything."""
    return text[:MOST_KEPT].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _since(began: float) -> int:
    return round((monotonic() - began) * 1000)

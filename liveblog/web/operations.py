"""What operators ask: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from liveblog import __version__
from liveblog.delivery.broker import Broker
from liveblog.delivery.gate import Gate
from liveblog.delivery.hub import Hub
from liveblog.domain.errors import Unavailable
from liveblog.store.connection import NO_ROOM, StoreRefused
from liveblog.web.api import answered
from liveblog.web.site import site_of


async def healthz(_: Request) -> Response:
    return PlainTextResponse("alive\n", headers={"cache-control": "no-store"})


async def readyz(request: Request) -> Response:
    site = site_of(request)
    durability, ready = None, False
    try:
        facts = await site.connection.look()
    except StoreRefused as refusal:
        store = refusal.state
    except Unavailable as error:
        store = f"The store {error.state}"
    else:
        store, durability, ready = str(facts), facts.durability, facts.has_room
        if not facts.has_room:
            store += f" {NO_ROOM}"
    ready = ready and site.broker.stands and not site.hub.closing
    body = {"ready": ready, "store": store, "durability": durability, "release": __version__}
    return answered(body, 200 if ready else 503, {} if ready else {"retry-after": "2"})


class Counted(msgspec.Struct, frozen=True):
    """One process's numbers, by name. Totals only rise, in a process and over all of them."""

    present: dict[str, float] = {}
    totals: dict[str, float] = {}

    def later(self, other: Counted) -> Counted:
        """Both: what is present in either, and the totals of the two."""
        totals = {
            name: self.totals.get(name, 0.0) + other.totals.get(name, 0.0)
            for name in {**self.totals, **other.totals}
        }
        present = {
            name: _TOGETHER.get(name, sum)(
                [each.present[name] for each in (self, other) if name in each.present]
            )
            for name in {**self.present, **other.present}
        }
        return Counted(present, totals)


_ABOUT = {
    "liveblog_workers": "Processes that serve.",
    "liveblog_viewers": "Viewers connected.",
    "liveblog_places_taken": "Viewers and waiting polls let in.",
    "liveblog_places": "Viewers and waiting polls that are let in.",
    "liveblog_channels": "Blogs that processes listen to.",
    "liveblog_subscription_up": "Whether the subscription stands, in each process.",
    "liveblog_frames": "Entries written to viewers.",
    "liveblog_slow_viewers": "Viewers closed for reading too slowly.",
    "liveblog_turned_away": "Viewers refused as too many.",
    "liveblog_put_off": "Viewers told to come later.",
    "liveblog_repairs": "Times a channel was refilled from the store.",
    "liveblog_resets": "Times a channel's log was replaced.",
    "liveblog_reconnects": "Times the subscription began anew.",
}
# Where it is down in one process, it isn't up.
_TOGETHER: dict[str, Callable[[list[float]], float]] = {"liveblog_subscription_up": min}


class Numbers:
    """What hub, broker and gate count.

    `everybodys` is that of all processes, if there are more; TimeoutError where it can't be had.
    """

    def __init__(self, hub: Hub, broker: Broker, gate: Gate) -> None:
        self._hub = hub
        self._broker = broker
        self._gate = gate
        self.everybodys: Callable[[], Awaitable[Counted]] = self._own

    async def _own(self) -> Counted:
        return self.own()

    def own(self) -> Counted:
        """This process's."""
        counts = self._hub.counts
        return Counted(
            present={
                "liveblog_workers": 1,
                "liveblog_viewers": counts.viewers,
                "liveblog_places_taken": self._gate.taken,
                "liveblog_places": self._gate.most,
                "liveblog_channels": counts.channels,
                "liveblog_subscription_up": float(self._broker.stands),
            },
            totals={
                "liveblog_frames": counts.frames,
                "liveblog_slow_viewers": counts.slow,
                "liveblog_turned_away": self._gate.refused,
                "liveblog_put_off": self._gate.put_off,
                "liveblog_repairs": counts.repairs,
                "liveblog_resets": counts.resets,
                "liveblog_reconnects": self._broker.reconnects,
            },
        )


class _Collected(Collector):
    """Numbers in Prometheus' terms; also one that only a worker of a later release knows."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        return [
            *(
                GaugeMetricFamily(name, _ABOUT.get(name, ""), float(value))
                for name, value in self._counted.present.items()
            ),
            *(
                CounterMetricFamily(name, _ABOUT.get(name, ""), float(value))
                for name, value in self._counted.totals.items()
            ),
        ]


async def metrics(request: Request) -> Response:
    try:
        counted = await request.app.state.numbers.everybodys()
    except TimeoutError:
        # One worker's numbers instead would look as if all totals had gone back.
        detail = "The supervisor doesn't say what all workers' numbers come to."
        raise HTTPException(503, detail, {"retry-after": "2"}) from None
    registry = CollectorRegistry()
    registry.register(_Collected(counted))
    text = generate_latest(registry)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

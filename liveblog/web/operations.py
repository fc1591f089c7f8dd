"""What operators ask: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
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
        store, durability, ready = f"{facts.name} {facts.version}", facts.durability, facts.has_room
        if not facts.has_room:
            store += f" {NO_ROOM}"
    ready = ready and site.broker.stands and not site.hub.closing
    body = {"ready": ready, "store": store, "durability": durability, "release": __version__}
    return answered(body, 200 if ready else 503, {} if ready else {"retry-after": "2"})


class Counted(Collector):
    """What hub and broker count, in Prometheus' terms."""

    def __init__(self, hub: Hub, broker: Broker, gate: Gate) -> None:
        self._hub = hub
        self._broker = broker
        self._gate = gate

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        counts = self._hub.counts
        gauges = [
            ("liveblog_viewers", "Viewers connected to this process.", counts.viewers),
            ("liveblog_places_taken", "Viewers and waiting polls let in.", self._gate.taken),
            ("liveblog_places", "Viewers and waiting polls that are let in.", self._gate.most),
            ("liveblog_channels", "Blogs that this process listens to.", counts.channels),
            ("liveblog_subscription_up", "Whether the subscription stands.", self._broker.stands),
        ]
        counters = [
            ("liveblog_frames", "Entries written to viewers.", counts.frames),
            ("liveblog_slow_viewers", "Viewers closed for reading too slowly.", counts.slow),
            ("liveblog_turned_away", "Viewers refused as too many.", self._gate.refused),
            ("liveblog_put_off", "Viewers told to come later.", self._gate.put_off),
            ("liveblog_repairs", "Times a channel was refilled from the store.", counts.repairs),
            ("liveblog_resets", "Times a channel's log was replaced.", counts.resets),
            ("liveblog_reconnects", "Times the subscription began anew.", self._broker.reconnects),
        ]
        return [
            *(GaugeMetricFamily(name, about, float(value)) for name, about, value in gauges),
            *(CounterMetricFamily(name, about, float(value)) for name, about, value in counters),
        ]


def registry(hub: Hub, broker: Broker, gate: Gate) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Counted(hub, broker, gate))
    return made


async def metrics(request: Request) -> Response:
    text = generate_latest(request.app.state.metrics)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

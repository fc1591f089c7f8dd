"""What is measured, one function a subject, each against servers of its own."""

from __future__ import annotations

from collections.abc import Callable

from bench.rows import delivery, joining, latency, page, posting, store
from bench.rows.measuring import FULL, QUICK, Row, Scale
from bench.rows.prediction import prediction

__all__ = ["FULL", "QUICK", "ROWS", "Row", "Scale", "prediction"]

ROWS: dict[str, Callable[[Scale], list[Row]]] = {
    "delivery": delivery.delivery,
    "deflate": delivery.deflate,
    "bursts": delivery.bursts,
    "sizes": delivery.sizes,
    "events": delivery.event_stream,
    "workers": delivery.workers,
    "memory": joining.memory,
    "joining": joining.joining,
    "storm": joining.storm,
    "latency": latency.latency,
    "stalled": latency.stalled,
    "posting": posting.posting,
    "announcing": store.announcing,
    "pages": page.pages,
    "weight": page.weight,
    "paint": page.painting,
}

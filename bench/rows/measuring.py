"""How a figure is taken and told: scales, rows, spreads, a steady pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.programs import BenchError, Program
from bench.server import Server, stamped

PAYLOAD = 1000
SERVER_CORE, LOAD_CORE = 0, 1
REST_MICROSECONDS = 1000
HEAD = 4  # of a frame between 126 and 65,535 bytes

# A few may meet: the rest of a fan-out takes what came meanwhile.
_BY_ITSELF = 0.97
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; all of it bounded, so that a run ends by itself."""

    rounds: int
    few_rounds: int
    viewers: int
    many: int
    most: int
    idle: int
    stalled: int
    frames: int
    pause_seconds: float
    many_frames: int
    many_pause_seconds: float
    posting_seconds: float
    paints: int


FULL = Scale(
    rounds=5,
    few_rounds=3,
    viewers=2_000,
    many=10_000,
    most=19_000,
    idle=5_000,
    stalled=50,
    frames=30,
    pause_seconds=0.06,
    many_frames=15,
    many_pause_seconds=0.4,
    posting_seconds=4,
    paints=5,
)
QUICK = Scale(
    rounds=1,
    few_rounds=1,
    viewers=200,
    many=1_000,
    most=1_500,
    idle=500,
    stalled=5,
    frames=10,
    pause_seconds=0.06,
    many_frames=5,
    many_pause_seconds=0.1,
    posting_seconds=1,
    paints=1,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reached` is None where there is nothing to reach.

    `costs` are its figures by name, for the model in `bench/simulate.py`.
    """

    what: str
    value: str
    aim: str = ""
    reached: bool | None = None
    costs: tuple[tuple[str, float], ...] = ()

    def costing(self, **figures: float) -> Row:
        """The same row, with its figures by name."""
        return replace(self, costs=tuple(figures.items()))


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and how far the rounds lay apart."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        rounds = list(values)
        return cls(median(rounds), min(rounds), max(rounds))

    def show(self, unit: str = "", digits: int = 1) -> str:
        middle, least, most = (
            f"{value:,.{digits}f}" for value in (self.middle, self.least, self.most)
        )
        return f"{middle}{unit and ' '}{unit} ({least} to {most})"

    def at_most(self, what: str, aim: float, unit: str = "", digits: int = 2) -> Row:
        """A row that is reached where the median isn't over `aim`."""
        return Row(
            what,
            self.show(unit, digits),
            f"{aim:g}{unit and ' '}{unit} or less",
            self.middle <= aim,
        )

    def at_least(self, what: str, aim: float, unit: str = "", digits: int = 2) -> Row:
        """A row that is reached where the median isn't under `aim`."""
        return Row(
            what,
            self.show(unit, digits),
            f"{aim:,g}{unit and ' '}{unit} or more",
            self.middle >= aim,
        )


def apart(times: int, pause_seconds: float, do: Callable[[], object]) -> None:
    """With a pause after each, whatever it took: nothing late is caught up with.

    What comes close together goes out together here, and a busy machine would make us look good.
    """
    for _ in range(times):
        do()
        time.sleep(pause_seconds)


def steadily(times: int, pause_seconds: float, do: Callable[[], object]) -> None:
    """So many a second, also where one of them was late."""
    start = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, start + number * pause_seconds - time.monotonic()))
        do()


def watch(server: Server, blog: str = "live") -> str:
    """The address of a blog's stream, from its head on."""
    return f"/{blog}/live?after={server.head(blog)[0]}"


@dataclass(frozen=True, slots=True)
class Used:
    """What the server's processes took."""

    cpu_seconds: float
    writes: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """CPU seconds of delivering alone, and with all else that the same posts took."""

    alone: float
    whole: float


class Stage:
    """A server with a blog that one person watches, `quiet`: what posting costs without delivery.

    Taken off what the same posts cost in `live`, it leaves the delivery alone.
    """

    def __init__(self, server: Server, quiet: Program) -> None:
        self.server = server
        self.quiet = quiet
        server.make_blog("quiet")
        quiet.connect(1, watch(server, "quiet"))
        quiet.ask(f"rest {REST_MICROSECONDS}")
        self.filler = self._filler()

    def _filler(self) -> int:
        """How many characters bring an entry's frame to `PAYLOAD` bytes."""
        sizes = []
        for filler in (100, 200):
            self.quiet.ask("reset")
            self.server.publish(stamped(filler), blog="quiet")
            self.quiet.wait_for_entries(1)
            sizes.append(self.quiet.ask("stats")["entry_bytes"] - HEAD)
        # The text is in the frame more than once: as it was written, and as HTML.
        a_character = (sizes[1] - sizes[0]) / 100
        return max(0, round(100 + (PAYLOAD - sizes[0]) / a_character))

    def post(
        self,
        blog: str,
        audiences: Sequence[Program],
        frames: int,
        pause_seconds: float,
        pace: Callable[[int, float, Callable[[], object]], None] = apart,
    ) -> Used:
        """What so many posts take until each viewer of `audiences` has got them."""
        for audience in audiences:
            audience.ask("reset")
        self.server.settle()
        before, written = self.server.cpu_seconds(), self.server.writes()
        pace(frames, pause_seconds, lambda: self.server.publish(stamped(self.filler), blog=blog))
        for audience in audiences:
            audience.wait_for_entries(frames)
        return Used(self.server.cpu_seconds() - before, self.server.writes() - written)

    def delivery(
        self, audiences: Sequence[Program], viewers: int, frames: int, pause_seconds: float
    ) -> Delivery:
        """What delivering takes where each entry is written to each of `viewers` by itself.

        A round in which entries went out together is taken again. Raises: BenchError.
        """
        written = 0
        for _ in range(_TRIES):
            posting = self.post("quiet", [self.quiet], frames, pause_seconds)
            watched = self.post("live", audiences, frames, pause_seconds)
            # The one viewer of `quiet` was written to as well.
            written = watched.writes - posting.writes + frames
            if written >= _BY_ITSELF * viewers * frames:
                return Delivery(watched.cpu_seconds - posting.cpu_seconds, watched.cpu_seconds)
        raise BenchError(
            f"{viewers * frames - written:,} of {viewers * frames:,} entries went out together"
            " with others: this machine is too busy, or the pause too short"
        )

    def burst(self, audience: Program, frames: int, pause_seconds: float) -> float:
        """CPU seconds of delivering alone, at a steady rate, however entries go out."""
        posting = self.post("quiet", [self.quiet], frames, pause_seconds, steadily)
        watched = self.post("live", [audience], frames, pause_seconds, steadily)
        return watched.cpu_seconds - posting.cpu_seconds

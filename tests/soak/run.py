"""One soak: clients of all kinds, side by side, until its time is over or each kind has had its rounds."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from random import Random

import httpx

from latentwire.imaging.image import Pixels
from tests.soak.expectations import (
    Exchange,
    Half,
    Interrupted,
    ServerFault,
    WrongResponse,
    check_no_fault,
    check_problem,
    interruptible,
)
from tests.soak.hostile import Hostile
from tests.soak.known import Known
from tests.soak.memory import Sample
from tests.soak.misbehaving_clients import MisbehavingClients, Misbehavior, SlowClientTiming
from tests.soak.raw_responses import TIMEOUT_S
from tests.soak.restarts import Restarts
from tests.soak.servers import Service
from tests.soak.tally import INTERRUPTED, NO_RESPONSE, SERVER_ERROR, WRONG, Tally
from tests.soak.valid_traffic import valid_exchanges

# How often a kind comes, compared with a kind that is not named here.
WEIGHTS = {
    "encode, bitstream": 12,
    "encode, JSON": 8,
    "encode a form": 4,
    "decode, PNG": 12,
    "decode, JSON": 4,
    "decode, raw": 4,
    "body over the limit": 0.2,
    "image that claims to be large": 0.5,
    "comes in a crowd": 0.2,
    "sends long headers": 0.3,
    "encode a batch, JSON": 0.3,
    "encode a form of images": 0.3,
    # Each takes tenths of a second, and of a large image seconds.
    "encode an image of any size": 0.4,
    "encode an image of any size, target_bytes": 0.1,
    "encode a transparent image": 0.1,
    "decode an image of any size": 0.4,
    "decode what is whole": 0.2,
    "encode a batch of any sizes": 0.2,
    "decode a batch of any sizes": 0.2,
    "encode a large image": 0.04,
    "decode a large image": 0.04,
}
WELL_BEHAVED, MISBEHAVING = 6, 6
# The part of a soak without restarts, in which memory is measured.
WITHOUT_RESTARTS = 0.7
# A batch that a restart interrupts is sent again; each restart can interrupt it once.
MAX_REPEATS = 5


@dataclass(frozen=True)
class Plan:
    """How long, and how much.

    Either for `seconds`, or each kind of request `rounds` times. `delay_s` is how long slow clients take, `burst` how
    many clients come at once in a crowd. Replicas behind an edge restart in the last part of `seconds`; with `rounds`
    they restart `restarts` times, from the beginning on.
    """

    seed: int
    seconds: float | None = None
    rounds: int = 1
    delay_s: float = 2.0
    burst: int = 100
    restarts: int = 0


ClientAction = Callable[["Client", Random], str]


class Client:
    """Keeps connections to the service, as one client does; for one thread."""

    def __init__(self, service: Service) -> None:
        self._clients: dict[Half, httpx.Client] = {}
        for half, target in service.targets.items():
            self._clients[half] = httpx.Client(base_url=target.base_url, timeout=TIMEOUT_S)
            self._clients[half].headers.clear()

    def send(self, exchange: Exchange) -> httpx.Response:
        return self._clients[exchange.half].request(
            exchange.method, exchange.path, content=exchange.body, headers=exchange.headers
        )

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class Soak:
    """Drives a service, and counts the outcomes."""

    def __init__(self, service: Service, images: dict[str, Pixels], plan: Plan) -> None:
        """Compute all correct responses beforehand.

        Args:
            service: running.
            images: uint8 (N, H, W, C) for each model, by its name.
            plan: how long and how much.
        """
        self.tally = Tally()
        self.samples: list[Sample] = []
        self.restarts = Restarts(service)
        self._service = service
        self._plan = plan
        known = Known(service.registries["sender"], service.registries["receiver"], images)
        self._valid = valid_exchanges(known, metrics_are_hidden=bool(service.edges))
        hostile = Hostile(known).kinds()
        addresses = {half: target.address for half, target in service.targets.items()}
        timing = SlowClientTiming(plan.delay_s, plan.burst)
        misbehaving = MisbehavingClients(addresses, self._valid, timing).kinds()
        self._well_behaved: dict[str, ClientAction] = {
            kind: _choose(exchanges) for kind, exchanges in self._valid.items()
        }
        self._well_behaved |= {kind: _make(make) for kind, make in hostile.items()}
        self._misbehaving: dict[str, ClientAction] = {kind: _misbehave(act) for kind, act in misbehaving.items()}

    @property
    def kinds(self) -> set[str]:
        """All kinds of requests."""
        return {*self._well_behaved, *self._misbehaving}

    def run(self, watch: Callable[[float], None], may_restart: Callable[[], bool]) -> None:
        """Let all clients work to their end.

        Args:
            watch: called now and then with the seconds since the start.
            may_restart: whether replicas may restart; no restart begins before it returns True.
        """
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._work, args=(calls,), daemon=True)
            for kinds, count in ((self._well_behaved, WELL_BEHAVED), (self._misbehaving, MISBEHAVING))
            for calls in [_Calls(self._calls(kinds, began))]
            for _ in range(count)
        ]
        if self._plan.seconds is None and self._plan.restarts:
            self.restarts.start(self._plan.restarts)
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            passed = time.monotonic() - began
            if self._plan.seconds is not None and passed > WITHOUT_RESTARTS * self._plan.seconds and may_restart():
                self.restarts.start(None)
            if not self.restarts.epoch or not self.samples:
                self.samples.append(Sample(passed, self.tally.requests, self._service.resident_bytes()))
            watch(passed)
            time.sleep(1 if self._plan.seconds else 0.1)
        if self._plan.seconds is None:
            self.restarts.join()
        else:
            self.restarts.stop()

    def ask_everything(self) -> None:
        """Send every valid request once, one after the other."""
        with closing(Client(self._service)) as client:
            for kind, exchanges in self._valid.items():
                for exchange in exchanges:
                    self._attempt(kind, _choose([exchange]), client, "")

    def _calls(self, kinds: dict[str, ClientAction], began: float) -> Iterator[tuple[str, ClientAction, str]]:
        """Yield what is to be done, each with its own seed, so that a plan's seed always means the same requests."""
        order = Random(self._plan.seed)
        names = sorted(kinds)
        if self._plan.seconds is None:
            once = names * self._plan.rounds
            order.shuffle(once)
            chosen: Iterable[str] = once
        else:
            weights = [WEIGHTS.get(name, 1) for name in names]
            chosen = (order.choices(names, weights)[0] for _ in itertools.count())
        for number, name in enumerate(chosen):
            if self._plan.seconds is not None and time.monotonic() - began > self._plan.seconds:
                return
            yield name, kinds[name], f"{self._plan.seed} {number} {name}"

    def _work(self, calls: "_Calls") -> None:
        with closing(Client(self._service)) as client:
            for kind, act, seed in calls:
                self._attempt(kind, act, client, seed)

    def _attempt(self, kind: str, act: ClientAction, client: Client, seed: str) -> None:
        for _ in range(MAX_REPEATS):
            epoch = self.restarts.epoch
            try:
                outcome, message = act(client, Random(seed)), None
            except Interrupted as error:
                if self.restarts.overlap(epoch):
                    self.tally.count(kind, INTERRUPTED)
                    continue
                outcome, message = NO_RESPONSE, str(error)
            except ServerFault as error:
                outcome, message = SERVER_ERROR, str(error)
            except WrongResponse as error:
                outcome, message = WRONG, str(error)
            except (httpx.HTTPError, OSError) as error:
                outcome, message = NO_RESPONSE, repr(error)
            except Exception as error:  # a thread that ends would leave the others to soak alone
                outcome, message = WRONG, repr(error)
            self.tally.count(kind, outcome, message)
            return
        self.tally.count(kind, NO_RESPONSE, f"interrupted {MAX_REPEATS} times")


class _Calls:
    """An iterator that several threads share."""

    def __init__(self, calls: Iterator[tuple[str, ClientAction, str]]) -> None:
        self._calls = calls
        self._lock = threading.Lock()

    def __iter__(self) -> "_Calls":
        return self

    def __next__(self) -> tuple[str, ClientAction, str]:
        with self._lock:
            return next(self._calls)


def _choose(exchanges: list[Exchange]) -> ClientAction:
    return _make(lambda random: random.choice(exchanges))


def _make(make: Callable[[Random], Exchange]) -> ClientAction:
    def act(client: Client, random: Random) -> str:
        exchange = make(random)
        with interruptible(exchange):
            response = client.send(exchange)
            check_no_fault(response)
        if response.status_code == 429:
            check_problem(response)
            time.sleep(float(response.headers["retry-after"]) * random.random())
            return "turned away"
        exchange.check(response)
        return "right" if response.status_code == 200 else "refused"

    return act


def _misbehave(misbehavior: Misbehavior) -> ClientAction:
    return lambda _client, random: misbehavior(random)

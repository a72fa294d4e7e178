"""One soak: clients of all kinds, side by side, until the time is over or each kind has had its rounds."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from random import Random

import httpx

from latentwire.imaging.image import Pixels
from tests.soak.expectations import Exchange, Half, ServerFault, WrongAnswer, check_no_fault, check_problem
from tests.soak.hostile import Hostile
from tests.soak.memory import Sample
from tests.soak.misbehaving_clients import PATIENCE_S, Manners, Rude, RudeClients
from tests.soak.servers import Service
from tests.soak.tally import NO_ANSWER, SERVER_ERROR, WRONG, Tally
from tests.soak.valid_traffic import Known, good_exchanges

# How often a kind comes, for each time that another does; all others 1.
WEIGHTS = {
    "encode, wire": 12,
    "encode, JSON": 8,
    "encode a form": 4,
    "decode, PNG": 12,
    "decode, JSON": 4,
    "decode, raw": 4,
    "too long a body": 0.2,
    "image that claims to be large": 0.5,
    "comes in a crowd": 0.2,
    "sends a long head": 0.3,
    "encode a batch, JSON": 0.3,
    "encode a form of images": 0.3,
}
POLITE, RUDE = 6, 6


@dataclass(frozen=True)
class Plan:
    """How long, and how much.

    Either for `seconds`, or each kind of request `rounds` times. `dawdle_s` is how long slow clients take, `burst` how
    many clients come at once in a crowd.
    """

    seed: int
    seconds: float | None = None
    rounds: int = 1
    dawdle_s: float = 2.0
    burst: int = 100


Act = Callable[["Client", Random], str]


class Client:
    """Keeps connections to the servers, as one client does; for one thread."""

    def __init__(self, service: Service) -> None:
        self._clients: dict[Half, httpx.Client] = {}
        for half, server in service.servers.items():
            self._clients[half] = httpx.Client(base_url=server.client.base_url, timeout=PATIENCE_S)
            self._clients[half].headers.clear()

    def send(self, exchange: Exchange) -> httpx.Response:
        return self._clients[exchange.half].request(
            exchange.method, exchange.path, content=exchange.body, headers=exchange.headers
        )

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class Soak:
    """Drives a service, and counts what comes of it."""

    def __init__(self, service: Service, images: dict[str, Pixels], plan: Plan) -> None:
        """Work out all answers beforehand.

        Args:
            service: running.
            images: uint8 (N, H, W, C) for each model, by its name.
            plan: how long and how much.
        """
        self.tally = Tally()
        self.samples: list[Sample] = []
        self._service = service
        self._plan = plan
        known = Known(service.registries["sender"], service.registries["receiver"], images)
        self._good = good_exchanges(known)
        hostile = Hostile(known).kinds()
        addresses = {half: server.address for half, server in service.servers.items()}
        rude = RudeClients(addresses, self._good, Manners(plan.dawdle_s, plan.burst)).kinds()
        self._polite: dict[str, Act] = {kind: _choose(exchanges) for kind, exchanges in self._good.items()}
        self._polite |= {kind: _make(make) for kind, make in hostile.items()}
        self._rude: dict[str, Act] = {kind: _be_rude(act) for kind, act in rude.items()}

    @property
    def kinds(self) -> set[str]:
        """All kinds of requests."""
        return {*self._polite, *self._rude}

    def run(self, watch: Callable[[float], None]) -> None:
        """Let all clients work to their end; `watch` is called now and then with the seconds since the start."""
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._work, args=(calls,), daemon=True)
            for kinds, count in ((self._polite, POLITE), (self._rude, RUDE))
            for calls in [_Calls(self._calls(kinds, began))]
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            passed = time.monotonic() - began
            self.samples.append(Sample(passed, self.tally.requests, self._service.resident_bytes()))
            watch(passed)
            time.sleep(1 if self._plan.seconds else 0.1)

    def ask_everything(self) -> None:
        """Ask every good request once, one after the other."""
        with closing(Client(self._service)) as client:
            for kind, exchanges in self._good.items():
                for exchange in exchanges:
                    self._attempt(kind, _choose([exchange]), client, Random(0))

    def _calls(self, kinds: dict[str, Act], began: float) -> Iterator[tuple[str, Act, Random]]:
        """Yield what is to be done, each with its own randomness, so that a seed always means the same requests."""
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
            yield name, kinds[name], Random(f"{self._plan.seed} {number} {name}")

    def _work(self, calls: "_Calls") -> None:
        with closing(Client(self._service)) as client:
            for kind, act, random in calls:
                self._attempt(kind, act, client, random)

    def _attempt(self, kind: str, act: Act, client: Client, random: Random) -> None:
        try:
            outcome, story = act(client, random), None
        except ServerFault as error:
            outcome, story = SERVER_ERROR, str(error)
        except WrongAnswer as error:
            outcome, story = WRONG, str(error)
        except (httpx.HTTPError, OSError) as error:
            outcome, story = NO_ANSWER, repr(error)
        except Exception as error:  # a thread that ends would leave the others to soak alone
            outcome, story = WRONG, repr(error)
        self.tally.count(kind, outcome, story)


class _Calls:
    """An iterator that several threads share."""

    def __init__(self, calls: Iterator[tuple[str, Act, Random]]) -> None:
        self._calls = calls
        self._lock = threading.Lock()

    def __iter__(self) -> "_Calls":
        return self

    def __next__(self) -> tuple[str, Act, Random]:
        with self._lock:
            return next(self._calls)


def _choose(exchanges: list[Exchange]) -> Act:
    return _make(lambda random: random.choice(exchanges))


def _make(make: Callable[[Random], Exchange]) -> Act:
    def act(client: Client, random: Random) -> str:
        exchange = make(random)
        answer = client.send(exchange)
        check_no_fault(answer)
        if answer.status_code == 429:
            check_problem(answer)
            time.sleep(float(answer.headers["retry-after"]) * random.random())
            return "turned away"
        exchange.check(answer)
        return "right" if answer.status_code == 200 else "refused"

    return act


def _be_rude(rude: Rude) -> Act:
    return lambda _client, random: rude(random)

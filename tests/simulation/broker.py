"""Redis as Celery uses it, on a bad day: messages are lost, doubled, late and out of order."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.errors import BrokerUnavailableError
from orchestrator.ports import Message, TaskMessage
from tests.simulation.faults import SIMULATED, Faults

DELAYS_S = (0.5, 20.0, 600.0, 7200.0)


@dataclass(slots=True)
class Broker:
    """The port `Publisher`, and the queues that simulated workers pop from."""

    faults: Faults
    later: Callable[[float, Callable[[], None]], None]
    """Runs an action after so many seconds of virtual time."""
    on_arrival: Callable[[str], None]
    on_publish: Callable[[Sequence[Message]], None] = lambda messages: None
    queues: dict[str, list[Message]] = field(default_factory=dict)
    delayed: Counter[tuple[str, int]] = field(default_factory=Counter)
    memory: int = 0
    """How often it has lost its memory."""

    def publish(self, messages: Sequence[Message]) -> None:
        self._check_up()
        self.on_publish(messages)
        for message in messages:
            if self.faults.happens("publish_unknown"):
                raise BrokerUnavailableError(f"{SIMULATED}: the pipeline broke in the middle")
            self._carry(message)
        if self.faults.happens("publish_unknown"):
            raise BrokerUnavailableError(f"{SIMULATED}: the pipeline's answer was lost")

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        self._check_up()
        return {queue: len(self.queues.get(queue, ())) for queue in queues}

    def generation(self) -> str:
        self._check_up()
        return str(self.memory)

    def flush(self) -> None:
        """Forget every message."""
        self.queues.clear()
        self.memory += 1

    def pop(self, queues: Sequence[str]) -> Message | None:
        """Give a worker its next message; from then on nobody else has it."""
        if self.faults.broker_is_down:
            return None
        for queue in queues:
            if self.queues.get(queue):
                return self.queues[queue].pop(0)
        return None

    def messages(self) -> set[tuple[str, int]]:
        """Name the tries whose message is on a queue or on its way there."""
        waiting = {_key(message) for queue in self.queues.values() for message in queue}
        return waiting | {key for key, count in self.delayed.items() if count}

    def _check_up(self) -> None:
        if self.faults.broker_is_down:
            raise BrokerUnavailableError(f"{SIMULATED}: Redis is away")

    def _carry(self, message: Message) -> None:
        if self.faults.happens("message_lost"):
            return
        copies = self.faults.rng.randint(2, 10) if self.faults.happens("message_doubled") else 1
        for _ in range(copies):
            if self.faults.happens("message_delayed"):
                delay_s = self.faults.rng.choice(DELAYS_S)
                self.delayed[_key(message)] += 1
                self.later(delay_s, partial(self._arrive_late, message))
            else:
                self._arrive(message)

    def _arrive_late(self, message: Message) -> None:
        self.delayed[_key(message)] -= 1
        self._arrive(message)

    def _arrive(self, message: Message) -> None:
        waiting = self.queues.setdefault(message.queue, [])
        position = len(waiting)
        if self.faults.rates.message_delayed and waiting:
            position = self.faults.rng.randrange(len(waiting) + 1)
        waiting.insert(position, message)
        self.on_arrival(message.queue)


@dataclass(slots=True)
class Bell:
    """The port `Doorbell`: ringing tells the world, which wakes whoever sleeps."""

    faults: Faults
    on_ring: Callable[[], None]
    on_ring_worker: Callable[[str], None]

    def ring(self) -> None:
        if not self.faults.happens("bell_lost"):
            self.on_ring()

    def wait(self, timeout_s: float) -> bool:
        raise AssertionError("nobody blocks in a simulated world")

    def ring_worker(self, worker_id: str) -> None:
        if not self.faults.happens("bell_lost"):
            self.on_ring_worker(worker_id)


def _key(message: Message) -> tuple[str, int]:
    if isinstance(message, TaskMessage):
        return message.ti_id.hex, message.epoch
    return message.callback_id.hex, 0

"""Did the messages reach the broker?

A message is a hint, so nothing here is lost by failing: what may not have arrived is only
remembered as a doubt, which the janitor resolves against SQL once the broker answers.
"""

from collections.abc import Collection, Mapping, Sequence

import structlog

from orchestrator.errors import BrokerUnavailableError
from orchestrator.ports import Message, Publisher

__all__ = ["Dispatch"]

PROBE_WAIT_MAX_S = 15.0
"""A frozen broker blocks each probe until its timeout, so probes become rarer while it is away."""

_log = structlog.get_logger(__name__)


class Dispatch:
    """A publisher that never raises, and what is known of the broker behind it."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._generation: str | None = None
        self._failed_probes = 0
        self._probe_at_s = 0.0
        self._is_well = True
        self.in_doubt = True
        """Messages may be missing: true at the start, since whoever ran before may have died
        between its commit and its publishing."""

    def send(self, messages: Sequence[Message]) -> None:
        """Publish what has been committed. While the broker is known to be away nothing is tried,
        since each attempt could block until its timeout."""
        if not messages:
            return
        if not self._is_well:
            self.in_doubt = True
            return
        try:
            self._publisher.publish(messages)
        except BrokerUnavailableError as error:
            self._lose(error)

    def depths(self, queues: Collection[str]) -> Mapping[str, int] | None:
        """Return how many messages wait on each queue; None when the broker does not say."""
        try:
            return self._publisher.depths(queues)
        except BrokerUnavailableError as error:
            self._lose(error)
            return None

    def probe(self, now_s: float) -> bool:
        """Ask the broker whether it is there and still remembers what it was sent."""
        if not self._is_well and now_s < self._probe_at_s:
            return False
        try:
            generation = self._publisher.generation()
        except BrokerUnavailableError as error:
            self._lose(error)
            self._failed_probes += 1
            self._probe_at_s = now_s + min(2.0**self._failed_probes, PROBE_WAIT_MAX_S)
            return False
        if not self._is_well:
            _log.info("broker_available_again")
        self._is_well, self._failed_probes = True, 0
        if generation != self._generation:
            if self._generation is not None:
                _log.warning("broker_lost_its_memory", cure="republishing every queued task")
            self._generation, self.in_doubt = generation, True
        return True

    def _lose(self, error: BrokerUnavailableError) -> None:
        self.in_doubt = True
        if self._is_well:
            _log.warning(
                "broker_unavailable",
                error=str(error),
                effect="queued tasks wait in SQL; they are published when the broker is back",
            )
        self._is_well = False

"""What must be known of a task instance and its surroundings to explain it?"""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.admission import Candidate, Capacity
from orchestrator.core.explain import Surroundings
from orchestrator.core.ids import Slot
from orchestrator.core.past import PreviousRun
from orchestrator.core.scheduling import Instance
from orchestrator.core.specs import DagSpec
from orchestrator.core.views import TaskInstanceView


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstanceFacts:
    """All that an explanation looks at, read in one transaction. `instances` is empty for a run
    that has not started, `previous` None if no task looks back, or at nothing."""

    task_instance: TaskInstanceView
    spec: DagSpec
    run_started_at: datetime | None
    instances: tuple[tuple[Slot, Instance], ...]
    previous: PreviousRun | None
    candidate: Candidate | None
    capacity: Capacity
    around: Surroundings

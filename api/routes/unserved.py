"""What Airflow's clients can ask for and is not here: each answer says so, and what there is."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from api.problems import problem

__all__ = ["UNSERVED", "router"]

_RUN = "/dags/{dag_id}/dagRuns/{dag_run_id}"
_TASK = _RUN + "/taskInstances/{task_id}"

UNSERVED: Mapping[str, tuple[str, ...]] = {
    "assets are not served here yet; a task triggers other runs with TriggerDagRunOperator": (
        "GET /assets",
        "GET /assets/aliases",
        "GET /assets/aliases/{asset_alias_id}",
        "GET /assets/events",
        "POST /assets/events",
        "POST /assets/{asset_id}/materialize",
        "GET /assets/{asset_id}/queuedEvents",
        "DELETE /assets/{asset_id}/queuedEvents",
        "GET /assets/{asset_id}",
        "GET /dags/{dag_id}/assets/queuedEvents",
        "DELETE /dags/{dag_id}/assets/queuedEvents",
        "GET /dags/{dag_id}/assets/{asset_id}/queuedEvents",
        "DELETE /dags/{dag_id}/assets/{asset_id}/queuedEvents",
        f"GET {_RUN}/upstreamAssetEvents",
        "POST /dags/{dag_id}/clearPartitions",
        "GET /assets/{asset_id}/state-store",
        "DELETE /assets/{asset_id}/state-store",
        "GET /assets/{asset_id}/state-store/{key}",
        "PUT /assets/{asset_id}/state-store/{key}",
        "DELETE /assets/{asset_id}/state-store/{key}",
    ),
    "backfills are not served here yet; trigger a run for each logical date": (
        "GET /backfills",
        "POST /backfills",
        "POST /backfills/dry_run",
        "GET /backfills/{backfill_id}",
        "PUT /backfills/{backfill_id}/pause",
        "PUT /backfills/{backfill_id}/unpause",
        "PUT /backfills/{backfill_id}/cancel",
    ),
    "there are no default Connections here; make those that you need with POST /connections": (
        "POST /connections/defaults",
    ),
    "many runs are not changed at once here yet; change them one by one": (
        "PATCH /dags/{dag_id}/dagRuns",
        "POST /dags/{dag_id}/clearDagRuns",
    ),
    "history is not deleted over the API yet; clear what shall run again": (
        f"DELETE {_RUN}",
        "DELETE /dags/{dag_id}",
        f"DELETE {_TASK}",
    ),
    "many task instances are not changed at once here yet; name a group, or one by one": (
        f"PATCH {_RUN}/taskInstances",
    ),
    "there are no users here yet, and so no favourites of theirs": (
        "POST /dags/{dag_id}/favorite",
        "POST /dags/{dag_id}/unfavorite",
        "GET /auth/login",
        "GET /auth/logout",
    ),
    "there is no event log here yet; runs and task instances say themselves why they changed": (
        "GET /eventLogs",
        "GET /eventLogs/{event_log_id}",
    ),
    "logs are kept here and nowhere else; read them at .../logs/{try_number}": (
        f"GET {_TASK}/externalLogUrl/{{try_number}}",
    ),
    "tasks cannot wait for a person's answer here yet": (
        f"GET {_RUN}/hitlDetails",
        f"GET {_TASK}/{{map_index}}/hitlDetails",
        f"PATCH {_TASK}/{{map_index}}/hitlDetails",
        f"GET {_TASK}/{{map_index}}/hitlDetails/tries/{{try_number}}",
    ),
    "what a task keeps for its next tries is read and written by the task alone": (
        f"GET {_TASK}/state-store",
        f"DELETE {_TASK}/state-store",
        f"GET {_TASK}/state-store/{{key}}",
        f"PUT {_TASK}/state-store/{{key}}",
        f"PATCH {_TASK}/state-store/{{key}}",
        f"DELETE {_TASK}/state-store/{{key}}",
    ),
    "files are read again as soon as they change; save the file": (
        "PUT /parseDagFile/{file_token}",
    ),
}

router = APIRouter(include_in_schema=False)


def _refuse(sentence: str, operation: str) -> None:
    method, path = operation.split(" ")

    def answer() -> Any:
        return problem(501, sentence)

    router.add_api_route(
        path, answer, methods=[method], response_model=None, name=operation, status_code=501
    )


for _sentence, _operations in UNSERVED.items():
    for _operation in _operations:
        _refuse(_sentence, _operation)

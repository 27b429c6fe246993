"""What happens to many changes asked for at once? Each is tried, and none hides another's error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from api.problems import status_of
from api.schemas.bulk import (
    BulkActionResponse,
    BulkBody,
    BulkCreate,
    BulkDelete,
    BulkResponse,
    BulkUpdate,
)
from orchestrator.errors import BrokerUnavailableError, OrchestratorError, StoreUnavailableError

__all__ = ["Entities", "change_in_bulk"]

_NAMED_MAX = 20
E = TypeVar("E", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities(Generic[E]):
    """What can be done with one kind of thing. Every function raises what its route would."""

    kind: str
    """In the plural."""
    name_of: Callable[[E], str]
    exists: Callable[[str], bool]
    create: Callable[[E], object]
    overwrite: Callable[[E], object]
    update: Callable[[E, Sequence[str]], object]
    delete: Callable[[str], object]


def change_in_bulk(body: BulkBody[E], entities: Entities[E]) -> BulkResponse:
    """Carry the actions out, in order, and say how each went. The answer is the same kind of
    answer whether all or nothing succeeded. As in Airflow an action that shall fail on what exists
    (or does not) does nothing at all then."""
    response = BulkResponse()
    for action in body.actions:
        said = getattr(response, action.action) or BulkActionResponse()
        setattr(response, action.action, said)
        match action:
            case BulkCreate():
                _create(action, entities, said)
            case BulkUpdate():
                _update(action, entities, said)
            case BulkDelete():
                _delete(action, entities, said)
    return response


def _create(action: BulkCreate[E], entities: Entities[E], said: BulkActionResponse) -> None:
    names = [entities.name_of(each) for each in action.entities]
    taken = {name for name in names if entities.exists(name)}
    if taken and action.action_on_existence == "fail":
        said.errors.append(_refusal(409, entities.kind, taken, "exist already"))
        return
    for name, each in zip(names, action.entities, strict=True):
        if name not in taken:
            _try(said, name, lambda each=each: entities.create(each))  # type: ignore[misc]
        elif action.action_on_existence == "overwrite":
            _try(said, name, lambda each=each: entities.overwrite(each))  # type: ignore[misc]


def _update(action: BulkUpdate[E], entities: Entities[E], said: BulkActionResponse) -> None:
    mask = action.update_mask or ()
    names = [entities.name_of(each) for each in action.entities]
    missing = {name for name in names if not entities.exists(name)}
    if missing and action.action_on_non_existence == "fail":
        said.errors.append(_refusal(404, entities.kind, missing, "do not exist"))
        return
    for name, each in zip(names, action.entities, strict=True):
        if name not in missing:
            _try(said, name, lambda each=each: entities.update(each, mask))  # type: ignore[misc]


def _delete(action: BulkDelete[E], entities: Entities[E], said: BulkActionResponse) -> None:
    names = [each if isinstance(each, str) else entities.name_of(each) for each in action.entities]
    missing = {name for name in names if not entities.exists(name)}
    if missing and action.action_on_non_existence == "fail":
        said.errors.append(_refusal(404, entities.kind, missing, "do not exist"))
        return
    for name in dict.fromkeys(names):
        if name not in missing:
            _try(said, name, lambda name=name: entities.delete(name))  # type: ignore[misc]


def _try(said: BulkActionResponse, name: str, do: Callable[[], object]) -> None:
    try:
        do()
    except (StoreUnavailableError, BrokerUnavailableError):
        raise  # it would be the same for all the others
    except OrchestratorError as error:
        said.errors.append({"error": str(error), "status_code": status_of(error)})
    else:
        said.success.append(name)


def _refusal(status: int, kind: str, names: set[str], what: str) -> dict[str, object]:
    shown = sorted(names)[:_NAMED_MAX]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    listed = ", ".join(repr(name) for name in shown)
    return {
        "error": f"{kind} {listed}{more} {what}; nothing of this action was done",
        "status_code": status,
    }

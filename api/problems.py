"""How is what goes wrong answered? Always JSON: `{"detail": ...}` with the cause and the cure."""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from orchestrator.errors import (
    AuthorError,
    CallerError,
    ConflictError,
    NotFoundError,
    OperatorError,
    OrchestratorError,
    RequestInvalidError,
    did_you_mean,
)

__all__ = ["API_PREFIX", "install_problem_handlers", "problem", "status_of"]

API_PREFIX = "/api/v2"
INPUT_SHOWN_MAX = 200
ERRORS_SHOWN_MAX = 20

_log = structlog.get_logger()


def problem(status: int, detail: object, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a problem; whatever is in `detail` becomes text that JSON can carry."""
    return _json(status, {"detail": detail}, headers=headers)


def status_of(error: OrchestratorError) -> int:
    """Return the HTTP status that says what kind of error this is."""
    match error:
        case NotFoundError():
            return 404
        case ConflictError():
            return 409
        case RequestInvalidError() if str(error).startswith(("order_by=", "cursor=")):
            return 400
        case AuthorError() | CallerError():
            return 422
        case OperatorError():
            return 503
        case _:
            return 500


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a JSON answer."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(OrchestratorError, _on_own_error)
    app.add_exception_handler(Exception, _on_unexpected_error)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and request.url.path.startswith(API_PREFIX):
        return _route_not_found()  # what routes miss themselves they say by NotFoundError
    return problem(error.status_code, error.detail, headers=error.headers)


def _route_not_found() -> Response:
    return _json(404, {"error": "API route not found"})


def _on_own_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OrchestratorError)
    message = str(error)
    match status_of(error):
        case 409:
            hidden = {"statement": "hidden", "orig_error": message}
            return problem(409, {"reason": "Conflict", **hidden, "message": message})
        case 503:
            _log.warning("request_not_possible", path=request.url.path, reason=message)
            return problem(503, message, headers={"Retry-After": "5"})
        case 500:
            return _on_unexpected_error(request, error)
        case status:
            return problem(status, message)


def _on_unexpected_error(request: Request, error: Exception) -> Response:
    error_id = uuid.uuid4().hex[:12]
    _log.error("request_failed", path=request.url.path, error_id=error_id, exc_info=error)
    return problem(
        500, f"this is a fault of the server; its log has the cause under error_id={error_id}"
    )


def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    # A word where a map index belongs is a resource that is not served here.
    if any(one["loc"] == ("path", "map_index") and one["type"] == "int_parsing" for one in errors):
        return _route_not_found()
    # Airflow answers a wrong value of an enum in the query with a sentence, not a list.
    if all(one["type"] == "enum" and one["loc"][0] == "query" for one in errors):
        return problem(422, "; ".join(_in_words(one) for one in errors))
    route = request.scope.get("route")
    known = _known_parameters(route)
    return problem(422, [_shown(one, known) for one in errors[:ERRORS_SHOWN_MAX]])


def _in_words(error: Mapping[str, Any]) -> str:
    name = error["loc"][1]
    return f"Invalid value for {name}: {_short(error['input'])}; {error['msg']}"


def _shown(error: Mapping[str, Any], known: Sequence[str]) -> Mapping[str, Any]:
    message = str(error["msg"])
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        place = "parameter" if error["loc"][0] == "query" else "field"
        hint = did_you_mean(name, known) if place == "parameter" else ""
        message = f"there is no {place} {_short(name)} here{hint}"
    return {
        "type": error["type"],
        "loc": list(error["loc"]),
        "msg": message,
        "input": _short(error.get("input")),
    }


def _known_parameters(route: Any) -> Sequence[str]:
    """Return the query parameters of a route."""
    dependant = getattr(route, "dependant", None)
    if dependant is None:
        return ()
    names: list[str] = []
    for parameter in dependant.query_params:
        fields = getattr(parameter.field_info.annotation, "model_fields", None)
        names.extend([parameter.name] if fields is None else fields)
    return names


def _short(value: object) -> object:
    """Return a value if it is small JSON, otherwise the beginning of how it is written."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= INPUT_SHOWN_MAX else text[:INPUT_SHOWN_MAX] + "..."


def _json(status: int, content: object, *, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, default=str)  # in ASCII: no character of the request can offend
    return Response(
        body, status_code=status, media_type="application/json", headers=dict(headers or {})
    )

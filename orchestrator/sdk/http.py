"""Tasks that call a server over HTTP, or wait until it says that something is so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.hooks.http import HttpHook
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.sensors import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["HttpOperator", "HttpSensor"]

PAGES_MAX = 10_000
"""A pagination that never ends is one that goes in circles."""


class HttpOperator(BaseOperator):
    """Calls an endpoint of a Connection's server and pushes the text of the answer, or what
    `response_filter(response)` makes of it.

    `response_check(response)` must be true; both may also take entries of the context by name.
    `pagination_function(response)` returns what of endpoint, data, headers and extra_options to
    change for the next page, or None; then the answers are a list. `retries` is the task's own;
    `http_retries` repeats a request within one try.
    """

    template_fields: Sequence[str] = ("endpoint", "data", "headers", "http_conn_id")

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        method: str = "POST",
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        pagination_function: Callable[..., Any] | None = None,
        response_check: Callable[..., Any] | None = None,
        response_filter: Callable[..., Any] | None = None,
        extra_options: Mapping[str, Any] | None = None,
        request_kwargs: Mapping[str, Any] | None = None,
        http_conn_id: str = HttpHook.default_conn_name,
        log_response: bool = False,
        auth_type: Callable[[Any, Any], Any] | None = None,
        http_retries: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.method = self.subject.text("method", method)
        self.data = data
        self.headers = headers
        self.pagination_function = pagination_function
        self.response_check = response_check
        self.response_filter = response_filter
        self.extra_options = extra_options
        self.request_kwargs = request_kwargs
        self.http_conn_id = http_conn_id
        self.log_response = self.subject.flag("log_response", log_response)
        self.auth_type = auth_type
        self.http_retries = self.subject.whole("http_retries", http_retries, least=0)

    def execute(self, context: Context) -> Any:
        """Call it."""
        hook = self.hook
        request = {
            "endpoint": self.endpoint,
            "data": self.data,
            "headers": self.headers,
            "extra_options": self.extra_options,
            **(self.request_kwargs or {}),
        }
        answers = [hook.run(**request)]
        if self.pagination_function is None:
            return self.process_response(context, answers[0])
        while (change := self.pagination_function(answers[-1])) is not None:
            if len(answers) >= PAGES_MAX:
                raise TaskException(f"the pagination does not end: {PAGES_MAX} pages were read")
            request = {**request, **change}
            answers.append(hook.run(**request))
        return self.process_response(context, answers)

    @property
    def hook(self) -> HttpHook:
        """The hook of its Connection."""
        return HttpHook(self.method, self.http_conn_id, self.auth_type, retries=self.http_retries)

    def process_response(self, context: Context, response: Any) -> Any:
        """Check an answer, or the list of them, and return what is pushed."""
        answers = response if isinstance(response, list) else [response]
        if self.log_response:
            for answer in answers:
                self.log.info("%s", answer.text)
        if self.response_check is not None and not call_with(
            self.response_check, response, context
        ):
            raise TaskException(f"response_check said no to the answer of {answers[-1].url}")
        if self.response_filter is not None:
            return call_with(self.response_filter, response, context)
        texts = [answer.text for answer in answers]
        return texts if isinstance(response, list) else texts[0]


class HttpSensor(BaseSensorOperator):
    """Waits until an endpoint answers without an error, and `response_check(response)`, if given,
    is true. A 404 (`response_error_codes_allowlist`) means: not yet; other errors fail the task."""

    template_fields: Sequence[str] = ("endpoint", "request_params", "headers", "http_conn_id")

    def __init__(
        self,
        *,
        endpoint: str,
        http_conn_id: str = HttpHook.default_conn_name,
        method: str = "GET",
        request_params: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, Any] | None = None,
        response_error_codes_allowlist: Sequence[str] = ("404",),
        response_check: Callable[..., Any] | None = None,
        extra_options: Mapping[str, Any] | None = None,
        auth_type: Callable[[Any, Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = self.subject.text("method", method)
        self.request_params = request_params
        self.headers = headers
        self.response_error_codes_allowlist = tuple(
            str(code) for code in response_error_codes_allowlist
        )
        self.response_check = response_check
        self.extra_options = extra_options
        self.auth_type = auth_type

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once."""
        hook = HttpHook(self.method, self.http_conn_id, self.auth_type)
        options = {**(self.extra_options or {}), "check_response": False}
        response = hook.run(
            self.endpoint,
            data=self.request_params,
            headers=self.headers,
            extra_options=options,
        )
        if str(response.status_code) in self.response_error_codes_allowlist:
            return False
        hook.check_response(response)
        if self.response_check is None:
            return True
        answer = call_with(self.response_check, response, context)
        return answer if isinstance(answer, PokeReturnValue) else bool(answer)


def call_with(function: Callable[..., Any], response: Any, context: Context) -> Any:
    """Call a function with an answer and those entries of the context that it names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin
        return function(response)
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return function(response, **context)
    names = [each.name for each in parameters][1:]
    return function(response, **{name: context[name] for name in names if name in context})

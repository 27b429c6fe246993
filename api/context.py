"""How does a route get at the store and at what a person can do?"""

from typing import Annotated

from fastapi import Depends, Request

from orchestrator.bootstrap import Services

__all__ = ["Context"]


def _services_of(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Context = Annotated[Services, Depends(_services_of)]
"""The services of this process, shared by all requests and safe in threads."""

"""Tasks whose function runs in a virtual environment that is built for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.other_interpreters import JSON, OtherPythonOperator
from orchestrator.sdk.python import BaseBranchOperator
from orchestrator.sdk.references import Reference
from orchestrator.sdk.services import current_services
from orchestrator.sdk.virtualenvs import VenvWish, build_venv, kept_venv

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["BranchPythonVirtualenvOperator", "PythonVirtualenvOperator"]


class PythonVirtualenvOperator(OtherPythonOperator):
    """Calls a function in a virtual environment with `requirements`: a list of what pip installs,
    or the text of a requirements file.

    The environment is kept, under `venv_cache_path` or else in the worker's data folder, and used
    again by every task that asks for the same. `python_version` names another Python of the
    worker's PATH; `index_urls` are where pip looks instead of where it is configured to.
    """

    template_fields: Sequence[str] = (
        "requirements",
        "index_urls",
        "venv_cache_path",
        *OtherPythonOperator.template_fields,
    )
    template_ext: Sequence[str] = (".txt",)

    def __init__(
        self,
        *,
        requirements: str | Iterable[str] | None = None,
        python_version: str | float | None = None,
        system_site_packages: bool = True,
        pip_install_options: Iterable[str] | None = None,
        index_urls: str | Iterable[str] | None = None,
        venv_cache_path: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        subject = self.subject
        if requirements is not None and not isinstance(requirements, str | Iterable):
            raise subject.error(
                f"requirements is {requirements!r}; it must be a list of what pip installs"
            )
        self.requirements: Any = (
            requirements if isinstance(requirements, str | Reference) else list(requirements or ())
        )
        self.python_version = None if python_version is None else str(python_version)
        self.system_site_packages = subject.flag("system_site_packages", system_site_packages)
        self.pip_install_options = tuple(pip_install_options or ())
        self.index_urls: Any = [index_urls] if isinstance(index_urls, str) else index_urls
        self.venv_cache_path: Any = (
            str(venv_cache_path) if isinstance(venv_cache_path, Path) else venv_cache_path
        )
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def execute(self, context: Context) -> Any:
        """Call the function there; an environment that is not kept goes with the try."""
        try:
            return super().execute(context)
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def interpreter(self) -> str:
        """Find or build the environment."""
        kept: str | Path | None = self.venv_cache_path or current_services().venvs_folder
        if kept is not None:
            return kept_venv(self._wish(), Path(kept), self.log)
        self._temporary = tempfile.TemporaryDirectory(prefix="orchestrator-venv-")
        return build_venv(self._wish(), Path(self._temporary.name) / "venv", self.log)

    def _wish(self) -> VenvWish:
        needed = self.requirements
        listed = needed.splitlines() if isinstance(needed, str) else needed
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise TaskException(f"requirements is {needed!r}; it must be a list of texts")
        stripped = [each.strip() for each in listed]
        named = [each for each in stripped if each and not each.startswith("#")]
        if self.serializer not in (JSON, "pickle"):
            named.append(self.serializer)
        return VenvWish(
            requirements=tuple(named),
            python_version=self.python_version,
            system_site_packages=self.system_site_packages,
            pip_install_options=self.pip_install_options,
            index_urls=None if self.index_urls is None else tuple(self.index_urls),
        )


class BranchPythonVirtualenvOperator(BaseBranchOperator, PythonVirtualenvOperator):
    """A branch whose function runs in a virtual environment that is built for it."""

    def choose_branch(self, context: Context) -> Any:
        """Ask the function."""
        return PythonVirtualenvOperator.execute(self, context)


class DecoratedVirtualenv(PythonVirtualenvOperator):
    """What `@task.virtualenv` makes of a function."""

    @property
    def operator_name(self) -> str:
        """The decorator's name."""
        return "@task.virtualenv"


class DecoratedBranchVirtualenv(BranchPythonVirtualenvOperator):
    """What `@task.branch_virtualenv` makes of a function."""

    @property
    def operator_name(self) -> str:
        """The decorator's name."""
        return "@task.branch_virtualenv"

"""What the store is told about one file, and who owns a dag_id that two files claim."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.core.codec import content_hash
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParsedFile,
    ParseWarning,
    ProblemKind,
)
from orchestrator.ports import DagCatalog, ParsedVersion

__all__ = ["Registration", "carry_out", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One file's standing. With an `error` of the whole file its earlier DAGs stay as they are
    (`keeps_all`): the last good version keeps running while the file is broken."""

    path: str
    versions: tuple[ParsedVersion, ...] = ()
    keeps_all: bool = False
    error: ImportProblem | None = None
    warnings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def judge(
    parsed: ParsedFile, rivals: Mapping[str, str], *, quarantined_s: float | None = None
) -> Registration:
    """Decide what the store is told. `rivals` maps a dag_id to the other file that owns it.

    An owned dag_id is an import error of this file; its other DAGs are registered all the same.
    """
    if parsed.error is not None:
        return Registration(
            path=parsed.path, keeps_all=True, error=_with_quarantine(parsed.error, quarantined_s)
        )
    own = tuple(dag for dag in parsed.dags if dag.spec.dag_id not in rivals)
    taken = tuple(dag for dag in parsed.dags if dag.spec.dag_id in rivals)
    return Registration(
        path=parsed.path,
        versions=tuple(_version(parsed, dag) for dag in own),
        error=_duplicate(parsed.path, taken, rivals) if taken else None,
        warnings=_warnings(tuple(dag.spec.dag_id for dag in own), parsed.warnings),
    )


def carry_out(registration: Registration, catalog: DagCatalog) -> None:
    """Tell the store. Each call is safe to repeat, so a half-told file is told again in full."""
    path, error = registration.path, registration.error
    for version in registration.versions:
        catalog.register(version)
    if not registration.keeps_all:
        catalog.keep_only(path, tuple(version.spec.dag_id for version in registration.versions))
    for dag_id, warnings in registration.warnings.items():
        catalog.record_warnings(dag_id, warnings)
    if error is None:
        catalog.clear_import_error(path)
    else:
        catalog.record_import_error(
            path, kind=error.kind, message=error.message, stacktrace=_stacktrace(error)
        )


def _version(parsed: ParsedFile, dag: ParsedDag) -> ParsedVersion:
    return ParsedVersion(
        spec=dag.spec,
        path=parsed.path,
        source=parsed.text,
        source_digest=parsed.digest,
        content_hash=content_hash(dag.spec, parsed.text, volatile=dag.volatile),
    )


def _duplicate(path: str, taken: tuple[ParsedDag, ...], rivals: Mapping[str, str]) -> ImportProblem:
    first = taken[0]
    place = f"{path}:{first.line}" if first.line else path
    named = ", ".join(f"{dag.spec.dag_id!r} (by {rivals[dag.spec.dag_id]})" for dag in taken)
    return ImportProblem(
        kind=ProblemKind.DUPLICATE,
        line=first.line,
        message=(
            f"{place}: dag_id is taken by another file, which keeps it: {named}; give the DAG here "
            "another dag_id, or remove one of the two"
        ),
    )


def _warnings(
    dag_ids: tuple[str, ...], warnings: tuple[ParseWarning, ...]
) -> Mapping[str, Mapping[str, str]]:
    """Sort warnings by DAG and kind; one about the whole file goes to each of its DAGs."""
    by_dag: dict[str, dict[str, str]] = {dag_id: {} for dag_id in dag_ids}
    for warning in warnings:
        for dag_id in dag_ids if warning.dag_id is None else (warning.dag_id,):
            if dag_id in by_dag:
                earlier = by_dag[dag_id].get(warning.kind)
                text = f"{earlier}\n{warning.message}" if earlier else warning.message
                by_dag[dag_id][warning.kind.value] = text
    return by_dag


def _with_quarantine(error: ImportProblem, quarantined_s: float | None) -> ImportProblem:
    if quarantined_s is None:
        return error
    minutes = round(quarantined_s / 60)
    return replace(
        error,
        message=(
            f"{error.message} (so ended every import in a row; the file is tried again when it "
            f"changes, or in {minutes} min)"
        ),
    )


def _stacktrace(error: ImportProblem) -> str:
    if not error.output:
        return error.stacktrace
    return f"{error.stacktrace}\nPrinted while it was imported:\n{error.output}"

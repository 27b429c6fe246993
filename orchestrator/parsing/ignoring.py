"""Which paths of the DAG folder its ignore files take out.

`.orchestratorignore` (or `.airflowignore`) in any folder holds gitignore's patterns for that folder
and those below: `*` within a name, `**` across folders, a leading or inner `/` ties a pattern to
its folder, a trailing `/` means folders only, `!` takes a path back in, the last match decides.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IGNORE_FILES", "IgnoreRule", "is_ignored", "read_rules"]

IGNORE_FILES = (".airflowignore", ".orchestratorignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One line of an ignore file, as a regular expression over paths relative to the DAG folder."""

    regex: re.Pattern[str]
    takes_back: bool
    folders_only: bool


def read_rules(folder: Path, *, relative: str) -> tuple[IgnoreRule, ...]:
    """Read a folder's ignore files; `relative` is the folder's own path in the DAG folder, ending
    in a slash unless empty. A line that is no pattern is passed over, as git does."""
    rules: list[IgnoreRule] = []
    for name in IGNORE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        rules.extend(
            rule for line in text.splitlines() if (rule := _parse(line, relative)) is not None
        )
    return tuple(rules)


def is_ignored(relative: str, rules: tuple[IgnoreRule, ...], *, is_folder: bool) -> bool:
    """Say whether a path is taken out. Ask for each folder on the way down as well."""
    ignored = False
    for rule in rules:
        if (is_folder or not rule.folders_only) and rule.regex.fullmatch(relative):
            ignored = not rule.takes_back
    return ignored


def _parse(line: str, relative: str) -> IgnoreRule | None:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return None
    takes_back = pattern.startswith("!")
    pattern = pattern.removeprefix("!").removeprefix("\\")
    folders_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    prefix = re.escape(relative) + ("" if anchored else "(?:.*/)?")
    try:
        regex = re.compile(prefix + _translate(pattern.lstrip("/")))
    except re.error:
        return None
    return IgnoreRule(regex=regex, takes_back=takes_back, folders_only=folders_only)


_TOKENS = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^\]]+\]|.", re.DOTALL)


def _translate(pattern: str) -> str:
    return "".join(_token(match[0]) for match in _TOKENS.finditer(pattern))


def _token(token: str) -> str:
    match token:
        case "**/":
            return "(?:.*/)?"
        case "/**":
            return "/.*"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _ if len(token) > 1:
            return token.replace("[!", "[^", 1)
        case _:
            return re.escape(token)

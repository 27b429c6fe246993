"""Which paths of the DAG folder its ignore files take out.

`.orchestratorignore` (or `.airflowignore`) in any folder holds gitignore's patterns for that folder
and those below: `*` within a name, `**` across folders, a leading or inner `/` ties a pattern to
its folder, a trailing `/` means folders only, `!` takes a path back in, the last match decides.

After a line `syntax: regexp` the lines are regular expressions, as in older Airflow: one that is
found anywhere in a path relative to the file's folder takes it out. `syntax: glob` goes back.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IGNORE_FILES", "IgnoreRule", "is_ignored", "read_rules"]

IGNORE_FILES = (".airflowignore", ".orchestratorignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One line of an ignore file. `regex` is over paths relative to the folder `base`, which ends
    in a slash unless it is the DAG folder itself."""

    base: str
    regex: re.Pattern[str]
    is_whole: bool = True
    """Whether the expression must fit the whole path, or is looked for in it."""
    takes_back: bool = False
    folders_only: bool = False

    def fits(self, relative: str, *, is_folder: bool) -> bool:
        """Say whether a path, relative to the DAG folder, is one that the line means."""
        if (self.folders_only and not is_folder) or not relative.startswith(self.base):
            return False
        path = relative[len(self.base) :]
        return bool(self.regex.fullmatch(path) if self.is_whole else self.regex.search(path))


def read_rules(folder: Path, *, relative: str) -> tuple[IgnoreRule, ...]:
    """Read a folder's ignore files; `relative` is the folder's own path in the DAG folder, ending
    in a slash unless empty. A line that is no pattern is passed over, as git does."""
    rules: list[IgnoreRule] = []
    for name in IGNORE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parse = _parse_glob
        for line in text.splitlines():
            if (syntax := _SYNTAX.fullmatch(line)) is not None:
                parse = _PARSERS[syntax[1]]
            elif (rule := parse(line, relative)) is not None:
                rules.append(rule)
    return tuple(rules)


def is_ignored(relative: str, rules: tuple[IgnoreRule, ...], *, is_folder: bool) -> bool:
    """Say whether a path is taken out. Ask for each folder on the way down as well."""
    ignored = False
    for rule in rules:
        if rule.fits(relative, is_folder=is_folder):
            ignored = not rule.takes_back
    return ignored


def _parse_regexp(line: str, relative: str) -> IgnoreRule | None:
    pattern = _REGEXP_COMMENT.sub("", line).strip()
    if not pattern:
        return None
    try:
        return IgnoreRule(base=relative, regex=re.compile(pattern), is_whole=False)
    except re.error:
        return None


def _parse_glob(line: str, relative: str) -> IgnoreRule | None:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return None
    takes_back = pattern.startswith("!")
    pattern = pattern.removeprefix("!").removeprefix("\\")
    folders_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    prefix = "" if anchored else "(?:.*/)?"
    try:
        regex = re.compile(prefix + _translate(pattern.lstrip("/")))
    except re.error:
        return None
    return IgnoreRule(base=relative, regex=regex, takes_back=takes_back, folders_only=folders_only)


_SYNTAX = re.compile(r"\s*syntax:\s*(glob|regexp)\s*")
_REGEXP_COMMENT = re.compile(r"\s*#.*")
_PARSERS = {"glob": _parse_glob, "regexp": _parse_regexp}


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

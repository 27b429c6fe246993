"""Where does one SQL statement end and the next begin?

At a semicolon that stands in no quotes, comment or dollar-quoted body. Bodies of triggers and
procedures that are written without quotes are not understood: send those one by one.
"""

import re

__all__ = ["split_statements"]

_TOKEN = re.compile(
    r"""
      (?P<end>;)
    | --[^\n]*
    | /\*.*?(?:\*/|\Z)
    | '(?:[^']|'')*(?:'|\Z)
    | "(?:[^"]|"")*(?:"|\Z)
    | `[^`]*(?:`|\Z)
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def split_statements(text: str) -> list[str]:
    """Return the statements of a text, without their semicolons, empty ones left out."""
    ends = [match.start() for match in _TOKEN.finditer(text) if match["end"]]
    pieces = [
        text[start:end].strip()
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)
    ]
    return [piece for piece in pieces if _COMMENT.sub("", piece).strip()]

"""What text a file holds, and whether it can be a DAG file at all."""

import hashlib
import io
import tokenize

__all__ = ["decode_source", "digest_of", "may_define_dags"]


def may_define_dags(data: bytes) -> bool:
    """Say whether a file is worth importing: it mentions `dag` and whom it is written for.

    Airflow's safe mode. A helper module in the DAG folder is thus never imported by itself. A file
    written for `airflow` counts too: its author shall hear why it does not import here.
    """
    lower = data.lower()
    return b"dag" in lower and (b"orchestrator" in lower or b"airflow" in lower)


def decode_source(data: bytes) -> str:
    """Read source text as Python does: a byte order mark, a coding line, else UTF-8.

    Raise SyntaxError or UnicodeDecodeError (both say what is wrong) when it is not text.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def digest_of(text: str) -> str:
    """Name a text by its SHA-256, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

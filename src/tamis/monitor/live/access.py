"""Who may write: a token in a file that only its owner can read."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from tamis._base import UsageError

TOKEN_LEAST = 16  # characters


def token_of(path: Path) -> str:
    """Return the token of a file; one that does not exist is created, with a random token."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        token = secrets.token_urlsafe(24)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
        return token
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"the token file {path} has mode {stat.S_IMODE(mode):o}: others can access it; run chmod 600 on it"
        )
    words = text.split()
    if len(words) != 1 or len(words[0]) < TOKEN_LEAST or not words[0].isascii():
        raise UsageError(
            f"the token file {path} has to contain one token of at least {TOKEN_LEAST} ASCII characters; remove it to get a new one"
        )
    return words[0]


def is_allowed(token: str, authorization: str) -> bool:
    """Return whether an Authorization header has the token."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())

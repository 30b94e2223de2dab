"""Notes that come from the live page."""

from __future__ import annotations

import json
import re

from tamis._base import utc_timestamp
from tamis.monitor.journal import OVERRIDES, JournalNote
from tamis.monitor.live.wire import RefusedRequest

PERSON_MOST, TEXT_MOST = 80, 2000  # characters
ACTIONS = (*OVERRIDES, "acknowledge", "comment")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def note_of(body: bytes) -> JournalNote:
    """Return the note of a request; raise RefusedRequest where it is not complete."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedRequest(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise RefusedRequest(400, "the body has to be an object")
    key = [found.get(name) for name in ("run", "block")]
    if not all(type(one) is int and 0 <= one < 2**53 for one in key):
        raise RefusedRequest(400, "`run` and `block` have to be integers")
    person, action, text = (found.get(name, "") for name in ("person", "action", "text"))
    if not all(isinstance(one, str) for one in (person, action, text)):
        raise RefusedRequest(400, "`person`, `action` and `text` have to be text")
    person, text = (_CONTROL.sub(" ", one).strip() for one in (person, text))
    if not person or len(person) > PERSON_MOST:
        raise RefusedRequest(400, f"`person` has to be a name of at most {PERSON_MOST} characters")
    if action not in ACTIONS:
        raise RefusedRequest(400, f"`action` has to be one of {', '.join(ACTIONS)}")
    if len(text) > TEXT_MOST or (action != "acknowledge" and not text):
        raise RefusedRequest(400, f"`text` is needed for {action}, and has at most {TEXT_MOST} characters")
    return JournalNote(utc_timestamp(), int(str(key[0])), int(str(key[1])), person, action, text)

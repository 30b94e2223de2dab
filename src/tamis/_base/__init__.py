"""The lowest layer: errors, typed documents, the registry, the clock, facts about the host."""

from tamis._base.bounded_cache import BoundedCache
from tamis._base.clock import file_stamp, now_ns, utc_timestamp
from tamis._base.documents import Document, parse_document, position_in
from tamis._base.errors import (
    BundleError,
    ChecksumError,
    ConservationError,
    DataError,
    DocumentError,
    InputMismatchError,
    MissingColumnError,
    MissingExtraError,
    ModelError,
    SkippedFilesError,
    TamisError,
    UndecidedError,
    UnreadableFileError,
    UnsafeBundleError,
    UsageError,
    VerificationError,
    close_matches,
    did_you_mean,
)
from tamis._base.files import atomic_path, human_bytes, sha256, write_text
from tamis._base.host import Host, host_facts, library_versions
from tamis._base.processes import end_with_parent, processes_with
from tamis._base.progress import Advance, interruptible, progress
from tamis._base.registry import require

__all__ = [
    "Advance",
    "BoundedCache",
    "BundleError",
    "ChecksumError",
    "ConservationError",
    "DataError",
    "Document",
    "DocumentError",
    "Host",
    "InputMismatchError",
    "MissingColumnError",
    "MissingExtraError",
    "ModelError",
    "SkippedFilesError",
    "TamisError",
    "UndecidedError",
    "UnreadableFileError",
    "UnsafeBundleError",
    "UsageError",
    "VerificationError",
    "atomic_path",
    "close_matches",
    "did_you_mean",
    "end_with_parent",
    "file_stamp",
    "host_facts",
    "human_bytes",
    "interruptible",
    "library_versions",
    "now_ns",
    "parse_document",
    "position_in",
    "processes_with",
    "progress",
    "require",
    "sha256",
    "utc_timestamp",
    "write_text",
]

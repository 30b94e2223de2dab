"""What every layer stands on: errors, typed documents, the registry, the clock, facts about the host."""

from tamis._base.clock import file_stamp, now_ns, utc_timestamp
from tamis._base.documents import Document, parse_document, place_in
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
    UnreadableFileError,
    UnsafeBundleError,
    UsageError,
    VerificationError,
)
from tamis._base.extras import require
from tamis._base.files import atomic_path, human_bytes, sha256, write_text
from tamis._base.host import Host, host_facts, library_versions
from tamis._base.interrupt import interruptible
from tamis._base.known import Known
from tamis._base.near import did_you_mean, near_misses
from tamis._base.processes import end_with_parent, processes_with
from tamis._base.progress import Advance, progress

__all__ = [
    "Advance",
    "BundleError",
    "ChecksumError",
    "ConservationError",
    "DataError",
    "Document",
    "DocumentError",
    "Host",
    "InputMismatchError",
    "Known",
    "MissingColumnError",
    "MissingExtraError",
    "ModelError",
    "SkippedFilesError",
    "TamisError",
    "UnreadableFileError",
    "UnsafeBundleError",
    "UsageError",
    "VerificationError",
    "atomic_path",
    "did_you_mean",
    "end_with_parent",
    "file_stamp",
    "host_facts",
    "human_bytes",
    "interruptible",
    "library_versions",
    "near_misses",
    "now_ns",
    "parse_document",
    "place_in",
    "processes_with",
    "progress",
    "require",
    "sha256",
    "utc_timestamp",
    "write_text",
]

"""What every layer stands on: errors, typed documents, the registry, the clock, facts about the host."""

from quickbeam._base.clock import file_stamp, now_ns, utc_timestamp
from quickbeam._base.documents import Document, parse_document, place_in
from quickbeam._base.errors import (
    BundleError,
    ChecksumError,
    ConservationError,
    DataError,
    DocumentError,
    InputMismatchError,
    MissingColumnError,
    MissingExtraError,
    ModelError,
    QuickbeamError,
    SkippedFilesError,
    UnreadableFileError,
    UnsafeBundleError,
    UsageError,
    VerificationError,
)
from quickbeam._base.extras import require
from quickbeam._base.files import atomic_path, human_bytes, sha256, write_text
from quickbeam._base.host import Host, host_facts, library_versions
from quickbeam._base.interrupt import interruptible
from quickbeam._base.known import Known
from quickbeam._base.near import did_you_mean, near_misses
from quickbeam._base.processes import end_with_parent, processes_with
from quickbeam._base.progress import Advance, progress

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
    "QuickbeamError",
    "SkippedFilesError",
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

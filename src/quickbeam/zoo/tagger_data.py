"""Frames with their truth: the seeds of event files that the generator says are signal, or background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from quickbeam._base import DataError, progress
from quickbeam.events import IDENTITY, Frame, columns_of, of_file, read_events
from quickbeam.features import Rows, find_feature
from quickbeam.zoo.taggers import Reading, Tagger, Truth

GEN = ("GenPart_pdgId", "GenPart_status", "GenPart_statusFlags", "GenPart_eta", "GenPart_phi")
IS_HARD_PROCESS = 1 << 7
SPECTRUM_BINS = 12
EVENTS_AT_ONCE = 50  # frames are large: so many events' frames are in memory at a time


@dataclass(frozen=True)
class SparseFrames:
    """Frames by their non-zero pixels: a fiftieth of their size in memory."""

    shape: tuple[int, ...]  # of one frame
    offsets: np.ndarray
    place: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.offsets) - 1

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Return some frames as they were."""
        begin, counts = self.offsets[rows], np.diff(self.offsets)[rows]
        ends = np.cumsum(counts)
        source = np.arange(int(counts.sum())) + np.repeat(begin - (ends - counts), counts)
        pixels = int(np.prod(self.shape))
        frames = np.zeros((len(rows), pixels), np.float32)
        frames.reshape(-1)[self.place[source] + np.repeat(np.arange(len(rows)) * pixels, counts)] = (
            self.value[source]
        )
        return frames.reshape(len(rows), *self.shape)

    @classmethod
    def of(cls, pieces: Sequence[np.ndarray], shape: tuple[int, ...]) -> SparseFrames:
        """Keep what is not zero of some stacks of frames."""
        counts, places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        for frames in pieces:
            flat = frames.reshape(len(frames), int(np.prod(shape)))
            row, place = np.nonzero(flat)
            counts.append(np.bincount(row, minlength=len(flat)))
            places.append(place.astype(np.int32))
            values.append(flat[row, place])
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return cls(shape, offsets, np.concatenate(places), np.concatenate(values))

    @classmethod
    def joined(cls, parts: Sequence[SparseFrames]) -> SparseFrames:
        """Put sets of frames one after the other."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            parts[0].shape,
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([part.place for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


@dataclass(frozen=True)
class Labelled:
    """The frames of one kind: where they came from, and the transverse momentum of their seeds."""

    frames: SparseFrames
    event: np.ndarray  # a running number over all files
    pt: np.ndarray
    events: int
    files: tuple[str, ...]
    skipped: tuple[str, ...]
    columns: dict[str, np.ndarray] = field(default_factory=dict)  # of the jets that are the seeds

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)


def load_labelled(
    tagger: Tagger,
    files: Sequence[str],
    *,
    signal: bool,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    extra: Sequence[str] = (),
) -> Labelled:
    """Read the frames of signal or of background from event files with low-level information and truth.

    `extra` names columns of the jets that the frames are about, such as `FatJet_mass`; those that are there are kept.
    """
    feature = find_feature(tagger.feature)
    columns = tuple(dict.fromkeys((*feature.reads, *GEN)))
    reader = read_events(
        files, columns=columns, optional=extra, tree=reading.tree, skip_bad_files=reading.skip_bad_files
    )
    shape = (len(tagger.channels), tagger.size, tagger.size)
    parts, numbers, momenta = [SparseFrames.of([], shape)], [np.zeros(0, np.int64)], [np.zeros(0)]
    more: dict[str, list[np.ndarray]] = {}
    done = found = 0
    what = "signal" if signal else "background"
    with progress(f"frames of {what}", None, "frames") as advance:
        for chunk in reader:
            whole = Frame(
                columns_of(chunk.events, (*IDENTITY, *columns, *(n for n in extra if n in chunk.events))),
                len(chunk.events),
            )
            for start in range(0, len(whole), EVENTS_AT_ONCE):
                frame = whole.rows(start, min(start + EVENTS_AT_ONCE, len(whole)))
                with of_file(chunk.file):
                    rows = feature.build(frame)
                    kept = np.flatnonzero(_matches(tagger.truth, frame, rows, signal=signal))
                parts.append(SparseFrames.of([rows.inputs[kept]], shape))
                owner = np.searchsorted(rows.offsets, kept, "right") - 1
                numbers.append(owner + start + done)
                momenta.append(rows.about["pt"][kept])
                for name in (n for n in extra if n in frame):
                    more.setdefault(name, []).append(_of_jets(frame, name, owner, rows.about["jet"][kept]))
                found += len(kept)
                advance(len(kept))
            done += len(whole)
            if reading.most is not None and found >= reading.most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    if not found:
        raise DataError(
            f"no {what} of {tagger.name} in {', '.join(map(str, files))}: training needs events simulated with --low-level"
            f"{''.join(f'; {e}' for e in skipped)}"
        )
    return Labelled(
        SparseFrames.joined(parts),
        np.concatenate(numbers),
        np.concatenate(momenta),
        done,
        tuple(map(str, reader.files)),
        skipped,
        {name: np.concatenate(pieces) for name, pieces in more.items()},
    )


def _of_jets(frame: Frame, name: str, owner: np.ndarray, jet: np.ndarray) -> np.ndarray:
    lists = _of_events(frame, name)
    return np.array([lists[event][index] for event, index in zip(owner, jet, strict=True)], np.float64)


def _matches(truth: Truth, frame: Frame, rows: Rows, *, signal: bool) -> np.ndarray:
    """Tell which rows are what is asked for."""
    near_signal = _near(truth.signal, truth.radius, frame, rows)
    near_background = _near(truth.background, truth.radius, frame, rows) if truth.background else ~near_signal
    wanted = near_signal & ~near_background if signal else near_background & ~near_signal
    matched: np.ndarray = wanted & (rows.about["pt"] >= truth.pt_min_gev)
    return matched


def _near(kinds: tuple[int, ...], radius: float, frame: Frame, rows: Rows) -> np.ndarray:
    """Tell which rows have a generated particle of these kinds near, of the hard process or one that leaves."""
    found = np.zeros(len(rows), bool)
    kind, status, flags, eta, phi = (_of_events(frame, name) for name in GEN)
    for event in range(len(frame)):
        mine = slice(int(rows.offsets[event]), int(rows.offsets[event + 1]))
        some = np.isin(np.abs(kind[event]), kinds)
        some &= ((flags[event] & IS_HARD_PROCESS) != 0) | (status[event] == 1)
        d_eta = rows.about["eta"][mine, None].astype(np.float64) - eta[event][some]
        d_phi = rows.about["phi"][mine, None].astype(np.float64) - phi[event][some]
        d_phi -= 2 * np.pi * np.round(d_phi / (2 * np.pi))
        found[mine] = (np.hypot(d_eta, d_phi) < radius).any(axis=1)
    return found


def _of_events(frame: Frame, name: str) -> list[np.ndarray]:
    column = frame[name]
    if isinstance(column, np.ndarray):
        return list(column)
    return [column.values[a:b] for a, b in zip(column.offsets[:-1], column.offsets[1:], strict=True)]


def same_spectrum(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of both sets that have one spectrum of transverse momentum: what a tagger sees must not be that.

    In each of twelve bins the larger set gives as many, drawn from the seed, as the smaller one has.
    """
    rng = np.random.default_rng((seed, 1))
    edges = np.unique(
        np.quantile(np.concatenate([first, second]), np.linspace(0, 1, SPECTRUM_BINS + 1)[1:-1])
    )
    bins = [np.searchsorted(edges, values, "right") for values in (first, second)]
    kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number in range(len(edges) + 1):
        members = [np.flatnonzero(one == number) for one in bins]
        most = min(map(len, members))
        for rows, out in zip(members, kept, strict=True):
            out.append(np.sort(rng.permutation(rows)[:most]))
    return np.sort(np.concatenate(kept[0])), np.sort(np.concatenate(kept[1]))

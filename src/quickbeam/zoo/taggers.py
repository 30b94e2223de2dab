"""The end-to-end image taggers: what each reads, what it tells apart, and how it is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

TRACKS = ("track pT", "d0", "dz")
PIXELS = ("pixel layer 1", "pixel layer 2", "pixel layer 3")
CALORIMETERS = ("ECAL", "HCAL")
QUARKS = (1, 2, 3, 4, 5)
GLUON, ELECTRON, TAU, PHOTON, TOP = 21, 11, 15, 22, 6


@dataclass(frozen=True)
class Truth:
    """Which seeds count, by the generated particles near them; a seed near both kinds is left out."""

    signal: tuple[int, ...]  # absolute PDG ids
    background: tuple[int, ...]  # none: whatever is not near a signal particle
    radius: float
    pt_min_gev: float  # of the seed


@dataclass(frozen=True)
class TaggerRecipe:
    """Numbers of the training."""

    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    decay: float = (
        0.5  # factor on the learning rate when the validation loss has not fallen for `patience_decay` epochs
    )
    patience_decay: int = 2
    patience_stop: int = 5
    batch: int = 64
    epochs: int = 20


@dataclass(frozen=True)
class Tagger:
    """One image tagger."""

    name: str
    description: str
    feature: str
    channels: tuple[str, ...]
    size: int
    truth: Truth
    recipe: TaggerRecipe = TaggerRecipe()

    def with_recipe(self, epochs: int | None, batch: int | None) -> Tagger:
        """Return the tagger with other numbers in its recipe."""
        recipe = self.recipe
        changed = replace(recipe, epochs=epochs or recipe.epochs, batch=batch or recipe.batch)
        return replace(self, recipe=changed)


@dataclass(frozen=True)
class Reading:
    """How event files are read for frames."""

    most: int | None = None  # frames of a kind, or a few more
    tree: str | None = None
    skip_bad_files: bool = False


TAGGERS = {
    tagger.name: tagger
    for tagger in (
        Tagger(
            "egamma",
            "Electrons against photons: a convolutional network on 32 x 32 crystals of the electromagnetic calorimeter",
            "egamma_frames",
            ("ECAL",),
            32,
            Truth((ELECTRON,), (PHOTON,), 0.15, 20.0),
        ),
        Tagger(
            "quark-gluon",
            "Quark against gluon jets: a convolutional network on images of tracks and calorimeters",
            "quark_gluon_frames",
            (*TRACKS, *CALORIMETERS),
            128,
            Truth(QUARKS, (GLUON,), 0.3, 50.0),
        ),
        Tagger(
            "top",
            "Hadronic top decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
            "top_frames",
            (*TRACKS, *PIXELS, *CALORIMETERS),
            128,
            Truth((TOP,), (), 0.4, 200.0),
        ),
        Tagger(
            "tau",
            "Hadronic tau decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
            "tau_frames",
            (*TRACKS, *PIXELS, *CALORIMETERS),
            128,
            Truth((TAU,), (), 0.2, 30.0),
        ),
    )
}

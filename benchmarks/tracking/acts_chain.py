"""The reconstruction of ACTS, run by a Python of its own: particles from CSV files, Fatras, geometric digitisation, tight seeding, Kalman finder.

Usage: ACTS/bin/python acts_chain.py PARTICLES OUT --events N --configs FOLDER [--csv] [--two-way] [--branches 1]
The sequencer prints the time of every algorithm. With --csv, cells, hits, measurements, seeds and
tracks are written into OUT.
"""

from __future__ import annotations

import argparse
import pathlib

import acts
import acts.examples
from acts.examples.reconstruction import (
    AmbiguityResolutionConfig,
    CkfConfig,
    SeedFinderConfigArg,
    SeedFinderOptionsArg,
    SeedingAlgorithm,
    TrackSelectorConfig,
    addAmbiguityResolution,
    addCKFTracks,
    addSeeding,
)
from acts.examples.simulation import (
    ParticleSelectorConfig,
    addDigiParticleSelection,
    addDigitization,
    addFatras,
)

UNITS = acts.UnitConstants
MM, GEV = UNITS.mm, UNITS.GeV
TIGHT = {
    "r": (33 * MM, 200 * MM),
    "z": (-1200 * MM, 1200 * MM),
    "collisionRegion": (-200 * MM, 200 * MM),
    "minPt": 0.5 * GEV,
    "cotThetaMax": 10.0,
    "radLengthPerSeed": 0.05,
    "deltaR": (20 * MM, 80 * MM),
    "deltaZMax": 450 * MM,
    "impactMax": 2 * MM,
    "sigmaScattering": 3.0,
    "maxSeedsPerSpM": 5,
    "interactionPointCut": True,
}


def main() -> None:
    """Run the sequence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("particles", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument(
        "--configs",
        type=pathlib.Path,
        required=True,
        help="ACTS' digitisation and seeding files of the generic detector",
    )
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--two-way", action="store_true")
    parser.add_argument("--branches", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    level = acts.logging.WARNING
    detector = acts.examples.GenericDetector()
    geometry, field = detector.trackingGeometry(), acts.ConstantBField(acts.Vector3(0, 0, 2 * UNITS.T))
    random = acts.examples.RandomNumbers(seed=options.seed)
    sequence = acts.examples.Sequencer(
        events=options.events,
        numThreads=1,
        logLevel=acts.logging.INFO,
        outputDir=str(options.out),
        trackFpes=False,
    )
    csv = str(options.out) if options.csv else None
    sequence.addReader(
        acts.examples.CsvParticleReader(
            level=level,
            inputDir=str(options.particles),
            inputStem="particles",
            outputParticles="particles_generated",
        )
    )
    for alias in ("particles", "particles_generated_selected"):
        sequence.addWhiteboardAlias(alias, "particles_generated")
    addFatras(sequence, geometry, field, rnd=random, outputDirCsv=csv)
    digitisation = options.configs / "generic-digi-geometric-config.json"
    addDigitization(sequence, geometry, field, digiConfigFile=digitisation, rnd=random, outputDirCsv=csv)
    wanted = ParticleSelectorConfig(
        pt=(0.5 * GEV, None), eta=(-3, 3), measurements=(7, None), removeNeutral=True
    )
    addDigiParticleSelection(sequence, wanted)
    addSeeding(
        sequence,
        geometry,
        field,
        seedingAlgorithm=SeedingAlgorithm.GridTriplet,
        seedFinderConfigArg=SeedFinderConfigArg(**TIGHT),
        seedFinderOptionsArg=SeedFinderOptionsArg(bFieldInZ=2 * UNITS.T),
        initialSigmas=[1 * MM, 1 * MM, 1 * UNITS.degree, 1 * UNITS.degree, 0 * UNITS.e / GEV, 1 * UNITS.ns],
        initialSigmaQoverPt=0.1 * UNITS.e / GEV,
        initialSigmaPtRel=0.1,
        initialVarInflation=[1.0] * 6,
        geoSelectionConfigFile=options.configs / "generic-seeding-config.json",
    )
    if csv:
        _write_seeds(sequence, geometry, csv, level)
    addCKFTracks(
        sequence,
        geometry,
        field,
        trackSelectorConfig=TrackSelectorConfig(
            pt=(0.45 * GEV, None),
            absEta=(None, 3.0),
            loc0=(-4 * MM, 4 * MM),
            nMeasurementsMin=7,
            maxHoles=2,
            maxOutliers=2,
        ),
        ckfConfig=CkfConfig(
            chi2CutOffMeasurement=15.0,
            chi2CutOffOutlier=25.0,
            numMeasurementsCutOff=options.branches,
            seedDeduplication=True,
            stayOnSeed=True,
        ),
        twoWay=options.two_way,
    )
    shared = AmbiguityResolutionConfig(maximumSharedHits=3, maximumIterations=1_000_000, nMeasurementsMin=7)
    addAmbiguityResolution(sequence, shared)
    if csv:
        sequence.addWriter(
            acts.examples.CsvTrackWriter(
                level=level,
                inputTracks="ambi_tracks",
                inputMeasurementParticlesMap="measurement_particles_map",
                outputDir=csv,
                fileName="tracks.csv",
                ptMin=0.0,
                nMeasurementsMin=1,
            )
        )
        sequence.addWriter(
            acts.examples.CsvTrackParameterWriter(
                level=level, inputTracks="ambi_tracks", outputDir=csv, outputStem="track_parameters"
            )
        )
    sequence.run()


def _write_seeds(
    sequence: acts.examples.Sequencer, geometry: acts.TrackingGeometry, folder: str, level: acts.logging.Level
) -> None:
    sequence.addWriter(
        acts.examples.CsvSeedWriter(
            level=level,
            inputTrackParameters="estimatedparameters",
            inputSeeds="seeds",
            inputSimHits="simhits",
            inputMeasurementParticlesMap="measurement_particles_map",
            inputMeasurementSimHitsMap="measurement_simhits_map",
            outputDir=folder,
            fileName="seeds.csv",
        )
    )
    sequence.addWriter(
        acts.examples.CsvTrackingGeometryWriter(
            level=level, trackingGeometry=geometry, outputDir=folder, writePerEvent=False
        )
    )


if __name__ == "__main__":
    main()

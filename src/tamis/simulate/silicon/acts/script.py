"""Fatras and the digitisation of ACTS, run by a Python that has `acts`, which need not have tamis.

Usage: python script.py PARTICLES OUT --events N --digitisation FILE --seed SEED --field TESLA
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Read particles from CSV files, and write hits and cells beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("particles")
    parser.add_argument("out")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--digitisation", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--field", type=float, required=True)
    options = parser.parse_args()

    import acts
    import acts.examples
    from acts.examples.simulation import addDigitization, addFatras

    detector = acts.examples.GenericDetector()
    geometry = detector.trackingGeometry()
    field = acts.ConstantBField(acts.Vector3(0, 0, options.field * acts.UnitConstants.T))
    random = acts.examples.RandomNumbers(seed=options.seed)
    sequence = acts.examples.Sequencer(
        events=options.events,
        numThreads=1,
        logLevel=acts.logging.WARNING,
        outputDir=options.out,
        trackFpes=False,
    )
    sequence.addReader(
        acts.examples.CsvParticleReader(
            level=acts.logging.WARNING,
            inputDir=options.particles,
            inputStem="particles",
            outputParticles="particles_generated",
        )
    )
    for alias in ("particles", "particles_generated_selected"):
        sequence.addWhiteboardAlias(alias, "particles_generated")
    addFatras(sequence, geometry, field, rnd=random, outputDirCsv=options.out)
    addDigitization(
        sequence,
        geometry,
        field,
        digiConfigFile=Path(options.digitisation),
        rnd=random,
        outputDirCsv=options.out,
    )
    sequence.run()


if __name__ == "__main__":
    main()

"""The roofline of the host: peak arithmetic rate and read bandwidths of one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tamis._base import TamisError
from tamis.bundle import Cost
from tamis.records import Roofline

READ_SIZES = (32_000, 256_000, 1_000_000, 8_000_000, 200_000_000)  # bytes: L1 cache to main memory
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def measure_roofline() -> Roofline:
    """Measure in a fresh process, since a BLAS reads its number of threads from the environment when it is loaded."""
    done = subprocess.run(
        [sys.executable, "-m", "tamis.measure.speed.roofline"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ONE_THREAD,
    )
    if done.returncode:
        raise TamisError(f"the roofline could not be measured: {done.stderr.strip().splitlines()[-1:]}")
    return Roofline(**json.loads(done.stdout))


def floor_ns(cost: Cost, batch: int, roofline: Roofline) -> float:
    """Return a lower bound on the time of a batch: its arithmetic at the peak rate, or its weights read once."""
    fitting = [
        rate
        for size, rate in sorted((int(k), v) for k, v in roofline.bytes_per_second.items())
        if size >= cost.weight_bytes
    ]
    bandwidth = fitting[0] if fitting else min(roofline.bytes_per_second.values())
    arithmetic = cost.flops * batch / roofline.flops_per_second
    return 1e9 * max(arithmetic, cost.weight_bytes / bandwidth)


def _main() -> None:
    from time import perf_counter_ns

    import numpy as np

    def best_ns(call, repeats: int) -> int:  # type: ignore[no-untyped-def] # noqa: ANN001 - any function
        times = []
        for _ in range(repeats):
            begin = perf_counter_ns()
            call()
            times.append(perf_counter_ns() - begin)
        return min(times)

    rng = np.random.default_rng(0)
    rate = 0.0
    for n in (256, 512, 768):
        a, out = rng.random((n, n), np.float32), np.empty((n, n), np.float32)
        rate = max(rate, 2 * n**3 / best_ns(lambda a=a, out=out: np.dot(a, a, out=out), 60) * 1e9)
    bandwidth = {}
    tiny = np.ones(1, np.float32)
    overhead = best_ns(lambda: np.dot(tiny, tiny), 2000)
    for size in READ_SIZES:
        x = np.ones(size // 4, np.float32)
        spent = best_ns(lambda x=x: np.dot(x, x), 400 if size < 1_000_000 else 20) - overhead
        bandwidth[str(size)] = size / max(1, spent) * 1e9
    sys.stdout.write(json.dumps({"flops_per_second": rate, "bytes_per_second": bandwidth}))


if __name__ == "__main__":
    _main()

"""Compare `import storage_manager` with the imports that it needs, in fresh interpreters."""

import resource
import subprocess
import sys
import time

from benchmarks.measure import Result
from benchmarks.rows import Row
from benchmarks.worker import Reading

__all__ = ["IMPORTS", "measure_imports"]

IMPORTS = Row("import", "import in a fresh interpreter", "import", "", (), 0)
_STATEMENTS = {"fsspec, pydantic": "import fsspec, pydantic", "ours": "import storage_manager"}


def measure_imports(rounds: int) -> list[Result]:
    """Measure both in every round. The first round is not counted, because it fills the caches of the disk."""
    readings: dict[str, list[Reading]] = {name: [] for name in _STATEMENTS}
    for _ in range(rounds + 1):
        for name, statement in _STATEMENTS.items():
            readings[name].append(_imported(statement))
    return [Result(IMPORTS, name, found[1:], [], None) for name, found in readings.items()]


def _imported(statement: str) -> Reading:
    cpu, wall = _cpu(), time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return Reading(time.perf_counter() - wall, _cpu() - cpu, None, None, 0)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

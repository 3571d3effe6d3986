"""Write the results as RST for people, and as JSON with every round for programs."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.cost import STEPS, costs, storage_cost
from benchmarks.figures import Figure, figures, median, ratio
from benchmarks.measure import MALLOC, Result

__all__ = ["conditions", "to_json", "to_rst"]

_PACKAGES = (
    "agent-storage-manager",
    "fsspec",
    "aiofiles",
    "obstore",
    "s3fs",
    "aiobotocore",
    "boto3",
    "cloudpathlib",
    "pyarrow",
)
_HOW = """\
All values are medians of the rounds. "CPU" is the user and system time of the whole process (getrusage). If it runs a
program, that of the program is included. The first contestant of a group is the limit. "x limit" is the ratio to it:
the median of the ratios of all rounds. "peak" is the highest resident memory during the work, minus the memory before
it. "stall" is the longest time that the event loop was blocked, minus that of an idle loop. Both come from separate
rounds. Requests are counted at the endpoint. Each contestant has its own process. The processes work one at a time, in
turns; those of local contestants share one CPU.
"""


def conditions(directory: str, endpoint: str) -> dict[str, str]:
    """Describe the machine, the versions and the settings."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} x {_processor()}, {platform.system()} {platform.release()}",
        "Python": sys.version.split()[0],
        "packages": ", ".join([*(f"{name} {_version(name)}" for name in _PACKAGES), *_version_of_rclone()]),
        "local": f"{_file_system(directory)}; pinned to one CPU; {' '.join(f'{k}={v}' for k, v in MALLOC.items())}",
        "S3": endpoint,
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from a checkout"


def _version_of_rclone() -> list[str]:
    """Return the first line of `rclone version`, such as `rclone v1.60.1`, or nothing if it is not on PATH."""
    if shutil.which("rclone") is None:
        return []
    return subprocess.run(["rclone", "version"], capture_output=True, text=True, check=True).stdout.splitlines()[:1]


def _file_system(directory: str) -> str:
    """Return the type of the file system that holds a directory, and its mount point."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return directory
    inside = [
        (point, kind) for point, kind in mounts if os.path.join(directory, "").startswith(os.path.join(point, ""))
    ]
    point, kind = max(inside, key=lambda mount: len(mount[0]))
    return f"{kind} at {point}"


def to_rst(
    results: Sequence[Result], scaling: Sequence[Result], about: Mapping[str, str], is_timed: bool = True
) -> str:
    """Return all measured tables as readable text. Targets and costs are left out if `is_timed` is False."""
    reached, all_costs = (figures(results), costs(results)) if is_timed else ([], [])
    parts = ["\n".join(f":{name}: {value}" for name, value in about.items()) + "\n"]
    if reached:
        parts += [_title("Targets"), _targets(reached)]
    if results:
        parts += [_title("All measurements"), _HOW, _measurements(results)]
    if scaling:
        parts += [
            _title("Scaling"),
            "Each step has only metadata, which is one file or object.\n",
            _measurements(scaling),
        ]
    if all_costs:
        parts += [_title(f"{STEPS:,} steps on S3"), _costs(results)]
    return "\n".join(parts)


def _title(text: str) -> str:
    return f"{text}\n{'~' * len(text)}\n"


def _targets(reached: Iterable[Figure]) -> str:
    units = {"stall": " ms", "peak": " MB"}
    rows = [
        (
            figure.target.title,
            f"{figure.target.quantity}, x {figure.target.versus}" if figure.target.versus else figure.target.quantity,
            f"{figure.reached:.2f}{units.get(figure.target.quantity, '')}",
            f"<= {figure.target.at_most:g}{units.get(figure.target.quantity, '')}",
            "yes" if figure.is_met else "NO",
        )
        for figure in reached
    ]
    return table(("figure", "of", "reached", "target", "met"), rows)


def _measurements(results: Sequence[Result]) -> str:
    head = ("work", "contestant", "wall ms", "CPU ms", "wall x limit", "CPU x limit", "peak MB", "stall ms", "requests")
    groups = [list(group) for _, group in groupby(results, lambda result: result.row.name)]
    return table(head, [_measurement(result, group[0]) for group in groups for result in group])


def _measurement(result: Result, limit: Result) -> tuple[str, ...]:
    def of(quantity: str, factor: float = 1.0) -> str:
        return _number(median([getattr(reading, quantity) for reading in result.readings]), factor)

    memory, stall = (median([getattr(one, name) for one in result.watched]) for name in ("peak", "stall"))
    is_limited = not limit.contestant.startswith("ours")  # some scaling rows have only ours
    ratios = (f"{ratio(result, limit, quantity):.2f}" if is_limited else "--" for quantity in ("wall", "cpu"))
    work = f"{'local' if result.row.storage == 'local' else 'S3'}: {result.row.title}"
    requests = requests_in_words(result.requests)
    return (
        work,
        result.contestant,
        of("wall", 1000),
        of("cpu", 1000),
        *ratios,
        _number(memory),
        _number(stall, 1000),
        requests,
    )


def _number(value: float | None, factor: float = 1.0) -> str:
    return "--" if value is None else f"{value * factor:,.1f}"


def requests_in_words(requests: Mapping[str, float] | None) -> str:
    """Return the requests as text, for example `4 PUT, 1 LIST`."""
    return ", ".join(f"{count:,.0f} {kind}" for kind, count in sorted((requests or {}).items())) or "--"


def _costs(results: Sequence[Result]) -> str:
    head = ("work", "contestant", "requests", "dollars", "hours", "CPU hours")
    rows = [
        (cost.title, cost.contestant, requests_in_words(cost.requests), f"{cost.dollars:,.2f}", f"{cost.hours:,.0f}",
         f"{cost.cpu_hours:,.0f}")
        for cost in costs(results)
    ]  # fmt: skip
    return f"{table(head, rows)}\nKeeping them costs {storage_cost():,.0f} dollars per month.\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a simple RST table."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    line = "  ".join("=" * width for width in widths)
    texts = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join([line, texts[0], line, *texts[1:], line, ""])


def to_json(results: Sequence[Result], scaling: Sequence[Result], about: Mapping[str, str]) -> str:
    """Return the same as JSON, with the readings of every round, in seconds and MB."""
    targets = [
        {**figure.target._asdict(), "reached": figure.reached, "met": figure.is_met} for figure in figures(results)
    ]
    everything = {
        "conditions": dict(about),
        "targets": targets,
        "measurements": [_as_dict(result) for result in results],
        "scaling": [_as_dict(result) for result in scaling],
        "costs": [cost._asdict() for cost in costs(results)],
    }
    return json.dumps(everything, indent=1) + "\n"


def _as_dict(result: Result) -> dict[str, Any]:
    rounds = {name: [getattr(one, name) for one in result.readings] for name in ("wall", "cpu")}
    watched = {name: [getattr(one, name) for one in result.watched] for name in ("peak", "stall")}
    row = {"name": result.row.name, "title": result.row.title, "place": result.row.storage}
    requests = None if result.requests is None else dict(result.requests)
    return {**row, "contestant": result.contestant, **rounds, **watched, "requests": requests}

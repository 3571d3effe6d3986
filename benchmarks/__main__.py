"""Compare the library with others, on local disk and on S3, and write one report.

    python -m benchmarks                        run everything, in about 40 minutes
    python -m benchmarks 'local-*' s3-store-8   run some rows; --list prints all names
    python -m benchmarks --small                count requests, in about a minute; the times mean nothing

It needs the extra `benchmarks`. Exit codes: 0 success; 1 this library sent other requests to S3 than it promises; 2 a
contestant failed, or its work differed from that of the others. Slow times never fail a run.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.contestants import Location
from benchmarks.figures import median, wrong_requests
from benchmarks.imports import IMPORTS, measure_imports
from benchmarks.measure import MALLOC, BenchmarkError, Crew, Endpoint, Result, endpoint, working_directory
from benchmarks.plot import to_svg
from benchmarks.report import conditions, requests_in_words, to_json, to_rst
from benchmarks.rows import Amounts, Row, rows
from benchmarks.scaling import measure_scaling, scaling_rows

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["*"], help="names or globs of the rows to measure (all)")
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and measure nothing")
    parser.add_argument("--small", action="store_true", help="measure tiny amounts, in one round, without scaling")
    parser.add_argument("--rounds", type=_positive, help="number of rounds of each row (5)")
    parser.add_argument("--steps", type=_positive, help="steps to store and retrieve in each round (500; on S3 100)")
    parser.add_argument("--directory", help="directory for local files (/dev/shm, or else the temporary directory)")
    parser.add_argument("--endpoint", help="URL of an S3 endpoint with a bucket `benchmark` (our own endpoint)")
    parser.add_argument("--latency", type=_positive, help="ms before each answer of our own endpoint, in all S3 rows")
    parser.add_argument(
        "--without", action="append", default=[], metavar="CONTESTANT", help="omit this contestant; the report says so"
    )
    parser.add_argument(
        "--output", default="benchmarks/results", help="directory for results.rst, .json and .svg (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.endpoint and options.latency:
        parser.error("--latency needs our own endpoint: it cannot delay the answers of another one")
    return options


def amounts_of(options: argparse.Namespace) -> Amounts:
    """Return how much work each row does."""
    amounts = Amounts.small() if options.small else Amounts()
    if options.rounds:
        amounts = amounts._replace(rounds=options.rounds)
    if options.steps:
        amounts = amounts._replace(local_steps=options.steps, s3_steps=options.steps)
    return amounts


def chosen_rows(options: argparse.Namespace, amounts: Amounts) -> list[Row]:
    """Return the rows that the names on the command line select."""
    all_ = [IMPORTS, *rows(amounts)]
    if not options.small:
        all_ += [*scaling_rows("local"), *scaling_rows("s3")]
    if options.endpoint or options.latency:  # the user's latency, or that of another endpoint, replaces ours
        all_ = [row for row in all_ if not row.latency and not row.name.startswith("scaling-s3")]
    if options.endpoint:  # the URL of another endpoint decides whether TLS is used
        all_ = [row for row in all_ if row.storage != "s3-tls"]
    if options.latency:
        all_ = [_delayed(row, options.latency) if row.storage != "local" else row for row in all_]
    if options.small:
        all_ = [row._replace(watched=min(row.watched, 1)) for row in all_]
    return [row for row in all_ if any(fnmatch(row.name, name) for name in options.names)]


def _delayed(row: Row, latency: int) -> Row:
    """Return the row with a latency, and with a title that says so, because its figures cannot be compared."""
    return row._replace(latency=latency, title=f"{row.title}, {latency} ms latency")


def measure(
    chosen: list[Row], options: argparse.Namespace, rounds: int, directory: str, server: Endpoint
) -> list[Result]:
    """Measure all chosen rows, one storage after the other."""
    results = [] if IMPORTS not in chosen else print_results(measure_imports(max(3, rounds)))
    for storage in ("local", "s3", "s3-tls"):
        here = [row for row in chosen if row.storage == storage]
        if here:
            with closing(_crew(storage, options, directory, server)) as crew:
                for row in here:
                    if row.name.startswith("scaling"):
                        results += print_results(next(measure_scaling(crew, [row])))
                    else:
                        results += print_results(crew.measure(row, rounds))
    return results


def _crew(storage: str, options: argparse.Namespace, directory: str, server: Endpoint) -> Crew:
    from benchmarks.local import LOCAL  # noqa: PLC0415 - --list and --help need no other library
    from benchmarks.s3 import S3, TLS  # noqa: PLC0415

    if storage == "local":
        return Crew(LOCAL, Location(directory), server, options.without)
    if storage == "s3":
        return Crew(S3, Location(directory, server.url), server, options.without)
    return Crew(TLS, Location(directory, server.tls, authority=server.authority), server, options.without)


def print_results(results: list[Result]) -> list[Result]:
    """Print a line for each result, and return the results."""
    for result in results:
        wall, cpu = (median([getattr(one, name) for one in result.readings]) or 0.0 for name in ("wall", "cpu"))
        asked = "" if result.requests is None else requests_in_words(result.requests)
        work = f"{result.row.storage}: {result.row.title}"
        print(
            f"{work:52} {result.contestant:30} wall {1000 * wall:9.1f} ms  CPU {1000 * cpu:9.1f} ms  {asked}",
            flush=True,
        )
    return results


def write(results: list[Result], options: argparse.Namespace, about: dict[str, str]) -> None:
    """Write the report in three formats. The picture is only written if its rows were measured."""
    output = Path(options.output)
    parts = [[one for one in results if one.row.name.startswith("scaling") is scaling] for scaling in (False, True)]
    text = to_rst(parts[0], parts[1], about, is_timed=not options.small)
    forms: dict[str, Callable[[], str]] = {
        "results.rst": lambda: text,
        "results.json": lambda: to_json(parts[0], parts[1], about),
        "results.svg": lambda: "" if options.small else to_svg(results),
    }
    for name, make in forms.items():
        if content := make():
            (output / name).write_text(content, encoding="utf-8")
    print(text)


def run(options: argparse.Namespace) -> int:
    """Measure, write the report, and check the requests. Return the exit code."""
    amounts = amounts_of(options)
    chosen = chosen_rows(options, amounts)
    if options.list or not chosen:
        if not chosen:
            print(f"no row matches {' or '.join(options.names)}; the rows are:", file=sys.stderr)
        print("\n".join(row.name for row in chosen or chosen_rows(options_of([]), amounts)))
        return 0 if chosen else 2
    if any(row.method == "copy" for row in chosen) and shutil.which("rclone") is None:
        options.without.append("rclone")  # the report says so
        print("rclone is not on PATH, so only our engines are measured in the row s3-copy", file=sys.stderr)
    Path(options.output).mkdir(parents=True, exist_ok=True)  # fails now, and not after all of the work
    with ExitStack() as opened:
        directory = opened.enter_context(working_directory(options.directory))
        server = opened.enter_context(endpoint(options.endpoint))
        about = conditions(directory, options.endpoint or "our own endpoint, in a separate process on this machine")
        about |= {"rounds": f"{amounts.rounds}; scaling: 3, but 1 from 10,000 on"}
        about |= {"left out": ", ".join(options.without)} if options.without else {}
        results = measure(chosen, options, amounts.rounds, directory, server)
    write(results, options, about)
    wrong = wrong_requests(results)
    print(*(f"WRONG REQUESTS: {line}" for line in wrong), sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return its exit code."""
    options = options_of(arguments)
    os.environ.update(MALLOC)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the exit removes files and ends processes
    if options.endpoint is None:
        os.environ.update(CREDENTIALS)
    elif missing := CREDENTIALS.keys() - os.environ.keys():
        print(f"--endpoint needs {' and '.join(sorted(missing))}", file=sys.stderr)
        return 2
    try:
        return run(options)
    except BenchmarkError as error:
        print(f"a contestant failed: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"a package is missing: {error}: pip install -e '.[benchmarks]'", file=sys.stderr)
    except OSError as error:
        print(f"cannot use the working or output directory: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

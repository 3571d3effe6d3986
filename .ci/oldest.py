"""Check that .ci/oldest.txt has the lower bounds of setup.cfg, and that exactly these versions are installed."""

import re
from configparser import ConfigParser
from importlib.metadata import version

OF_DEVELOPERS = ("benchmarks", "docs", "test")  # extras that are tested with the newest versions only
APART = ("browser-use",)  # so is this one, which pins newer versions of the packages here


def to_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a version; 2025.3 and 2025.3.0 are equal."""
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def lower_bounds(requirements: str) -> dict[str, tuple[int, ...]]:
    """Return the bound of each package, from lines such as `dask[dataframe,distributed] >= 2025.5`."""
    found = re.findall(r"^([\w-]+)(?:\[.*?\])?\s*(?:>=|==)\s*([\d.]+)", requirements, re.MULTILINE)
    return {name.lower(): to_numbers(number) for name, number in found}


def main() -> None:
    """Compare setup.cfg, .ci/oldest.txt and the installed packages."""
    parser = ConfigParser()
    parser.read("setup.cfg")
    extras = [lines for name, lines in parser["options.extras_require"].items() if name not in OF_DEVELOPERS + APART]
    allowed = lower_bounds("\n".join([parser["options"]["install_requires"], *extras]))
    with open(".ci/oldest.txt", encoding="utf-8") as file:
        named = lower_bounds(file.read())
    del named["distributed"]  # part of dask[distributed], with the same version
    assert named == allowed, f"setup.cfg and .ci/oldest.txt differ: {dict(named.items() ^ allowed.items())}"
    installed = {name: to_numbers(version(name)) for name in named}
    assert installed == named, f"other versions are installed: {dict(installed.items() ^ named.items())}"


if __name__ == "__main__":
    main()

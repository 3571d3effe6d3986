"""Are the versions of oldest.txt, which are installed here, the lower bounds of setup.cfg, each of them?"""

import re
from configparser import ConfigParser
from importlib.metadata import version

# of developers: their newest versions are tested
OTHERS = ("benchmarks", "docs", "test")


def numbers(text: str) -> tuple[int, ...]:
    """2025.3 and 2025.3.0 are alike."""
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def bounds(requirements: str) -> dict[str, tuple[int, ...]]:
    """Of lines like `dask[dataframe,distributed] >= 2025.5`."""
    found = re.findall(r"^([\w-]+)(?:\[.*?\])?\s*(?:>=|==)\s*([\d.]+)", requirements, re.MULTILINE)
    return {name.lower(): numbers(number) for name, number in found}


def main() -> None:
    parser = ConfigParser()
    parser.read("setup.cfg")
    extras = [lines for name, lines in parser["options.extras_require"].items() if name not in OTHERS]
    allowed = bounds("\n".join([parser["options"]["install_requires"], *extras]))
    with open(".ci/oldest.txt", encoding="utf-8") as file:
        named = bounds(file.read())
    del named["distributed"]  # dask's own, of the same version
    assert named == allowed, f"setup.cfg and .ci/oldest.txt differ: {dict(named.items() ^ allowed.items())}"
    installed = {name: numbers(version(name)) for name in named}
    assert installed == named, f"installed are others: {dict(installed.items() ^ named.items())}"


if __name__ == "__main__":
    main()

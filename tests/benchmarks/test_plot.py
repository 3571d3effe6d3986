"""The picture of the benchmarks names each bar, so that it needs no legend."""

import re
from xml.etree.ElementTree import fromstring

from benchmarks.measure import Result
from benchmarks.plot import to_svg
from benchmarks.rows import Amounts, rows
from benchmarks.worker import Reading

ROWS = {row.name: row for row in rows(Amounts())}


def result(row: str, contestant: str, *seconds: float) -> Result:
    return Result(ROWS[row], contestant, [Reading(value, value, None, None, 0) for value in seconds], [], None)


def test_each_bar_has_its_name_and_its_ratio() -> None:
    local = [result("local-store-8", "plain Python", 1, 2), result("local-store-8", "ours, sync", 2, 4)]
    copies = [result("s3-copy", "rclone", 4), result("s3-copy", "ours on obstore", 1)]
    svg = fromstring(to_svg([*local, result("local-store-8", "aiofiles", 8, 16), *copies]))
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert re.search(
        "store, 8 in flight: CPU, in multiples of plain Python ours, sync 2.00× aiofiles 8.00×", " ".join(texts)
    )
    assert texts[-3:] == ["copy from local disk, by programs: time, in multiples of rclone", "ours on obstore", "0.25×"]


def test_a_row_without_its_limit_is_not_drawn() -> None:
    assert to_svg([result("s3-copy", "ours on s3fs", 1), result("s3-copy", "ours on obstore", 1)]) == ""

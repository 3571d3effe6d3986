"""What changed between two pages."""

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from storage_manager.viewer import changes
from storage_manager.viewer.changes import MAX_CHARACTERS, MAX_LINES, MAX_ROWS, MAX_WIDTH, compare


def test_lines_with_context() -> None:
    before = "".join(f"<p>{number}<br>" for number in range(9))
    assert compare(before, before.replace("<p>4", "<p>four")) == {
        "added": 1,
        "removed": 1,
        "rows": [
            ["@", "6"], [" ", "<p>3"], [" ", "<br>"], ["-", "<p>4"], ["+", "<p>four"], [" ", "<br>"], [" ", "<p>5"],
            ["@", "7"],
        ],
        "cut": 0,
    }  # fmt: skip


def test_nothing_changed() -> None:
    assert compare("<p>a", "<p>a\n") == {"added": 0, "removed": 0, "rows": [], "cut": 0}


def test_changes_that_are_close_share_their_context() -> None:
    rows = compare("<a><b><c><d><e><f>", "<A><b><c><D><e><f>")["rows"]
    assert rows == [
        ["-", "<a>"], ["+", "<A>"], [" ", "<b>"], [" ", "<c>"],
        ["-", "<d>"], ["+", "<D>"], [" ", "<e>"], [" ", "<f>"],
    ]  # fmt: skip


def test_what_is_shown_is_bounded() -> None:
    told = compare("<p>" * 5000, "<b>" * 5000)
    assert (len(told["rows"]), told["cut"]) == (MAX_ROWS, 10000 - MAX_ROWS)
    [[_, line]] = compare("", "x" * 5000)["rows"]
    assert len(line) < MAX_WIDTH + 40
    assert line.endswith("(4,000 more characters)")
    assert "too large" in compare("", "x" * (MAX_CHARACTERS + 1))["reason"]


def test_time_is_bounded_for_pages_that_share_many_lines_in_another_order() -> None:
    order = random.Random(1)
    few = [f"<p class={order.randrange(30)}>" for _ in range(60_000)]
    started = time.process_time()
    compare("".join(few), "".join(few[::-1]))
    many = [f"<p id={number}>" for number in range(60_000)]
    shuffled = order.sample(many, len(many))
    compare("".join(many), "".join(shuffled))
    assert time.process_time() - started < 8


tags = st.lists(st.sampled_from(["<a>", "<b>x", "<c>", "</d>"]) | st.integers(0, 50).map("<p>{}".format), max_size=60)


@given(tags, tags)
def test_the_changes_lead_from_one_to_the_other(old: list[str], new: list[str]) -> None:
    result = list(old)
    for change in reversed(list(changes._changes(old, new))):
        result[change.a : change.b] = new[change.c : change.d]
    assert result == new


@given(tags, tags)
def test_rows_count_every_line_of_the_old_page(old: list[str], new: list[str]) -> None:
    told = compare("".join(old), "".join(new))
    counted = sum(int(text) if sign == "@" else sign != "+" for sign, text in told["rows"])
    assert counted == (len(changes._lines("".join(old))) if told["rows"] else 0)


def test_too_many_lines_are_not_compared() -> None:
    page = "<a\n" * (MAX_LINES // 2)
    assert compare(page, "<p>") == {"reason": "The HTML is too large to be compared: more than 100,000 tags and lines."}
    assert compare(page[:-3], "")["removed"] == MAX_LINES // 2 - 1

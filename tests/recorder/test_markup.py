"""What is changed in the markup of a page before it is stored, and how long a hostile page takes."""

import time
from html import escape, unescape

import pytest

from storage_manager.recorder.frames import assembled
from storage_manager.recorder.markup import as_utf8, with_frames, without_passwords, without_user


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<input type="password" value="x">', '<input type="password" value="">'),
        ("<INPUT value=x id=a TYPE=Password>", '<INPUT value="" id=a TYPE=Password>'),
        ("<input type='password' value='a>b'/>", "<input type='password' value=\"\"/>"),
        ('<input title="a > b" type="password" value="x"><p>', '<input title="a > b" type="password" value=""><p>'),
        ("<input type=password><input value=x>", "<input type=password><input value=x>"),
        ('<input type="text" title="password" value="x">', '<input type="text" title="password" value="x">'),
        ("<inputs type=password value=x>", "<inputs type=password value=x>"),
        ("<input type=password value=x", '<input type=password value=""'),
        ("<input type=password value=x\"y'z>", '<input type=password value="">'),
        ("<input value==x = type=password>", '<input value="" = type=password>'),
    ],
)
def test_passwords_are_removed(before: str, after: str) -> None:
    assert without_passwords(f"é{before}") == f"é{after}"


def test_passwords_are_removed_from_frames() -> None:
    html = '<p><input type="password" value="x">'
    for depth in range(1, 11):
        html = f'<p><iframe srcdoc="{escape(html)}" id=a>'
        assert 'value="x"' in unescaped(html, depth)
        assert 'value="x"' not in unescaped(without_passwords(html), depth)
    html = "<iframe srcdoc='<input type=\"password\">'><iframe srcdoc=password>"
    assert without_passwords(html) == html


def unescaped(html: str, times: int) -> str:
    return unescaped(unescape(html), times - 1) if times else html


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<meta charset="shift_jis">', '<meta charset="utf-8">'),
        ("<meta charset=UTF-8>", "<meta charset=UTF-8>"),
        ("<meta http-equiv=Content-Type content='text/html;charset=big5'>",
         '<meta http-equiv=Content-Type content="text/html;charset=utf-8">'),
        ('<meta name=a content="charset=x">', '<meta name=a content="charset=x">'),
        ("<title>a</title><body><meta charset=x>", "<title>a</title><body><meta charset=x>"),
    ],
)  # fmt: skip
def test_the_encoding_is_utf8(before: str, after: str) -> None:
    assert as_utf8(before) == after


def test_a_frame_is_an_attribute() -> None:
    first, second, other = (f"frame-{digit * 32}-" for digit in "abc")
    name = "data-recorded-srcdoc"
    html = f'<iframe {name}="{first}"><iframe {name}="{second}1-" id=b>{first}<iframe {name}="{other}">'
    assert with_frames(html, {first: '<p title="\'&amp;">', f"{second}1-": None}) == (
        f'<iframe srcdoc="&lt;p title=&quot;&#x27;&amp;amp;&quot;&gt;"><iframe id=b>{first}<iframe {name}="{other}">'
    )
    assert with_frames("same", {}) == "same"


def test_a_frame_has_one_place() -> None:
    marks = [f"frame-{digit * 32}-" for digit in "ab"]
    inner, outer = (f'<iframe data-recorded-srcdoc="{mark}">' * 3 for mark in marks)
    made = assembled(outer, {marks[0]: "<p>once", marks[1]: inner})
    assert made.count("once") == 1
    assert made.count("srcdoc=&quot;&amp;lt;p&amp;gt;once&quot;") == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://user:word@a.example/b@c", "https://a.example/b@c"),
        ("http://user@a.example", "http://a.example"),
        ("http://a.example/?to=b@c", "http://a.example/?to=b@c"),
        ('navigating to "http://u:p@q@a.example/", waiting', 'navigating to "http://a.example/", waiting'),
        ("about:blank", "about:blank"),
        ("mailto:a@b.example", "mailto:a@b.example"),
    ],
)
def test_user_and_password_are_removed_from_urls(before: str, after: str) -> None:
    assert without_user(before) == after


@pytest.mark.parametrize(
    "page",
    ["<input", "<input ", "<input a", "<input a=", '<input a="', "<input type=password value='", "<meta charset=",
     "<meta http-equiv=a content=charset ", "://", "://a", "<input" + " " * 99, "charset" + " " * 99,
     "<input a" + " " * 999, "<iframe srcdoc=", "<iframe srcdoc='&amp;amp;password"],
)  # fmt: skip
def test_a_hostile_page_takes_no_time(page: str) -> None:
    text = page * (2**20 // len(page))
    started = time.process_time()
    for function in (without_passwords, as_utf8, without_user):
        function(f"{text}@password")
    assert time.process_time() - started < 3

"""The gallery's file, without a browser: what is in it, and that names stay names."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from imgrank.results.page import SCRIPTS, Criterion, Page, Picture, write_page

HOSTILE = [
    "<script>alert(1)</script>.jpg",
    '"onerror=alert(1) x=".jpg',
    "</script><script>alert(2)</script>.jpg",
    "<!--<script>.jpg",
    "two\nlines.jpg",
    "not-\udcffutf8.jpg",
    "right\u202egpj.exe",
    "{{ 7 * 7 }}.jpg",
    "&amp;&lt;.jpg",
]


class Parsed(HTMLParser):
    """Elements with their attributes and the text right in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))
        self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, text + data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    def data(self) -> Any:
        return json.loads(next(text for a, text in self.all("script") if a.get("id") == "data"))


def picture(name: str, value: float | None = 1.0, **other: Any) -> Picture:
    text = "-" if value is None else f"{value:g} MOS"
    members: dict[str, Any] = {"path": f"photos/{name}", "href": "", "thumbnail": None, "rank": 1}
    members |= {"width": 30, "height": 20, "percentile": 50.0, "values": (value,), "texts": (text,)}
    return Picture(**({"name": name} | members | other))


def written(*pictures: Picture, title: str = "Title", **other: Any) -> str:
    stream = io.BytesIO()
    criteria = other.pop("criteria", [Criterion("quality", "MOS")])
    write_page(Page(title, "subtitle", criteria, pictures, **other), stream)
    return stream.getvalue().decode()


def test_a_picture_is_in_the_page_with_all_that_is_known_of_it() -> None:
    thumbnail = bytes(range(256))
    shot = picture(
        "a.jpg",
        3.5,
        href="../a%20b/a.jpg",
        thumbnail=thumbnail,
        labels=("level: good",),
        note="a note",
    )
    parsed = Parsed(written(shot))
    data = parsed.data()
    assert data["pictures"] == [
        {
            "name": "a.jpg",
            "path": "photos/a.jpg",
            "href": "../a%20b/a.jpg",
            "thumbnail": True,
            "width": 30,
            "height": 20,
            "rank": 1,
            "percentile": 50.0,
            "values": [3.5],
            "texts": ["3.5 MOS"],
            "labels": ["level: good"],
            "note": "a note",
        }
    ]
    assert data["criteria"] == [
        {
            "name": "quality",
            "unit": "MOS",
            "direction": "descending",
            "model": "",
            "low": None,
            "high": None,
        }
    ]
    small = [text for a, text in parsed.all("script") if a.get("id") == "t0"]
    assert [b64decode(text) for text in small] == [thumbnail]
    assert [(a["href"], text) for a, text in parsed.all("a") if a["href"] != "#pictures"] == [
        ("../a%20b/a.jpg", "photos/a.jpg")
    ]


def test_names_never_become_markup() -> None:
    plain = Parsed(written(*(picture(f"{i}.jpg") for i in range(len(HOSTILE)))))
    hostile = written(
        *(picture(name, labels=(name,), note=name, texts=(name,)) for name in HOSTILE),
        title=HOSTILE[2],
        criteria=[Criterion(HOSTILE[0], HOSTILE[1], model=HOSTILE[2])],
    )
    parsed = Parsed(hostile)
    assert [tag for tag, _, _ in parsed.elements] == [tag for tag, _, _ in plain.elements]
    shown = [item["name"] for item in parsed.data()["pictures"]]
    assert shown == [
        *HOSTILE[:4],
        "two\\x0alines.jpg",
        "not-\\xffutf8.jpg",
        "right\\u202egpj.exe",
        *HOSTILE[7:],
    ]
    assert parsed.all("title")[0][1] == HOSTILE[2]


def test_the_path_to_copy_is_the_very_one_where_it_is_shown_otherwise() -> None:
    odd, plain = Parsed(written(picture("a\n\udcff.jpg"), picture("b.jpg"))).data()["pictures"]
    assert odd["path"] == "photos/a\\x0a\\xff.jpg"
    assert odd["raw"] == "photos/a\n\udcff.jpg"
    assert "raw" not in plain


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("a.jpg", True),
        ("../b/a%3A1.jpg", True),
        ("a/b:c.jpg", True),
        ("file:///D:/a.jpg", True),
        ("javascript:alert(1)", False),
        ("https://example.org/a.jpg", False),
        ("//example.org/a.jpg", False),
        ("/\\example.org/a.jpg", False),
        ("file://host/a.jpg", False),
        ("file:////host/a.jpg", False),
        ("a\nb.jpg", False),
        ("é.jpg", False),
    ],
)
def test_an_address_leads_to_a_file_or_is_dropped(href: str, kept: bool) -> None:
    parsed = Parsed(written(picture("a.jpg", href=href)))
    assert parsed.data()["pictures"][0].get("href") == (href if kept else None)
    assert [a["href"] for a, _ in parsed.all("a")] == ["#pictures"] + [href] * kept


def test_the_policy_lets_only_the_pages_own_scripts_and_style_run() -> None:
    parsed = Parsed(written(picture("a.jpg")))
    metas = [a for a, _ in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(rule.strip().split(" ", 1) for rule in (metas[0]["content"] or "").split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "'self' file: data:"

    def digests(tag: str) -> str:
        own = [text for attributes, text in parsed.all(tag) if "type" not in attributes]
        sums = (b64encode(sha256(text.encode()).digest()).decode() for text in own)
        return " ".join(f"'sha256-{digest}'" for digest in sums)

    assert policy["script-src"] == digests("script")
    assert policy["style-src"] == digests("style")


def test_nothing_in_the_page_names_a_place_in_a_network() -> None:
    text = written(picture("a.jpg"))
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and "url(" not in text


def test_pages_of_none_and_of_pictures_without_a_score() -> None:
    assert Parsed(written()).data()["pictures"] == []
    (item,) = Parsed(written(picture("a.jpg", None, rank=None, percentile=None))).data()["pictures"]
    assert item["values"] == [None]
    assert "rank" not in item and "percentile" not in item
    (odd,) = Parsed(written(picture("a.jpg", float("nan")))).data()["pictures"]
    assert odd["values"] == [None]


def test_a_rank_of_the_lowest_percentile_keeps_it() -> None:
    (item,) = Parsed(written(picture("a.jpg", 0.0, percentile=0.0))).data()["pictures"]
    assert item["percentile"] == 0.0
    assert item["values"] == [0.0]


def test_skipped_files_are_listed_with_their_reasons() -> None:
    parsed = Parsed(written(skipped=[("a<b.jpg", "broken & gone"), ("c\n.jpg", "empty")]))
    assert ("summary", {}, "2 files left out") in parsed.elements
    texts = [text for a, text in parsed.all("span") if a.get("class") == "path"]
    assert texts == ["a<b.jpg", "c\\x0a.jpg"]


def test_values_must_be_one_a_criterion() -> None:
    with pytest.raises(ValueError, match=r"2 values, 1 texts, 1 criteria"):
        written(picture("a.jpg", values=(1.0, 2.0)))


def test_the_page_is_written_in_pieces() -> None:
    class Pieces(io.RawIOBase):
        largest = total = 0

        def writable(self) -> bool:
            return True

        def write(self, piece: Any) -> int:
            self.largest = max(self.largest, len(piece))
            self.total += len(piece)
            return len(piece)

    stream = Pieces()
    pictures = [picture(f"{i}.jpg", thumbnail=bytes(9000)) for i in range(800)]
    write_page(Page("", "", [Criterion("quality")], pictures), stream)  # type: ignore[arg-type]
    assert stream.total > 800 * 12000
    assert stream.largest < stream.total / 5


def test_scripts_are_strict_and_short() -> None:
    folder = files("imgrank.results") / "gallery_page"
    present = {part.name for part in folder.iterdir() if part.name.endswith(".js")}
    assert present == set(SCRIPTS)
    for name in SCRIPTS:
        text = (folder / name).read_text("utf-8")
        assert text.startswith('"use strict";\n'), name
        assert text.count("\n") <= 400, name
        assert "</script" not in text and "innerHTML" not in text and "eval(" not in text, name

"""The gallery in headless Chromium, where it is hard: names, policy, eyes, screens, numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from gallery_browser import (
    CONTRASTS,
    CRITERIA,
    Opener,
    dozen,
    names,
    needs_chromium,
    picture,
    save,
    several,
    shown,
)
from PIL import Image
from playwright.sync_api import Browser, expect

from imgrank.results.page import Criterion

pytestmark = needs_chromium


HOSTILE = [
    "<script>hacked = 1</script>.jpg",
    '"onerror="hacked = 1" x=".jpg',
    "<img src=x onerror=hacked=1>.jpg",
    "</script><script>hacked = 1</script>.jpg",
    "javascript:hacked=1",
    "two\nlines.jpg",
    "not-\udcffutf8.jpg",
    "right\u202egpj.exe",
]


def test_hostile_names_are_only_names(open_page: Opener, tmp_path: Path) -> None:
    for name in HOSTILE:
        if "/" not in name:
            Image.new("RGB", (90, 60)).save(tmp_path / name, "JPEG")
    pictures = [
        picture(i, name, 1.0, labels=(f"kind: {name}",), note=name, texts=(name,))
        for i, name in enumerate(HOSTILE)
        if "/" not in name
    ]
    pictures += [picture(9, name, 1.0, href="") for name in HOSTILE if "/" in name]
    tab = open_page(save(tmp_path, pictures, [Criterion(HOSTILE[0], HOSTILE[2])]))
    assert shown(tab) == [
        '"onerror="hacked = 1" x=".jpg',
        "<img src=x onerror=hacked=1>.jpg",
        "javascript:hacked=1",
        "two\\x0alines.jpg",
        "not-\\xffutf8.jpg",
        "right\\u202egpj.exe",
        "<script>hacked = 1</script>.jpg",
        "</script><script>hacked = 1</script>.jpg",
    ]
    tab.locator(".open").first.click()
    for item in pictures:
        if item.href:
            expect(tab.locator("#view-picture")).to_have_attribute("src", item.href)
            assert tab.locator("#view-picture").evaluate("image => image.naturalWidth") == 90
        tab.keyboard.press("ArrowRight")
    assert tab.evaluate("typeof hacked") == "undefined"


def test_the_policy_stops_what_is_not_the_pages_own(chrome: Browser, tmp_path: Path) -> None:
    tab = chrome.new_page()
    blocked: list[str | None] = []
    tab.on("requestfailed", lambda request: blocked.append(request.failure))
    tab.goto(save(tmp_path, dozen()))
    stopped = tab.evaluate(
        """async () => {
          const stopped = [];
          const note = (event) => stopped.push(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", note);
          const holder = document.createElement("div");
          holder.innerHTML = "<img src='data:,x' onerror='hacked = 1'>";
          document.body.append(holder);
          new Image().src = "http://127.0.0.1:9/a.jpg";
          await fetch("http://127.0.0.1:9/").catch(() => {});
          const script = document.createElement("script");
          script.textContent = "hacked = 1";
          document.body.append(script);
          await new Promise((done) => setTimeout(done, 200));
          return [stopped.sort(), typeof hacked];
        }"""
    )
    assert stopped == [
        ["connect-src", "img-src", "script-src-attr", "script-src-elem"],
        "undefined",
    ]
    assert blocked == ["csp"]  # the image; the others were no requests at all
    tab.context.close()


def test_light_and_dark(open_page: Opener, tmp_path: Path) -> None:
    address = save(tmp_path, dozen())
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    tab = open_page(address, color_scheme="light")
    assert tab.evaluate(ground) == "rgb(243, 243, 242)"
    tab.emulate_media(color_scheme="dark")
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    assert tab.evaluate(ground) == "rgb(22, 22, 22)"
    switch = tab.get_by_role("button", name="Dark colours")
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    assert tab.evaluate(ground) == "rgb(243, 243, 242)"
    tab.reload()
    assert tab.evaluate(ground) == "rgb(243, 243, 242)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_and_every_control_a_name(
    open_page: Opener, tmp_path: Path, scheme: str
) -> None:
    for item in several():
        Image.new("RGB", (90, 60), (9, 9, 9)).save(tmp_path / item.name)
    bare = picture(3, "n.jpg", None, thumbnail=None, values=(None,) * 3, texts=("-",) * 3)
    pictures = [*several(), bare]
    skipped = [("broken.jpg", "the file ends too early")]
    tab = open_page(save(tmp_path, pictures, CRITERIA, skipped=skipped), color_scheme=scheme)
    tab.locator("summary").click()
    tab.locator(".open").first.focus()
    tab.keyboard.press("x")
    looked = tab.evaluate(CONTRASTS)
    known = names(tab)
    tab.keyboard.press("Enter")
    expect(tab.locator("#view-picture")).to_have_attribute("src", "p10.jpg")
    looked += tab.evaluate(CONTRASTS)
    known += names(tab)
    tab.keyboard.press("?")
    looked += tab.evaluate(CONTRASTS)
    assert len(looked) > 60
    assert [(text, ratio) for text, ratio in looked if ratio < 4.5] == []
    assert {role for role, _ in known} >= {
        "button",
        "searchbox",
        "combobox",
        "slider",
        "image",
        "main",
    }
    assert [role for role, name in known if not name] == []


def test_a_phone_and_two_hundred_per_cent(open_page: Opener, tmp_path: Path) -> None:
    for item in several():
        Image.new("RGB", (90, 60)).save(tmp_path / item.name)
    address = save(tmp_path, several(), CRITERIA)
    phone = open_page(
        address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    twice = open_page(address, viewport={"width": 640, "height": 400}, device_scale_factor=2)
    for tab in (phone, twice):
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(tab.get_by_label("Label")).to_be_hidden()
        filters = tab.get_by_role("button", name="Filters")
        filters.click()
        expect(filters).to_have_attribute("aria-expanded", "true")
        expect(tab.get_by_role("slider", name="size, lowest")).to_be_visible()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        filters.click()
        tab.locator(".open").first.click()
        assert tab.evaluate("byId('view').scrollWidth <= innerWidth")


def test_a_finger_across_turns_to_the_next_picture(open_page: Opener, tmp_path: Path) -> None:
    for item in several():
        Image.new("RGB", (90, 60)).save(tmp_path / item.name)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    tab = open_page(save(tmp_path, several(), CRITERIA), **phone)
    tab.locator(".open").first.tap()
    expect(tab.locator("#view-picture")).to_have_attribute("src", "p10.jpg")
    fingers = tab.context.new_cdp_session(tab)
    for way, name in ((-1, "p9.jpg"), (-1, "P1.jpg"), (1, "p9.jpg")):
        steps = [("touchStart", 0), *(("touchMove", way * far) for far in (20, 60, 90))]
        for kind, far in steps:
            points = [{"x": 195 + far, "y": 300}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect(tab.locator("#view-name")).to_have_text(name)


def test_pages_of_none_of_one_and_of_a_picture_without_anything(
    open_page: Opener, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    tab = open_page(save(tmp_path / "none", [], skipped=[("a.jpg", "broken")]))
    expect(tab.get_by_text("There is no picture on this page.")).to_be_visible()
    expect(tab.locator("#count")).to_have_text("0 pictures")
    tab.keyboard.press("ArrowRight")
    unknown = {"thumbnail": None, "href": "", "width": 0, "height": 0}
    bare = picture(0, "a.jpg", None, rank=None, percentile=None, **unknown)
    tab = open_page(save(tmp_path, [bare]))
    expect(tab.locator("#count")).to_have_text("1 picture")
    expect(tab.get_by_role("img", name="a.jpg, -")).to_have_text("no picture")
    tab.locator(".open").click()
    expect(tab.get_by_role("complementary", name="Facts")).to_contain_text("none")


def test_pictures_without_a_rank_come_last_in_either_order(
    open_page: Opener, tmp_path: Path
) -> None:
    lost = picture(2, "lost.jpg", None, rank=None, percentile=None)
    tab = open_page(save(tmp_path, [picture(0, "a.jpg", 2.0), picture(1, "b.jpg", 1.0), lost]))
    assert shown(tab) == ["a.jpg", "b.jpg", "lost.jpg"]
    tab.get_by_role("button", name="Turn the order round").click()
    assert shown(tab) == ["b.jpg", "a.jpg", "lost.jpg"]
    expect(tab.locator(".range")).to_contain_text("1 without")
    tab.get_by_role("slider", name="quality, lowest").press("ArrowRight")
    assert shown(tab) == ["a.jpg"]


def test_of_five_thousand_pictures_only_those_near_are_in_the_document(
    open_page: Opener, tmp_path: Path
) -> None:
    shot = picture(0, "", 0.0)
    many = [picture(i, f"{i:04}.jpg", float(i), thumbnail=shot.thumbnail) for i in range(5000)]
    tab = open_page(save(tmp_path, many))
    expect(tab.locator("#count")).to_have_text("5,000 pictures")
    assert tab.locator(".tile").count() < 150
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = tab.locator(".tile[aria-posinset='5000']")
    expect(last).to_be_in_viewport()
    assert (
        last.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 48
    )
    assert tab.locator(".tile").count() < 150
    tab.locator(".open").last.focus()
    tab.keyboard.press("Home")
    expect(tab.locator(".tile[aria-posinset='1']")).to_be_in_viewport()


def test_what_is_looked_at_stays_in_the_window_where_tiles_are_laid_anew(
    open_page: Opener, tmp_path: Path
) -> None:
    many = [picture(i, f"{i:04}.jpg", float(i)) for i in range(300)]
    tab = open_page(save(tmp_path, many))
    tab.evaluate("scrollTo(0, 3000)")
    first = tab.evaluate("anchorIndex()")
    assert first > 20
    tile = tab.locator(f".tile[aria-posinset='{first + 1}']")
    tab.set_viewport_size({"width": 900, "height": 700})
    expect(tile).to_be_in_viewport()
    tab.get_by_label("Size of the pictures").fill("300")
    expect(tile).to_be_in_viewport()
    tab.get_by_role("searchbox").fill("01")
    expect(tab.locator("#count")).to_have_text("112 of 300 pictures")
    expect(tab.locator(".tile[aria-posinset='1']")).to_be_in_viewport()


def test_without_scripts_it_is_a_plain_list(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, dozen()), java_script_enabled=False)
    links = tab.get_by_role("link")
    assert links.all_inner_texts()[:2] == ["photos/shot1.jpg", "photos/shot6.jpg"]
    assert links.count() == 12
    assert "quality: 11 MOS" in tab.get_by_role("listitem").first.inner_text()
    expect(tab.locator(".app")).to_be_hidden()

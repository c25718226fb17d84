"""The gallery in real headless Chromium: what a photographer does with it, what it must not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gallery_browser import (
    CRITERIA,
    Opener,
    dozen,
    needs_chromium,
    picture,
    save,
    several,
    shown,
)
from PIL import Image
from playwright.sync_api import Browser, expect

pytestmark = needs_chromium


def test_it_opens_with_all_pictures_in_the_order_given(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, dozen()))
    assert tab.title() == "A walk"
    expect(tab.get_by_role("heading", name="A walk")).to_be_visible()
    expect(tab.locator("#count")).to_have_text("12 pictures")
    assert shown(tab)[:3] == ["shot1.jpg", "shot6.jpg", "shot11.jpg"]
    first = tab.get_by_role("img", name="1. shot1.jpg, 11 MOS")
    assert first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 48
    expect(tab.locator(".tile").first).to_contain_text("11.0")


def test_filter_by_name(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, dozen()))
    tab.keyboard.press("/")
    tab.keyboard.type("T1.J")
    assert shown(tab) == ["shot1.jpg"]
    expect(tab.locator("#count")).to_have_text("1 of 12 pictures")
    tab.get_by_role("searchbox").fill("photos/shot1")
    expect(tab.locator("#count")).to_have_text("4 of 12 pictures")
    tab.get_by_role("searchbox").fill("nothing")
    expect(tab.get_by_text("No picture passes these filters.")).to_be_visible()
    tab.get_by_role("button", name="Clear filters").click()
    expect(tab.locator("#count")).to_have_text("12 pictures")


def test_the_histogram_filters_by_keys_and_by_a_stroke(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, dozen()))
    lowest = tab.get_by_role("slider", name="quality, lowest")
    lowest.press("ArrowRight")
    expect(tab.locator("#count")).to_have_text("11 of 12 pictures")
    assert lowest.get_attribute("aria-valuetext") == "0.1 MOS"
    tab.get_by_role("slider", name="quality, highest").press("Home")
    assert tab.get_by_role("slider", name="quality, highest").input_value() == "1"
    tab.get_by_role("button", name="Clear filters").click()
    box = tab.locator(".bars").bounding_box()
    assert box
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] + 30, box["y"] + 20, steps=4)
    tab.mouse.up()
    expect(tab.locator("#count")).to_have_text("6 of 12 pictures")  # 6 to 11
    assert tab.locator(".bars rect.off").count() == 20
    tab.locator(".bars").click()
    expect(tab.locator("#count")).to_have_text("12 pictures")


def test_filter_by_label(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, dozen()))
    choice = tab.get_by_label("Label")
    assert choice.locator("option").all_inner_texts() == [
        "all",
        *(f"group {n} (4)" for n in range(3)),
    ]
    choice.select_option(label="group 1 (4)")
    assert shown(tab) == ["shot6.jpg", "shot9.jpg", "shot12.jpg", "shot3.jpg"]


def test_several_criteria_stand_side_by_side_and_sort(open_page: Opener, tmp_path: Path) -> None:
    quality, brightness, size = CRITERIA
    criteria = (quality, replace(brightness, name="by brightness"), size)
    tab = open_page(save(tmp_path, several(), criteria))
    tile = tab.locator(".tile").nth(1)
    assert tile.locator(".line").all_inner_texts() == [
        "2\np9.jpg",
        "quality\n2.00",
        "by brightness\n30.0",
        "size\n-",
    ]
    switch = tab.get_by_label("Show by brightness below the pictures")
    switch.uncheck()
    assert tile.locator(".line").all_inner_texts() == ["2\np9.jpg", "quality\n2.00", "size\n-"]
    orders = {
        "by rank": ["p10.jpg", "p9.jpg", "P1.jpg"],
        "by brightness": ["p9.jpg", "P1.jpg", "p10.jpg"],
        "by size": ["P1.jpg", "p10.jpg", "p9.jpg"],
        "by name": ["P1.jpg", "p9.jpg", "p10.jpg"],
    }
    order = tab.get_by_label("Sort")
    for label, expected in orders.items():
        order.select_option(label=label)
        assert shown(tab) == expected, label
        # What pictures are put in the order of is written below them, and stays.
        assert switch.is_checked() == (label != "by rank")
    order.select_option(label="by size")
    tab.get_by_role("button", name="Turn the order round").click()
    assert shown(tab) == ["p10.jpg", "P1.jpg", "p9.jpg"]  # without a value: last either way
    order.select_option(label="by rank")
    assert shown(tab) == ["P1.jpg", "p9.jpg", "p10.jpg"]


def test_a_point_of_the_scatter_opens_its_picture(open_page: Opener, tmp_path: Path) -> None:
    for item in several():
        Image.new("RGB", (90, 60)).save(tmp_path / item.name)
    tab = open_page(save(tmp_path, several(), CRITERIA))
    tab.locator("#scatter-x").select_option(label="quality")
    tab.locator("#scatter-y").select_option(label="brightness")
    canvas = tab.get_by_role("img", name="quality across, brightness up, a point a picture")
    box = canvas.bounding_box()
    assert box
    canvas.click(position={"x": box["width"] / 2, "y": 6})  # quality 2, brightness 30
    expect(tab.locator("#view-name")).to_have_text("p9.jpg")


def test_a_walk_by_keyboard(open_page: Opener, tmp_path: Path) -> None:
    for item in dozen():
        Image.new("RGB", (90, 60), (9, 9, 9)).save(tmp_path / item.name)
    tab = open_page(save(tmp_path, dozen()))
    focused = "document.activeElement.closest('.tile')?.getAttribute('aria-posinset')"
    walk = {"ArrowRight": "1", "ArrowRight ": "2", "End": "12", "ArrowRight  ": "12", "Home": "1"}
    for key, place in walk.items():
        tab.keyboard.press(key.strip())
        assert tab.evaluate(focused) == place, key
    in_first_row = tab.evaluate("laid.rows[0].tiles.length")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(focused) == str(in_first_row + 1)
    tab.keyboard.press("ArrowUp")
    assert tab.locator(".open[tabindex='0']").count() == 1
    tab.keyboard.press("Space")
    expect(tab.locator("#marked-count")).to_have_text("1 marked")
    tab.keyboard.press("Enter")
    view = tab.get_by_role("dialog", name="shot1.jpg")
    expect(view).to_be_visible()
    expect(view.locator("#view-mark")).to_have_attribute("aria-pressed", "true")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("x")
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#view-place")).to_have_text("3 of 12")
    tab.keyboard.press("End")
    expect(tab.get_by_role("button", name="Next picture")).to_have_count(0)
    tab.keyboard.press("PageUp")
    expect(tab.locator("#view-place")).to_have_text("11 of 12")
    tab.keyboard.press("Escape")
    expect(tab.locator("#view")).to_be_hidden()
    assert tab.evaluate(focused) == "11"
    expect(tab.locator("#marked-count")).to_have_text("2 marked")
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator("#help")).to_be_hidden()


def test_the_full_view_shows_the_original_and_its_facts(open_page: Opener, tmp_path: Path) -> None:
    name = "a #1?.jpg"
    Image.new("RGB", (1800, 1200), (200, 10, 10)).save(tmp_path / name)
    known = {"texts": ("3.5 (3.1 to 3.9) MOS",), "labels": ("level: good",)}
    item = picture(0, name, 3.5, note="a burst's best", **known)
    for other in dozen():
        Image.new("RGB", (90, 60)).save(tmp_path / other.name)
    tab = open_page(save(tmp_path, [item, *dozen()]))
    tab.locator(".open").first.click()
    original = tab.locator("#view-picture")
    expect(original).to_have_attribute("src", "a%20%231%3F.jpg")
    assert original.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1800, 1200]
    fits = original.bounding_box()
    assert fits and fits["width"] < 1200 and fits["height"] < 800
    facts = tab.get_by_role("complementary", name="Facts").inner_text()
    for fact in ("3.5 (3.1 to 3.9) MOS", "tiny-quality", "level: good", "a burst's best"):
        assert fact in facts
    assert "900 × 600" in facts and f"photos/{name}" in facts and "percentile 50" in facts
    tab.keyboard.press("z")
    expect(tab.get_by_role("region", name="Picture at 100 %")).to_be_focused()
    full = original.bounding_box()
    assert full and (full["width"], full["height"]) == (1800, 1200)
    tab.keyboard.press("Escape")
    assert original.bounding_box() == fits
    tab.keyboard.press("ArrowRight")
    expect(original).to_have_attribute("src", "shot1.jpg")
    small = original.bounding_box()  # nothing is enlarged to fit
    assert small and (small["width"], small["height"]) == (90, 60)
    tab.keyboard.press("ArrowLeft")
    tab.get_by_role("button", name="level: good").click()
    expect(tab.locator("#view")).to_be_hidden()
    expect(tab.locator("#count")).to_have_text("1 of 13 pictures")


def test_one_hundred_per_cent_is_a_pixel_to_a_pixel(open_page: Opener, tmp_path: Path) -> None:
    Image.new("RGB", (1800, 1200), (200, 10, 10)).save(tmp_path / "a.jpg")
    tab = open_page(save(tmp_path, [picture(0, "a.jpg", 1.0)]), device_scale_factor=2)
    tab.locator(".open").click()
    tab.get_by_role("button", name="100 %").click()
    box = tab.locator("#view-picture").bounding_box()
    assert box and (box["width"], box["height"]) == (900, 600)


def test_where_the_original_is_gone_the_small_picture_stays(
    chrome: Browser, tmp_path: Path
) -> None:
    # The browser itself reports a file that is not there: not one for the watching fixture.
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    tab = chrome.new_page()
    pictures = [picture(0, "a.jpg", 2.0), picture(1, "b.jpg", 1.0)]
    pictures += [picture(2, "c.jpg", 0.0, href="")]
    pictures += [picture(3, "d.jpg", -1.0, thumbnail=None)]
    tab.goto(save(tmp_path, pictures))
    tab.locator(".open").first.click()
    for note in ("original is not there, or", "original is not there, or", "no address"):
        expect(tab.locator("#view-note")).to_contain_text(note)
        expect(tab.locator("#view-note")).to_contain_text("this is a smaller copy")
        assert tab.locator("#view-picture").evaluate("image => image.naturalWidth") == 48
        expect(tab.get_by_role("button", name="100 %")).to_be_disabled()
        tab.keyboard.press("ArrowRight")
    expect(tab.locator("#view-note")).to_contain_text("there is no copy of it on the page")
    expect(tab.locator("#view-picture")).to_be_hidden()
    tab.context.close()


def test_marks_come_out_as_the_very_bytes_of_the_paths(open_page: Opener, tmp_path: Path) -> None:
    tricky = ["a.jpg", "caf\u00e9.jpg", "raw\udce9.jpg", "b.jpg"]
    address = save(tmp_path, [picture(i, name, 1.0 * i) for i, name in enumerate(tricky)])
    tab = open_page(address)
    for place in (2, 0, 1):
        tab.locator(".tile").nth(place).hover()
        tab.locator(".mark").nth(place).click()
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Save list").click()
    assert waiting.value.suggested_filename == "marked.txt"
    saved = Path(waiting.value.path()).read_bytes()
    assert saved == b"photos/a.jpg\nphotos/caf\xc3\xa9.jpg\nphotos/raw\xe9.jpg\n"
    tab.reload()
    expect(tab.locator("#marked-count")).to_have_text("3 marked")
    tab.get_by_role("button", name="Show only these").click()
    expect(tab.locator("#count")).to_have_text("3 of 4 pictures")
    tab.get_by_role("button", name="Unmark all").click()
    expect(tab.locator("#marked")).to_be_hidden()
    expect(tab.locator("#count")).to_have_text("4 pictures")


def test_a_name_with_a_line_break_is_ended_by_nul(open_page: Opener, tmp_path: Path) -> None:
    tab = open_page(save(tmp_path, [picture(0, "a\nb.jpg", 1.0), picture(1, "c.jpg", 0.5)]))
    tab.locator(".tile").first.hover()
    tab.locator(".mark").first.click()
    tab.locator(".mark").nth(1).click(modifiers=["Shift"])
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Save list").click()
    assert Path(waiting.value.path()).read_bytes() == b"photos/a\nb.jpg\0photos/c.jpg\0"
    expect(tab.locator("#said")).to_contain_text("xargs -0")


def test_paths_are_copied(open_page: Opener, tmp_path: Path) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    tab = open_page(save(tmp_path, dozen()), permissions=permissions)
    tab.locator(".open").first.focus()
    tab.keyboard.press("c")
    expect(tab.locator("#said")).to_have_text("Copied the path.")
    assert tab.evaluate("navigator.clipboard.readText()") == "photos/shot1.jpg"
    for key in ("x", "ArrowRight", "x"):
        tab.keyboard.press(key)
    tab.get_by_role("button", name="Copy paths").click()
    expect(tab.locator("#said")).to_have_text("Copied 2 paths.")
    assert tab.evaluate("navigator.clipboard.readText()") == "photos/shot1.jpg\nphotos/shot6.jpg"

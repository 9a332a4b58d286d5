"""The report's page in a real Chromium: nothing sticks out, nothing is fetched, and a click on a head sorts.

Skipped where Chromium, its driver or selenium are missing: ``apt-get install chromium chromium-driver`` and the
dependency group ``browser``. Set FER_EDGE_SCREENSHOTS to a folder to keep a picture of each size and theme.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_edge.cli import main
from tests.convert.report_results import PI, Document, Results, on_machine, slower

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is missing: install the dependency group browser"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip(
        "Chromium or chromedriver is missing: apt-get install chromium chromium-driver", allow_module_level=True
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(results: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")

    def throttled(document: Document) -> None:
        document.update(valid=False, invalid_because=["the board slowed itself down: throttled"])

    on_pi = results.changed(folder / "pi.json", on_machine(PI), slower(30.0), throttled)
    assert main(["report", *map(str, (*results.all, on_pi)), "--html", str(folder / "report.html")]) == 0
    return (folder / "report.html").as_uri()


def show(browser: Any, page: str, width: int, theme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    browser.get(page)


def luminance(browser: Any, selector: str, style: str) -> float:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    colour = browser.execute_script(script, selector, style)
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(weight * part / 255 for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_legible(browser: Any, page: str, width: int, theme: str) -> None:
    show(browser, page, width, theme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    plots = browser.find_elements("css selector", ".plot svg")
    assert [plot.is_displayed() for plot in plots] == ([True, False] if width == 1280 else [False, True])
    ground = luminance(browser, "section", "backgroundColor")
    assert (ground > 0.9) if theme == "light" else (ground < 0.15)
    for selector, style in (("td", "color"), (".note", "color"), (".plot text", "fill")):
        assert abs(luminance(browser, selector, style) - ground) > 0.3
    assert browser.get_log("browser") == []  # the policy would complain here of anything fetched
    if folder := os.environ.get("FER_EDGE_SCREENSHOTS"):
        height = browser.execute_script("return document.documentElement.scrollHeight")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.save_screenshot(str(Path(folder) / f"report-{width}-{theme}.png"))


def column(browser: Any, head: str) -> tuple[Any, list[str]]:
    table = browser.find_element("css selector", "table.sortable")
    heads = table.find_elements("css selector", "thead th")
    at = next(n for n, cell in enumerate(heads) if cell.get_attribute("textContent") == head)
    cells = [row.find_elements("css selector", "th, td")[at] for row in table.find_elements("css selector", "tbody tr")]
    return heads[at], [str(cell.get_attribute("textContent")) for cell in cells]


def test_a_click_on_a_head_sorts(browser: Any, page: str) -> None:
    show(browser, page, 1280, "light")
    _, names = column(browser, "model")
    head, sizes = column(browser, "MB")
    button = head.find_element("css selector", "button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(browser, "MB")[1] == sorted(sizes, key=float)
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(browser, "MB")[1] == sorted(sizes, key=float, reverse=True)
    # Words go by the alphabet, and what is missing comes last both ways.
    word, recipes = column(browser, "recipe")
    assert sorted(recipes) == ["-", "int8", "int8"]
    for _ in range(2):
        word.find_element("css selector", "button").click()
        assert column(browser, "recipe")[1] == ["int8", "int8", "-"]
    assert head.get_attribute("aria-sort") is None
    number, _ = column(browser, "#")
    number.find_element("css selector", "button").click()
    assert column(browser, "model")[1] == names

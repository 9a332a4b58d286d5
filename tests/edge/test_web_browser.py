"""The dashboard in a real Chromium: what a person sees, clicks and reads.

Skipped where Chromium, its driver or selenium are missing: ``apt-get install chromium chromium-driver`` and the
dependency group ``browser``. Set FER_EDGE_SCREENSHOTS to a folder to keep a picture of each page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.outputs.settings import WebSettings
from fer_edge.outputs.web import WebOutput
from tests.edge.web_page import ASTRONAUT, STATUS, Feeder, Switch, ask, face, observation, serving, wait_until

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is missing: install the dependency group browser"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip(
        "Chromium or chromedriver is missing: apt-get install chromium chromium-driver", allow_module_level=True
    )

SIZES = [(1920, 1080), (800, 480)]


class Browser:
    """Chromium and the few things that the tests ask of it."""

    def __init__(self) -> None:
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1920,1080"):
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses to run as root with it
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, output: WebOutput, path: str = "/") -> None:
        self.driver.get(f"http://127.0.0.1:{output.port}{path}")

    def show(self, size: tuple[int, int], theme: str = "dark", motion: str = "no-preference") -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def one(self, selector: str) -> WebElement:
        found: WebElement = self.driver.find_element("css selector", selector)
        return found

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements("css selector", selector)
        return found

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def text(self, selector: str) -> str:
        return str(self.ask("document.querySelector(arguments[0])?.textContent.trim() ?? ''", selector))

    def expect(self, selector: str, text: str) -> None:
        wait_until(lambda: self.text(selector) == text, f"{selector} says {text!r}, not {self.text(selector)!r}")

    def shows_picture(self) -> bool:
        script = """(image =>
            image !== null && image.hasAttribute("src") && image.naturalWidth === 512
            && getComputedStyle(image).visibility === "visible"
        )(document.querySelector(".view img"))"""
        return bool(self.ask(script))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def control() -> Switch:
    return Switch()


@pytest.fixture
def live(control: Switch) -> Iterator[WebOutput]:
    with serving(control) as output, Feeder(output, control, face(), face(2, "neutral", 0.6)):
        yield output


def viewers(output: WebOutput) -> int:
    return int(ask(output, "/api/state").json["viewers"])


def test_the_dashboard_shows_the_run_and_pauses_it(browser: Browser, live: WebOutput, control: Switch) -> None:
    browser.driver.get_log("browser")
    browser.show((1920, 1080))
    browser.open(live)
    browser.expect("#state .word", "Running")
    wait_until(browser.shows_picture, "the live view is there")
    wait_until(lambda: len(browser.all(".face")) == 2, "both faces are listed")
    first = browser.one(".face[data-id='1']")
    assert first.get_attribute("data-expression") == "happy"
    assert browser.text(".face[data-id='1'] .expression") == "Happy"
    assert browser.text(".face[data-id='1'] .score") == "82%"
    assert [row.text for row in browser.all(".face[data-id='1'] .label")] == list(LABELS)
    assert browser.text(".face[data-id='1'] .reported .value") == "82"
    browser.expect("#fps", "29.9")
    browser.expect("#age", "31")
    browser.expect("#temperature", "52.5")
    browser.expect("#count", "2")
    browser.expect("#source", STATUS.source)
    assert browser.text("#model").startswith("tiny, 5e5e5e")
    assert browser.text("#board") == "not throttled"

    button = browser.one("#pause")
    assert button.accessible_name == "Pause camera"
    assert button.size["height"] >= 44
    wait_until(lambda: viewers(live) == 1, "the browser takes the stream")
    button.click()
    browser.expect("#state .word", "Paused")
    assert control.status().state == "paused"
    browser.expect("#announce", "Paused. The camera is off.")
    assert browser.one("#announce").get_attribute("aria-live") == "polite"
    assert browser.text(".veil .title") == "Paused"
    assert button.accessible_name == "Resume camera"
    assert not browser.shows_picture()
    assert browser.all(".face") == []
    assert browser.text("#fps") == "\N{EN DASH}"
    wait_until(lambda: viewers(live) == 0, "the stream was let go")

    # By the keyboard alone, from the top of the page.
    browser.ask("document.activeElement.blur()")
    from selenium.webdriver.common.keys import Keys

    for _ in range(8):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.ask("document.activeElement.id") == "pause":
            break
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.expect("#state .word", "Running")
    assert control.status().state == "running"
    wait_until(browser.shows_picture, "the live view is back")
    browser.expect("#announce", "Running. Expressions are being analysed.")
    complaints = [entry for entry in browser.driver.get_log("browser") if entry["level"] != "INFO"]
    assert complaints == []


def test_the_timeline_tells_shares_and_draws_them(browser: Browser, live: WebOutput) -> None:
    browser.show((1920, 1080))
    browser.open(live)
    browser.expect("#timeline-title", "Last 5 minutes")
    browser.expect("#legend [data-label='happy'] .share", "50%")
    browser.expect("#legend [data-label='neutral'] .share", "50%")
    browser.expect("#legend [data-label='sad'] .share", "0%")
    assert browser.one("#timeline").accessible_name == "Expressions by share of time: happy 50%, neutral 50%"

    def drawn(colour: list[int]) -> int:
        script = """(colour => {
            const canvas = document.getElementById("timeline");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let found = 0;
            for (let i = 0; i < data.length; i += 4)
              found += data[i] === colour[0] && data[i + 1] === colour[1] && data[i + 2] === colour[2];
            return found;
        })(arguments[0])"""
        return int(browser.ask(script, colour))

    wait_until(lambda: drawn([0xF0, 0xE4, 0x42]) > 50, "happy's yellow is in the timeline")
    assert drawn([0x56, 0xB4, 0xE9]) > 50
    assert drawn([0x00, 0x72, 0xB2]) == 0
    before = drawn([0xF0, 0xE4, 0x42])
    wait_until(lambda: drawn([0xF0, 0xE4, 0x42]) > before, "it grows")


def test_the_page_connects_again_by_itself(browser: Browser, control: Switch) -> None:
    browser.show((800, 480))
    output = WebOutput(WebSettings(port=0), control)
    output.open()
    port = output.port
    with Feeder(output, control):
        browser.open(output)
        wait_until(browser.shows_picture, "the live view is there")
    output.close()
    browser.expect("#state .word", "Offline")
    assert browser.text(".veil .title") == "Connection lost"
    assert not browser.one("#pause").is_enabled()
    assert not browser.shows_picture()
    again = WebOutput(WebSettings(port=port), control)
    again.open()
    try:
        with Feeder(again, control):
            browser.expect("#state .word", "Running")
            wait_until(browser.shows_picture, "the live view is back")
            assert browser.one("#pause").is_enabled()
    finally:
        again.close()


def test_a_camera_that_is_away_is_explained(browser: Browser, control: Switch) -> None:
    browser.show((800, 480))
    with serving(control) as output:
        output.status(STATUS)
        output.write(observation(0, face()), ASTRONAUT)
        browser.open(output)
        wait_until(browser.shows_picture, "the live view is there")
        # A source's name comes from outside: it must not become part of the page.
        output.status(replace(STATUS, state="retrying", detail="<b id=injected>unplugged</b>"))
        browser.expect("#state .word", "No camera")
        assert browser.text(".veil .detail") == "<b id=injected>unplugged</b>"
        assert browser.all("#injected") == []
        assert not browser.shows_picture()


def test_nobody_encodes_for_a_hidden_tab(browser: Browser, live: WebOutput) -> None:
    browser.open(live)
    wait_until(lambda: viewers(live) == 1, "the browser takes the stream")
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        wait_until(lambda: viewers(live) == 0, "the hidden page let go of the stream")
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(first)
    wait_until(lambda: viewers(live) == 1, "the page takes it again")


def test_without_a_control_there_is_no_button(browser: Browser) -> None:
    with serving() as output:
        output.status(STATUS)
        output.write(observation(0), ASTRONAUT)
        browser.open(output)
        browser.expect("#state .word", "Running")
        assert not browser.one("#pause").is_displayed()
        browser.expect("#nobody", "No face in view")
        assert browser.one("#nobody").is_displayed()


def test_the_kiosk_says_what_it_does_and_can_be_read_from_afar(browser: Browser, live: WebOutput) -> None:
    for size in SIZES:
        browser.show(size)
        browser.open(live, "/kiosk")
        browser.expect("#notice span:nth-child(1)", "This display analyses visible facial expressions.")
        browser.expect("#notice span:nth-child(2)", "It stores no picture.")
        browser.expect("#notice span:nth-child(3)", "An expression is not an emotion.")
        wait_until(lambda: len(browser.all(".face")) == 2, "both faces are named")
        # 3 m, 16 minutes of arc: 14 mm of letters, or a tenth of the height of the picture on a 7-inch display.
        letters = float(browser.ask("parseFloat(getComputedStyle(document.querySelector('.expression')).fontSize)"))
        assert letters >= size[1] / 10
        notice = float(browser.ask("parseFloat(getComputedStyle(document.querySelector('#notice')).fontSize)"))
        assert notice >= size[1] / 32
        browser.one("#pause").click()
        browser.expect(".veil .title", "Paused")
        browser.one("#pause").click()
        wait_until(browser.shows_picture, "the live view is back")


@pytest.mark.parametrize("page", ["dashboard", "kiosk"])
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_nothing_is_cut_off(browser: Browser, live: WebOutput, page: str, theme: str, size: tuple[int, int]) -> None:
    browser.show(size, theme, "reduce")
    browser.open(live, f"/{page}")
    wait_until(browser.shows_picture, "the live view is there")
    wait_until(lambda: len(browser.all(".face")) == 2, "both faces are listed")
    width, height = browser.ask("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert (width, height) <= size
    must_be_seen = ["#pause", "#notice", ".view img", ".face .expression"]
    if page == "dashboard":
        must_be_seen += ["#state", "#fps", "#age", "#temperature", "#count", "#timeline", ".mark", "#theme"]
    for selector in must_be_seen:
        box = browser.ask("document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)
        assert box["width"] > 0, selector
        assert box["left"] >= 0, selector
        assert box["top"] >= 0, selector
        assert box["right"] <= size[0], selector
        assert box["bottom"] <= size[1], selector
        overflow = "(e => e.scrollWidth - e.clientWidth)(document.querySelector(arguments[0]))"
        assert selector in {"#state", ".face .expression", "#fps"} or browser.ask(overflow, selector) <= 1, selector
    bottoms = "[...document.querySelectorAll('.face, #faces')].map(e => e.getBoundingClientRect().bottom)"
    assert max(browser.ask(bottoms)) == browser.ask("document.querySelector('#faces').getBoundingClientRect().bottom")
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 17, 19)" if theme == "dark" else "rgb(244, 243, 240)")
    assert browser.ask("getComputedStyle(document.querySelector('.bars .length')).transitionDuration") == "0s"
    if folder := os.environ.get("FER_EDGE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.driver.save_screenshot(str(Path(folder) / f"{page}-{theme}-{size[0]}x{size[1]}.png"))


def test_the_theme_can_be_chosen_and_is_kept(browser: Browser, live: WebOutput) -> None:
    browser.show((800, 480), "dark")
    browser.open(live)
    button = browser.one("#theme")
    assert button.accessible_name == "Theme: as the system"
    button.click()
    assert button.accessible_name == "Theme: light"
    for _ in range(2):
        assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(244, 243, 240)"
        browser.driver.refresh()
    browser.one("#theme").click()
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 19)"
    browser.one("#theme").click()
    assert browser.one("#theme").accessible_name == "Theme: as the system"


def test_signing_in(browser: Browser, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple")
    with serving(settings=WebSettings(host="0.0.0.0", port=0, token_file=token)) as output:
        output.status(STATUS)
        output.write(observation(0, face()), ASTRONAUT)
        browser.open(output)
        browser.one("#token").send_keys("wrong")
        browser.one("button[type=submit]").click()
        wait_until(lambda: browser.driver.current_url.endswith("/signin"), "it asks again")
        browser.one("#token").send_keys("correct-horse-battery-staple")
        browser.one("button[type=submit]").click()
        wait_until(browser.shows_picture, "the live view is there")
        browser.driver.delete_all_cookies()
        browser.open(output, "/kiosk?token=correct-horse-battery-staple")
        wait_until(browser.shows_picture, "the live view is there")
        assert browser.driver.current_url.endswith("/kiosk")
        assert browser.ask("document.cookie") == ""

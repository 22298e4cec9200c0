"""The page in a process of its own, and a browser that shows it: needs selenium, chromium and its driver."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import requests
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 120
LINUX = sys.platform == "linux"


class Server:
    """`lucid-mlx app` in a process of its own."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "GRADIO_SERVER_NAME": "0.0.0.0",  # which must have no effect
            "GRADIO_SHARE": "True",
            "GRADIO_ANALYTICS_ENABLED": "True",
        }
        self.log = folder.parent / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lucid_mlx", "app", *map(str, arguments)],
                stdout=log, stderr=subprocess.STDOUT, env=environment,
                # A job in the background inherits Ctrl-C as ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip
        self.address = self._address()

    def _address(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"Open (http://127\.0\.0\.1:\d+/) in a browser", self.log.read_text()):
                return found[1]
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def upload(self, name, content):
        return requests.post(f"{self.address}gradio_api/upload", files={"files": (name, content)}, timeout=SECONDS)

    def answer(self, name, content, session):
        """Ask for the segments of a photo, as the page does; return the answer."""
        (path,) = self.upload(name, content).json()
        (function,) = {
            dependency["id"]
            for dependency in requests.get(f"{self.address}config", timeout=SECONDS).json()["dependencies"]
            if any(event == "upload" for _, event in dependency["targets"])
        }
        photo = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [[photo], "semantic", 0.0, "overlay"], "fn_index": function, "session_hash": session}
        requests.post(f"{self.address}gradio_api/queue/join", json=asked, timeout=SECONDS).raise_for_status()
        address = f"{self.address}gradio_api/queue/data?session_hash={session}"
        with requests.get(address, stream=True, timeout=SECONDS) as events:
            for line in filter(None, events.iter_lines()):
                event = json.loads(line.removeprefix(b"data: "))
                if event["msg"] == "process_completed":
                    return event["output"]
        raise AssertionError("no answer")

    def files(self):
        """What lies in the folder, but for MLX's compiled kernels."""
        return [path for path in self.folder.rglob("*") if path.is_file() and path.parts[-4] != "mlx"]

    def size(self):
        return sum(path.stat().st_size for path in self.files())


def open_browser(profile, downloads):
    """Start a browser that puts what is downloaded into a folder."""
    options = webdriver.ChromeOptions()
    if LINUX:
        options.binary_location = "/usr/bin/chromium"
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1300,1000",
        f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    # Elsewhere, as on hosted macOS runners, selenium finds Chrome and its driver.
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver") if LINUX else None)
    driver.folder = downloads
    return driver


class Page:
    def __init__(self, browser):
        self.browser = browser

    def wait(self, condition):
        return WebDriverWait(self.browser, SECONDS).until(lambda _: condition())

    def drop(self, *paths):
        self.browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys("\n".join(map(str, paths)))

    def legend(self):
        script = "return [...document.querySelectorAll('.legend-item')].map(item => item.textContent.trim())"
        return self.browser.execute_script(script)

    def choose(self, task):
        self.browser.find_element(By.CSS_SELECTOR, f"input[type=radio][value={task}]").click()

    def found(self):
        return self.browser.find_element(By.CSS_SELECTOR, "textarea").get_attribute("value")

    def threshold(self, value):
        box = self.browser.find_element(By.CSS_SELECTOR, "input[type=number]")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.NULL, value, Keys.TAB)

    def download(self, button, name):
        file = self.browser.folder / name

        def there():
            if not file.exists():  # a click at the moment in which another answer comes may find nothing
                self.browser.find_element(By.XPATH, f"//button[contains(., '{button}')]").click()
                time.sleep(2)
            return file.exists() and file.stat().st_size

        self.wait(there)
        return file.read_bytes()

    def choose_format(self, name):
        box = self.browser.find_element(By.CSS_SELECTOR, "input[aria-label=Format]")
        box.click()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.NULL, name, Keys.ENTER)

    def press(self, button):
        self.browser.find_element(By.XPATH, f"//button[contains(., '{button}')]").click()

    def point(self, x, y):
        """Move the pointer over the first picture; x and y are fractions of it."""
        picture = self.browser.find_element(By.CSS_SELECTOR, "img.base-image")
        width, height = (int(picture.get_property(side)) for side in ("naturalWidth", "naturalHeight"))
        scale = min(picture.size["width"] / width, picture.size["height"] / height)  # it is in the middle of its box
        offset = round((x - 0.5) * width * scale), round((y - 0.5) * height * scale)
        return ActionChains(self.browser).move_to_element_with_offset(picture, *offset)

    def text(self):
        return self.browser.find_element(By.TAG_NAME, "body").text

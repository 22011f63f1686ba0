"""Drives the page of a process that serves with Debian's Chromium, as its users would, and keeps pictures.

Usage: browser.py URL FOLDER; `URL` has the operator's token. The process serves the jobs `acme/rows`, on demand, `acme/fails`, which
ends with an error and a hint, `other/slow`, which runs until it is stopped, and a file that is no job."""

import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

url, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
options = webdriver.ChromeOptions()
for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-prefers-reduced-motion"]:
    options.add_argument(argument)
options.binary_location = "/usr/bin/chromium"
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
driver.set_window_size(1280, 900)


def text():
    return driver.find_element(By.TAG_NAME, "body").text


def wait(what, condition, seconds=60):
    try:
        return WebDriverWait(driver, seconds, poll_frequency=0.2, ignored_exceptions=[Exception]).until(lambda _: condition())
    except Exception:
        driver.save_screenshot(str(folder / "failed.png"))
        raise AssertionError(f"{what} does not happen; the page says: {text()}")


def row(name):
    for found in driver.find_elements(By.CSS_SELECTOR, "tbody tr"):
        if name in found.text:
            return found
    return None


def button(name, word):
    """Asked for again and again: the page draws its rows anew every two seconds."""
    found = row(name).find_element(By.XPATH, f".//button[text()='{word}']")
    found.click()
    return True


def colours(scheme):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def fits():
    """Nothing is wider than the window."""
    return driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


try:
    driver.get(url)
    wait("the list of jobs", lambda: row("acme / rows"))
    assert "token" not in driver.current_url, "the token stays in the address"
    assert "broken.yaml" in text(), "a file that is no job is not shown"
    assert driver.find_element(By.CSS_SELECTOR, "[role=alert]").text.count("hint:") == 1
    driver.save_screenshot(str(folder / "jobs-light.png"))

    # A run on demand, to its end.
    button("acme / rows", "Run now")
    wait("the end of a run", lambda: "committed" in text() and "Rows written" in text())
    assert "sha256:" in text() and "Grants" in text() and "object-store" in text(), text()
    assert "Rows written\n10" in text(), text()
    driver.save_screenshot(str(folder / "run.png"))

    # One that fails, with what to do about it.
    driver.find_element(By.LINK_TEXT, "Jobs").click()
    wait("the job that fails", lambda: button("acme / fails", "Run now"))
    wait("its error", lambda: "hint:" in text() and "failed" in text())
    driver.save_screenshot(str(folder / "error.png"))

    # One that goes on, and is stopped.
    driver.find_element(By.LINK_TEXT, "Jobs").click()
    wait("the slow job", lambda: button("other / slow", "Run now"))
    wait("its run", lambda: "rows/s" in text() and driver.find_element(By.XPATH, "//button[text()='Stop']"))
    driver.save_screenshot(str(folder / "running.png"))
    wait("the button to stop it", lambda: driver.find_element(By.XPATH, "//button[text()='Stop']").click() or True)
    wait("its end", lambda: "cancelled" in text())

    # The history of a job with its plot, and of all.
    for _ in range(2):
        driver.find_element(By.LINK_TEXT, "Jobs").click()
        wait("the job", lambda: button("acme / rows", "Run now"))
        wait("its end", lambda: "committed" in text() or "empty" in text())
    driver.find_element(By.LINK_TEXT, "acme / rows").click()
    wait("the plot", lambda: driver.find_element(By.CSS_SELECTOR, "figure svg circle"))
    assert len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == 3
    driver.save_screenshot(str(folder / "job.png"))
    driver.find_element(By.LINK_TEXT, "Runs").click()
    wait("the runs", lambda: len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) >= 50)
    driver.find_element(By.LINK_TEXT, "Older runs").click()
    wait("older ones", lambda: "before=" in driver.current_url and len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == 50)

    # In the dark.
    colours("dark")
    driver.find_element(By.LINK_TEXT, "Jobs").click()
    wait("the list of jobs", lambda: row("acme / rows"))
    dark = driver.execute_script("return getComputedStyle(document.querySelector('a')).color")
    driver.save_screenshot(str(folder / "jobs-dark.png"))
    colours("light")
    assert dark != driver.execute_script("return getComputedStyle(document.querySelector('a')).color")

    # By keyboard alone: to the filter, a name, then to the job's own link.
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    for _ in range(20):
        if driver.switch_to.active_element.get_attribute("id") == "filter":
            break
        driver.switch_to.active_element.send_keys(Keys.TAB)
    driver.switch_to.active_element.send_keys("rows")
    wait("the filter", lambda: row("acme / rows") and not row("other / slow"))
    time.sleep(2.5)  # It is drawn anew, and keeps what is typed.
    assert driver.switch_to.active_element.get_attribute("value") == "rows"
    for _ in range(20):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.text == "acme / rows":
            driver.switch_to.active_element.send_keys(Keys.ENTER)
            break
    wait("the job", lambda: driver.find_element(By.CSS_SELECTOR, "figure svg"))

    # On a phone.
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    for page in ["jobs", "runs", "job/acme/rows"]:
        driver.get(url.split("#")[0] + "#" + page)
        wait(page, lambda: driver.find_elements(By.CSS_SELECTOR, "tbody tr"))
        wait(f"{page} within the width of a phone", fits, 5)
        driver.save_screenshot(str(folder / f"phone-{page.replace('/', '-')}.png"))

    # Without a token it asks for one, and a wrong one gets nothing.
    driver.execute_script("sessionStorage.clear()")
    driver.get("about:blank")
    driver.get(url.split("#")[0])
    field = wait("the form", lambda: driver.find_element(By.ID, "token"))
    field.send_keys("wrong", Keys.ENTER)
    time.sleep(1)
    assert driver.find_elements(By.ID, "token") and not row("acme / rows")

    problems = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and "401" not in entry["message"]]
    assert not problems, problems
finally:
    driver.quit()

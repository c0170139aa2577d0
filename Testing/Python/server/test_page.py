"""The report as the server shows it, in a real Chromium: under its policy the viewer works and fetches nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from serving import SETTINGS, TOKEN, serving

from KLIPCore.server.jobs import DONE, Job, Jobs
from KLIPCore.server.settings import ServerSettings

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_report_in_a_browser(local: Path, prior: Path, tmp_path: Path) -> None:
    jobs = Jobs(ServerSettings(folder=str(tmp_path)))
    job = replace(Job("0" * 32, DONE, [], None, {}, SETTINGS), changed=2e9)
    shutil.copytree(local, jobs.place(job.id) / "out")
    jobs._write(job)
    with serving(tmp_path, prior, TOKEN) as served, playwright.sync_playwright() as run:
        address = f"http://127.0.0.1:{served.port}/v1/jobs/{job.id}/report.html"
        browser = run.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(http_credentials={"username": "anybody", "password": TOKEN}).new_page()
        requests: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("#viewer[data-ready=true]", timeout=120_000)
        assert "Slice" in page.inner_text("#v-place")
        assert set(requests) == {address}
        assert faults == []
        browser.close()

"""A headless Chromium behind the DevTools protocol: open a page, wait for what it says, look at it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import websocket

BINARIES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
         "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
         "--disable-site-isolation-trials",
         "--disable-features=IsolateOrigins,site-per-process,IsolateSandboxedIframes")  # fmt: skip


class Browser:
    """One tab of a browser of its own, ``width`` x ``height`` pixels; a context manager."""

    def __init__(self, width: int = 1600, height: int = 1000) -> None:
        binary = next(filter(None, map(shutil.which, BINARIES)), None)
        assert binary, f"no browser: install chromium (one of {', '.join(BINARIES)} on PATH)"
        self._profile = tempfile.TemporaryDirectory(prefix="privadv-browser-", ignore_cleanup_errors=True)
        size = f"--window-size={width},{height}"
        command = [binary, *FLAGS, size, f"--user-data-dir={self._profile.name}", "about:blank"]
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self._process = subprocess.Popen(command, env=kept, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._socket = websocket.create_connection(self._address(), timeout=60)
        self._number = 0
        self.call("Page.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, answered."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page; a new fragment alone loads it anew too."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """What the expression gives as soon as it is true."""
        limit, found = time.monotonic() + seconds, None
        while not (found := self.evaluate(script)):
            assert time.monotonic() < limit, f"never true: {script}\n{self.text()[:3000]}"
            time.sleep(0.3)
        return found

    def see(self, *texts: str) -> None:
        """Wait until the page shows every text."""
        for text in texts:
            self.wait(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    def text(self) -> str:
        """What the page shows, in words."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def click(self, text: str) -> None:
        """Click the innermost button, link or tab that shows ``text``."""
        box = self.wait(f"""(() => {{
            const all = [...document.querySelectorAll('button, a, label, [role=tab], [role=treeitem], [role=radio], span, div')];
            const found = all.filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)}).at(-1);
            if (!found) return null;
            found.scrollIntoView({{block: 'center'}});
            const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def frames(self) -> list[str]:
        """What every frame of the page shows, in words."""
        tree = self.call("Page.getFrameTree")["frameTree"].get("childFrames", [])
        worlds = [self.call("Page.createIsolatedWorld", frameId=one["frame"]["id"]) for one in tree]
        texts = [self.call("Runtime.evaluate", expression="document.body.innerText", returnByValue=True,
                           contextId=world["executionContextId"]) for world in worlds]  # fmt: skip
        return [text["result"].get("value") or "" for text in texts]

    def screenshot(self, path: Path) -> None:
        """The visible part of the page, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _address(self) -> str:
        port = Path(self._profile.name, "DevToolsActivePort")
        limit = time.monotonic() + 60
        while not (port.exists() and port.read_text().count("\n")):
            assert self._process.poll() is None and time.monotonic() < limit, "the browser does not start"
            time.sleep(0.1)
        number = port.read_text().splitlines()[0]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{number}/json") as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"]

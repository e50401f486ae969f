"""A real Chromium, spoken to over its debugging pipe: widths, keys as they are pressed, console."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --remote-debugging-pipe"
)
KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


def installed() -> str:
    """The browser's path; the test is skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not found:
        pytest.skip("no Chromium is installed, so the page was not looked at in a browser")
    return found


class Browser:
    """One page of a headless browser. `console` collects errors and warnings as they come."""

    def __init__(self, folder: Path) -> None:
        self.console: list[str] = []
        self._numbers, self._left, self._seen = itertools.count(1), b"", []
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        command = [
            installed(),
            *FLAGS.split(),
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ]
        log = str(folder / "log")
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, fcntl.fcntl(reads, fcntl.F_DUPFD_CLOEXEC, 10), 3),
            (os.POSIX_SPAWN_DUP2, fcntl.fcntl(writes, fcntl.F_DUPFD_CLOEXEC, 10), 4),
        ]
        self._process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        for action in actions[2:]:
            os.close(action[1])
        os.close(reads)
        os.close(writes)
        self._session = ""
        page = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """One command of the DevTools protocol; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (told := self._next()).get("id") != number:
            self._note(told)
        assert "error" not in told, told
        return told["result"]

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page at this width, and wait until it is there."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send("Page.navigate", url=page.as_uri())
        while not any(seen == "Page.loadEventFired" for seen in self._seen):
            self._note(self._next())
        self._seen.clear()
        self.send("Page.bringToFront")

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """One key, down and up."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._left += more
        line, _, self._left = self._left.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        method, params = told.get("method", ""), told.get("params", {})
        self._seen.append(method)
        if method == "Runtime.exceptionThrown":
            self.console.append(params["exceptionDetails"]["exception"]["description"])
        if method in ("Log.entryAdded", "Runtime.consoleAPICalled"):
            self.console.append(json.dumps(params))

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._to)
        os.close(self._from)
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)

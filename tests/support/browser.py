"""Headless Chromium by its debugging pipe: enough to open a page and look at it."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1600,1200",
    "--remote-debugging-pipe",
]

#: All text of the page, shadow roots included, and how many of which elements.
LOOK = """
(() => {
  const words = [], seen = {};
  const walk = (node) => {
    if (node.nodeType === 3) words.push(node.textContent);
    const name = (node.localName || '');
    if (['style', 'script'].includes(name)) return;
    if (name) seen[name] = (seen[name] || 0) + 1;
    if (name === 'img' && node.naturalWidth > 1) seen.drawn = (seen.drawn || 0) + 1;
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document.documentElement);
  return {text: words.join(' '), elements: seen};
})()
"""


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.3)
    raise TimeoutError(f"not within {seconds} s")


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


@contextlib.contextmanager
def tensorboard(log_dir, *options):
    """A running TensorBoard; gives its address, which may not answer at once."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    command += ["--port", str(port), "--host", "127.0.0.1", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Browser:
    """A browser with one page; use it in a `with` statement."""

    def __init__(self, profile):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        script = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        flags = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, CHROMIUM, *flags],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._ids, self._buffer, self._session = itertools.count(1), b"", None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, url):
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)

    def look(self):
        # Between two pages there is no document.
        return self.run(LOOK) or {"text": "", "elements": {}}

    def run(self, expression):
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        return answer["result"].get("value")

    def screenshot(self, path):
        data = self._call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def _call(self, method, **params):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 300
        while True:
            while b"\0" not in self._buffer:
                ready, _, _ = select.select([self._in], [], [], 1.0)
                if ready:
                    part = os.read(self._in, 1 << 20)
                    if not part:
                        raise EOFError("chromium ended")
                    self._buffer += part
                elif time.monotonic() > end:
                    raise TimeoutError(method)
            raw, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(raw)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]

"""A headless Chromium per file, and what every page is held to: no fault in its console, no request to elsewhere."""

import shutil

import pytest

WAIT_MS = 120_000  # beside other work at the same priority, half a minute did not suffice to open a page
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]  # fmt: skip


# Not for the session: as long as it is open, its event loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    playwright.expect.set_options(timeout=WAIT_MS)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def trouble():
    """What pages complained of, popped up, or asked of elsewhere. Whatever a test leaves in it is a failure."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def watch(trouble):
    """`watch(page, *own)`: a request to an address that starts otherwise than `own` is trouble."""

    def listen(page, *own: str) -> None:
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda line: trouble.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda one: None if one.url.startswith(own) else trouble.append(one.url))

    return listen

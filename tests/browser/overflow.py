"""What every page is held to, at every width: shared by the tests of every page and docs/every_page.py."""

import pytest

# What lies in a part that scrolls by itself can be reached, so it may be wider than the window.
TOO_WIDE = """(() => {
    const scrolls = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
        if (/auto|scroll/.test(getComputedStyle(p).overflowX) && p.getBoundingClientRect().right <= innerWidth + 1)
            return true;
        return false; };
    return [...document.querySelectorAll('body *')].filter(e => e.offsetParent
        && e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e)).map(e => e.outerHTML.slice(0, 90));
})()"""

WIDTHS_PX = (360, 768, 1280)


def axe_finds(page) -> list[str]:
    """What axe-core calls serious or critical: rule and the first element."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-playwright-python")
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in ("serious", "critical")
    ]


def require_whole(page) -> None:
    """At three widths nothing is wider than the window, and axe-core finds nothing serious, in light and in dark."""
    wrong: list[str] = []
    for width in WIDTHS_PX:
        page.set_viewport_size({"width": width, "height": 900})
        whole = page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{whole} px wide in {width} px"] if whole > width else []
        wrong += [f"sticks out at {width} px: {element}" for element in page.evaluate(TOO_WIDE)]
    for width, scheme in ((WIDTHS_PX[-1], "light"), (WIDTHS_PX[-1], "dark"), (WIDTHS_PX[0], "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        wrong += [f"{scheme}, {width} px: {found}" for found in axe_finds(page)]
    assert not wrong, "\n".join(wrong)

"""What sticks out of a page, as JavaScript: shared by the tests of every page and docs/every_page.py."""

# What scrolls by itself may hold more than it shows.
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => e.offsetParent && !e.closest('.scroll, .strip, pre')
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"""

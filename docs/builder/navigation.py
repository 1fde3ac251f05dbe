"""Which page stands where, as `page` or `Title <page>`. A document that is named nowhere here joins the guides."""

from pathlib import Path

CHAPTERS = "Concepts"
GUIDES = "Guides"
NAVIGATION: dict[str, list[str]] = {
    CHAPTERS: [
        "lab",
        "concepts/1-pixels",
        "concepts/2-convolution",
        "concepts/3-activations-and-pooling",
        "concepts/4-the-whole-network",
        "concepts/5-why-skips",
        "concepts/6-training",
        "concepts/7-augmentation",
        "8. The timeline <timeline>",
        "A lesson of 90 minutes <teach>",
    ],
    GUIDES: [
        "guides/first-classifier",
        "cheat-sheet",
        "coming-from",
        "guides/make-your-data-better",
        "python",
        "check",
        "auto",
        "transfer",
        "evaluate",
        "export",
        "serve",
        "deploy",
        "deploy-docker",
        "deploy-kubernetes",
        "deploy-lambda",
        "batch",
        "Several machines <distributed>",
        "never-lose-a-run",
    ],
    "Reference": ["reference/commands", "errors", "reference/python", "reference/modules"],
    "Measured": ["measured", "benchmarks/index", "speed"],
    "Project": ["contributing", "changelog"],
}


def with_the_rest(documents: Path) -> dict[str, list[str]]:
    """The navigation, and in it every document of the folder."""
    named = {"index", *(page.split("<")[-1].rstrip(">") for pages in NAVIGATION.values() for page in pages)}
    found = {str(path.relative_to(documents).with_suffix("")) for path in documents.rglob("*.md")}
    found = {page for page in found if not page.startswith("benchmarks/")}  # the index there lists them
    return {**NAVIGATION, GUIDES: [*NAVIGATION[GUIDES], *sorted(found - named)]}


def contents(documents: Path) -> str:
    """Sphinx's tables of contents, hidden: they make the side bar."""
    blocks = []
    for title, pages in with_the_rest(documents).items():
        listed = "\n".join(pages)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```\n")
    return "\n".join(blocks)

"""The order of the pages, each as `page` or `Title <page>`.

A document that is not named here is listed with the guides.
"""

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
    """The navigation, completed with every other document of the folder."""
    named = {"index", *(page.split("<")[-1].rstrip(">") for pages in NAVIGATION.values() for page in pages)}
    pages = {str(path.relative_to(documents).with_suffix("")) for path in documents.rglob("*.md")}
    pages = {page for page in pages if not page.startswith("benchmarks/")}  # listed by their own index
    return {**NAVIGATION, GUIDES: [*NAVIGATION[GUIDES], *sorted(pages - named)]}


def contents(documents: Path) -> str:
    """Sphinx's tables of contents, hidden, from which it makes the side bar."""
    blocks = []
    for title, pages in with_the_rest(documents).items():
        listed = "\n".join(pages)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```\n")
    return "\n".join(blocks)

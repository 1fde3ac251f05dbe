"""The committed mutations: each removes one defence by a change in one line.

Enters: the tables under `list/`, one per room. Leaves: `Mutation`s. Called by the runner and by the fast test that
checks the tables.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "catseye"
LISTS = Path(__file__).parent / "list"


class BadMutation(Exception):
    """An entry does not match the source."""


@dataclass(frozen=True)
class Mutation:
    """One mutation: in `file`, `old` is replaced by `new`, and all `tests` must fail.

    `old` occurs once in `file`, which is below src/catseye. `tests` are below tests/, as
    `server/test_limits.py::test_the_number_of_parts`, optionally with one [case].
    """

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self) -> str:
        """The content of the file without the defence.

        Raises:
            BadMutation: the pattern does not occur exactly once, or it spans lines.

        """
        path = PACKAGE / self.file
        if not path.is_file():
            raise BadMutation(f"{self.id}: {self.file} does not exist; name the file that the defence moved to")
        text = path.read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1 or "\n" in self.old or self.old == self.new:
            raise BadMutation(f"{self.id}: its pattern occurs {count} times in {self.file}; it must occur once")
        return text.replace(self.old, self.new)


def read_mutations() -> list[Mutation]:
    """All mutations, in the order of the files.

    Raises:
        BadMutation: an entry lacks a field, or two have the same name.

    """
    mutations: dict[str, Mutation] = {}
    for path in sorted(LISTS.glob("*.toml")):
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if name in mutations or set(entry) != {"file", "old", "new", "tests"} or not entry["tests"]:
                raise BadMutation(f"{path.name}: {name} must be there once, with file, old, new and tests")
            mutations[name] = Mutation(name, entry["file"], entry["old"], entry["new"], tuple(entry["tests"]))
    return list(mutations.values())

"""The committed mutations: one defence each, taken away by changing one place in one line.

Enters: the tables under `list/`, one per room. Leaves: `Mutation`s. Called by the runner and by the fast test that
keeps the tables true.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "catseye"
LISTS = Path(__file__).parent / "list"


class BadMutation(Exception):
    """An entry that does not fit the source any more."""


@dataclass(frozen=True)
class Mutation:
    """`old` stands once in `file`, below src/catseye; with `new` in its place every one of `tests` has to fail.

    `tests` are below tests/, as `server/test_limits.py::test_the_number_of_parts`, perhaps with one [case].
    """

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self) -> str:
        """The whole file with the defence taken away.

        Raises:
            BadMutation: the pattern does not stand there exactly once, or it spans lines.

        """
        path = PACKAGE / self.file
        if not path.is_file():
            raise BadMutation(f"{self.id}: there is no {self.file} any more; name the file that the defence moved to")
        text = path.read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1 or "\n" in self.old or self.old == self.new:
            raise BadMutation(f"{self.id}: its pattern stands {count} times in {self.file}; it has to stand there once")
        return text.replace(self.old, self.new)


def read_mutations() -> list[Mutation]:
    """All of them, in the order of the files.

    Raises:
        BadMutation: an entry that lacks a field, or two of one name.

    """
    found: dict[str, Mutation] = {}
    for path in sorted(LISTS.glob("*.toml")):
        for name, said in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if name in found or set(said) != {"file", "old", "new", "tests"} or not said["tests"]:
                raise BadMutation(f"{path.name}: {name} should stand there once, with file, old, new and tests")
            found[name] = Mutation(name, said["file"], said["old"], said["new"], tuple(said["tests"]))
    return list(found.values())

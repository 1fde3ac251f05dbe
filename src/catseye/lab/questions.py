"""What a page may ask: the fields, checked, and the function that answers. Used by every module of `answers/`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from catseye.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

Answer = dict[str, Any]


class AnswerStream(Protocol):
    """Answers one after the other, as a generator gives them; `close` is called when nobody reads on."""

    def __iter__(self) -> Iterator[Answer]:
        """Itself."""

    def close(self) -> None:
        """End it where it stands."""


class Asked(BaseModel):
    """The base of what is asked: unknown fields and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Nothing(Asked):
    """A question without anything to choose."""


@dataclass(frozen=True)
class Question:
    """`answer` gets the bench and an `asked`; it returns JSON types, or yields them one after the other."""

    asked: type[Asked]
    answer: Callable[["Workbench", Any], Answer | AnswerStream]

    def check(self, content: object) -> Asked:
        """What a page sent, as the fields that the answer reads.

        Raises:
            UsageError: a field is missing, unknown or out of its range; the first such fault is told.

        """
        try:
            return self.asked.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"]) or "the question"
            got = repr(first["input"])
            raise UsageError(f"{name}: {_first_small(first['msg'])}; got {got[:60]}") from None


def find(chapter: str, name: str) -> Question:
    """The question `name` of a chapter; the chapter's module is imported when it is first asked.

    Raises:
        UnknownName: there is none. ModuleNotFoundError: the chapter computes with what is not installed.

    """
    module = import_module(f"catseye.lab.chapters.{chapter}.answers")
    questions: dict[str, Question] = module.QUESTIONS
    if name not in questions:
        raise UnknownName(f"question of {chapter}", name, questions)
    return questions[name]


def _first_small(text: str) -> str:
    return text[:1].lower() + text[1:]

"""What a page may ask: the checked fields, and the function that answers.

Used by every answers.py.
"""

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
    """Answers in sequence, as from a generator.

    `close` is called when nobody reads them any more.
    """

    def __iter__(self) -> Iterator[Answer]:
        """The stream itself."""

    def close(self) -> None:
        """End the stream early."""


class QuestionFields(BaseModel):
    """The base class of the fields: unknown fields and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Nothing(QuestionFields):
    """A question without fields."""


@dataclass(frozen=True)
class Question:
    """The fields of a question, and the function that answers it.

    `answer` gets the workbench and the fields; it returns JSON types, or yields them one after the other.
    """

    fields: type[QuestionFields]
    answer: Callable[["Workbench", Any], Answer | AnswerStream]

    def check(self, content: object) -> QuestionFields:
        """Check the fields that a page has sent.

        Raises:
            UsageError: a field is missing, unknown or out of range; names the first such field.

        """
        try:
            return self.fields.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"]) or "the question"
            got = repr(first["input"])
            raise UsageError(f"{name}: {_first_small(first['msg'])}; got {got[:60]}") from None


def find(chapter: str, name: str) -> Question:
    """The question `name` of a chapter.

    The chapter's module is imported at its first request.

    Raises:
        UnknownName: the chapter has no such question. ModuleNotFoundError: it needs a package that is not installed.

    """
    module = import_module(f"catseye.lab.chapters.{chapter}.answers")
    questions: dict[str, Question] = module.QUESTIONS
    if name not in questions:
        raise UnknownName(f"question of {chapter}", name, questions)
    return questions[name]


def _first_small(text: str) -> str:
    return text[:1].lower() + text[1:]

"""Answers for chapter 5: the gradient at each layer, with and without skips."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from catseye.explanation.gradient_flow import INITIALISATIONS, MAX_DEPTH, MIN_DEPTH, gradient_flow
from catseye.lab.questions import Answer, Question, QuestionFields

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench


class Measure(QuestionFields):
    """A plain and a residual network of `depth` layers."""

    depth: int = Field(default=50, ge=MIN_DEPTH, le=MAX_DEPTH, multiple_of=2)
    norm: bool = False
    initialisation: Literal["pytorch", "glorot", "he"] = "pytorch"
    steps: int = Field(default=20, ge=0, le=40)
    seed: int = Field(default=0, ge=0, lt=2**31)


def answer_gradients(bench: "Workbench", question: Measure) -> Answer:
    """Build both networks, run them forward and backward, and train them.

    No result is stored in advance.
    """
    flow = gradient_flow(
        question.depth,
        norm=question.norm,
        initialisation=question.initialisation,
        num_steps=question.steps,
        seed=question.seed,
    )
    return {**flow.to_json(), "says": INITIALISATIONS[question.initialisation]}


QUESTIONS = {"measure": Question(Measure, answer_gradients)}

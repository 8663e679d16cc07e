"""What collapse does to foreign data: asked, and said to be unmeasured where nothing of it was."""

from __future__ import annotations

from ncollapse.answers.question import NOT_MEASURED, Answer, Asking, Question, Seen


def out_of_distribution(asking: Asking, seen: Seen) -> Answer:
    return Answer(NOT_MEASURED, "No such inputs were given.")


QUESTIONS = (
    Question(
        "out_of_distribution",
        8,
        "Are out-of-distribution inputs told apart?",
        (),
        out_of_distribution,
    ),
)

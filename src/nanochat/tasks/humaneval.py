"""HumanEval: functions to be written, graded by running their tests in the sandbox."""

from __future__ import annotations

import ast

from nanochat.tasks.hub_tasks import LONG_ANSWER, HubTask
from nanochat.tasks.programs import Programs, code_of
from nanochat.tasks.rows import Rows
from nanochat.tokenizer.conversation import Conversation, Message


class HumanEval(HubTask):
    """Complete a function from its head and docstring.

    Args:
        rows: of the test split.
        programs: runs answers.
    """

    name = "humaneval"
    max_new_tokens = LONG_ANSWER

    def __init__(self, rows: Rows, programs: Programs) -> None:
        super().__init__(rows)
        self._programs = programs
        self._numbers = {row["prompt"]: number for number, row in enumerate(rows)}

    def __getitem__(self, index: int) -> Conversation:
        row = self._rows[index]
        solution = f"{row['prompt']}\n{row['canonical_solution']}"
        return Conversation((Message.text("user", row["prompt"]), Message.text("assistant", solution)))

    def prepare(self) -> None:
        """As `Programs.prepare`."""
        self._programs.prepare()

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer's code passes the tests of its problem.

        The code is the first fenced block, or the whole answer; the imports of the prompt are put in front.

        Raises:
            NanochatError: it could not be run.
        """
        row = self._rows[self._numbers[conversation.messages[0].content]]
        prompt, name = row["prompt"], row["entry_point"]
        program = f"{imports_of(prompt)}\n\n{code_of(answer)}\n"
        return self._programs.passes(program, f"{helpers_of(prompt, name)}\n{row['test']}\ncheck({name})\n")


def imports_of(prompt: str) -> str:
    """The import lines at the top of a prompt."""
    lines = []
    for line in prompt.splitlines():
        if line.startswith(("import ", "from ")):
            lines.append(line)
        elif line.strip() and not line.startswith("#"):
            break
    return "\n".join(lines)


def helpers_of(prompt: str, entry_point: str) -> str:
    """What a prompt defines beside the function to be written.

    A test may use it, and must use the prompt's own: an answer could define it anew, so that wrong results look right.
    """
    tree = ast.parse(prompt)
    kept = [line for line in tree.body if not (isinstance(line, ast.FunctionDef) and line.name == entry_point)]
    return "\n".join(map(ast.unparse, kept))

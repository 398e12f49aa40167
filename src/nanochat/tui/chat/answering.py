"""How an answer comes onto the screen and into the store, how it is stopped, and what happens when the model dies.

What has come is taken at most twenty times a second, and less often when showing it takes long.
"""

from __future__ import annotations

import time

from nanochat.chats.tree import Node
from nanochat.engine.backend import Question
from nanochat.engine.events import ContextTrimmed, SessionEvent, TextDelta, Token, Tokens, ToolUsed, TurnFinished
from nanochat.errors import NanochatError
from nanochat.runtime.safe_text import safe_line
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.asking import Asking
from nanochat.tui.chat.base import ChatBase, Opening
from nanochat.tui.chat.cards import Note, ToolCard
from nanochat.tui.chat.prose import Prose
from nanochat.tui.chat.side import turns
from nanochat.tui.chat.turn import Turn

TICK_S = 0.05
SHARE = 0.25  # of a core that showing an answer may take
TOP = 8  # alternatives that each token is told with, for the microscope
PENDING = -1  # number of an answer that nothing was said of yet


class Answering(ChatBase):
    """The chat as far as answers go."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.asking: Asking | None = None
        self.answer: Turn | None = None
        self.said = ""
        self.tokens: dict[int, tuple[Token, ...]] = {}  # of answers of this session that were told by tokens
        self._told: list[Token] = []
        self._user: Node | None = None
        self._retake: Node | None = None  # what is asked next takes the place of this question
        self._spent_s = 0.0
        self._taken_at = 0.0

    def begin_ticking(self) -> None:
        """Look for news of an answer from now on."""
        self.set_interval(TICK_S, self.take_news)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self.asking is not None

    # asking

    async def ask(self, text: str, edited: Node | None = None) -> None:
        """Send a message, and ask for the answer.

        Args:
            edited: the question whose place it takes; both are kept.
        """
        self.prepare()
        edited, self._retake = edited or self._retake, None
        last = self.talk.tree.nodes.get(self.talk.leaf or 0)
        if edited is None and last is not None and last.message.role == "user" and self.talk.kind == "chat":
            edited = last  # it was stopped before a word: two questions in a row are no conversation
        parent = edited.parent if edited is not None else self.talk.leaf
        user = self.talk.say(text, parent)
        if edited is not None or not self.transcript.turns:
            await self.transcript.show(self.talk)
        else:
            await self.transcript.add(self.transcript.turn(self.talk, user))
        await self.answer_to(user)

    async def answer_to(self, user: Node, prefix: tuple[int, ...] = ()) -> None:
        """Ask for one more answer to a question."""
        self.prepare()
        self._retake = None
        if self.talk.leaf != user.id:
            self.talk.go(user.id)
            await self.transcript.show(self.talk)
        try:
            question = self.talk.question(user, prefix=prefix, tokens=TOP if self.backend.local else 0)
        except NanochatError as error:
            self.say_error(error)
            return
        self._user, self.said, self._told = user, "", []
        pending = Node(id=PENDING, parent=user.id, message=Message.text("assistant", ""), model=self.talk.model)
        count = len(self.talk.tree.children(user.id)) + 1
        self.answer = turn = Turn(pending, (count, count), plain=self.talk.kind == "plain")
        turn.running = True
        await self.transcript.add(turn)
        if self.answer is not turn:  # another conversation has come meanwhile
            return
        self.transcript.anchor()
        self.asking = self._begin(question)
        self.show_branches()

    def _begin(self, question: Question) -> Asking:
        if self.trouble is not None:  # it is started anew
            self.load()
        return Asking(self.backend, question)

    def stop_answer(self) -> bool:
        """End the answer where it is; whether there was one."""
        if self.asking is None:
            return False
        self.asking.stop()
        return True

    def leave_answer(self) -> None:
        """Stop the answer and take no more of it: another conversation comes."""
        asking, turn = self.asking, self.answer
        if asking is not None:
            asking.stop()
            try:
                for event in asking.take():
                    self._take(event)
                if turn is not None and turn.node.id != PENDING and not turn.node.figures:
                    self.talk.break_off(turn.node, self.said, "cancelled")
            except NanochatError as error:
                self.say_error(error)
        self.asking = self.answer = self._user = None

    # what comes

    def take_news(self) -> None:
        """Show what has come, if there is time for it."""
        asking = self.asking
        if asking is None:
            return
        began = time.monotonic()
        if not asking.over and began - self._taken_at < self._spent_s / SHARE:
            return
        try:
            self._take_from(asking)
        except NanochatError as error:  # of the store: the conversation is gone, or there is no room for more
            self._give_up(asking, error)
        self._taken_at = time.monotonic()
        self._spent_s = self._taken_at - began

    def _take_from(self, asking: Asking) -> None:
        over = asking.over  # before the events are taken: none can come after it
        events = asking.take()
        for event in events:
            self._take(event)
        if events and self.answer is not None:
            self.answer.changed()
        if over:
            self._end(asking)

    def _give_up(self, asking: Asking, error: NanochatError) -> None:
        """The answer cannot be kept: it ends where it is."""
        asking.stop()
        if (turn := self.answer) is not None:
            turn.running = False
            turn.items.append(Note(f"{safe_line(error.message)}\n{safe_line(error.hint)}", "bad"))
            turn.changed()
        self.asking = self.answer = self._user = None
        self.say_error(error)

    def _take(self, event: SessionEvent) -> None:
        turn = self.answer
        if turn is None or self._user is None:
            return
        if isinstance(event, ContextTrimmed):
            self.transcript.forget(event.turns)
            self.say(f"the context is full: the oldest {turns(event.turns)} no longer sent", "warning")
        elif isinstance(event, TextDelta):
            self.said += event.text
            turn.prose().push(event.text)
            self._keep(turn)
        elif isinstance(event, ToolUsed):
            turn.use_tool(ToolCard(event.expression, event.result, event.latency_s))
            self._keep(turn)
        elif isinstance(event, Tokens):
            self._told += event.tokens
        elif isinstance(event, TurnFinished):
            self._finish(turn, event)

    def _keep(self, turn: Turn) -> None:
        """Write down what was said so far, now and then."""
        assert self._user is not None
        if turn.node.id == PENDING:
            turn.node = self.talk.answer(self._user, self.said)
            self.show_head()
        else:
            self.talk.grow(turn.node, self.said)

    def _finish(self, turn: Turn, end: TurnFinished) -> None:
        if turn.node.id == PENDING and not end.message.parts:
            return
        if turn.node.id == PENDING and end.stop_reason == "cancelled" and not end.message.content:
            return
        if turn.node.id == PENDING:
            turn.node = self.talk.answer(self._user, "")  # type: ignore[arg-type]
        node = self.talk.finish(turn.node, end)
        self.tokens[node.id] = tuple(self._told)
        shown = "".join(item.text for item in turn.items if isinstance(item, Prose))
        turn.end(node)
        if shown != end.text:  # what is kept is what counts
            turn.fill()
        if not end.text.strip() and not any(isinstance(item, ToolCard) for item in turn.items):
            turn.items.append(Note("(it said nothing)"))

    def _end(self, asking: Asking) -> None:
        turn, user = self.answer, self._user
        if turn is None or user is None:
            self.asking = self.answer = None
            return
        if asking.error is not None:
            self._broke_off(turn, user, asking.error)
        elif turn.node.id == PENDING:  # stopped before a word
            turn.remove()
            self.talk.go(user.id)
        self.asking = self.answer = None
        self.transcript.place(self.talk)
        self.show_branches()
        self.show_head()
        if asking.error is None:  # counting would start a model that died
            self.count_context()

    def _broke_off(self, turn: Turn, user: Node, error: NanochatError) -> None:
        """The model is gone, or cannot answer: what was said is kept, and the prompt gets its text back."""
        turn.running = False
        if turn.node.id != PENDING:
            turn.end(self.talk.break_off(turn.node, self.said, "broken"))
        turn.items.append(Note(f"{safe_line(error.message)}\n{safe_line(error.hint)}", "bad"))
        turn.changed()
        self.transcript.anchor()
        if type(error).__name__ == "WorkerDied":
            self.trouble = error
        self._retake = user
        if not self.prompt.text:
            self.prompt.put(user.message.content)

    def end_everything(self) -> None:
        """Stop what goes on, let go of the model and of the file."""
        try:
            if self.asking is not None:
                self.asking.stop()
            if self.answer is not None and self.answer.node.id != PENDING and self.asking is not None:
                self.talk.break_off(self.answer.node, self.said, "cancelled")
        finally:
            self.backend.close()
            self.store.close()

"""What can be done with a conversation and its model: begin, branch, rate, change settings, ask what it cost."""

from __future__ import annotations

from pathlib import Path

from nanochat.chats.tree import Chat, Node, spoken
from nanochat.config.chat import TOOLS, ToolName
from nanochat.errors import NanochatError, UsageError
from nanochat.runtime.files import translate_os_errors
from nanochat.tui.chat.answering import Answering
from nanochat.tui.chat.side import SPECS, changed, field_of, setting_name, turns
from nanochat.tui.chat.turn import Turn, figures_line

MAX_READ_BYTES = 1_000_000  # of a prompt
TOOL_WORDS = {
    "calculator": "sums and counts letters",
    "python": "runs programs in the sandbox",
    "none": "it calls nothing",
    "open": "show what was called",
    "fold": "a line for each call",
}


class Conversing(Answering):
    """The chat as far as conversation and model go."""

    def known_models(self) -> tuple[str, ...]:
        """Checkpoints or models one may switch to."""
        try:
            return self.backend.models()
        except NanochatError:
            return ()

    # the conversation

    async def do_new(self, rest: str) -> None:
        """Begin another conversation."""
        if rest not in ("", "chat", "plain"):
            raise UsageError(f"a conversation is chat or plain, not {rest!r}", "/new plain")
        self.leave_answer()
        kind = rest or ("plain" if self.loaded and ":base@" in self.loaded.place else "chat")
        self._by_itself = not rest and kind == "plain"
        self.talk.begin("plain" if kind == "plain" else "chat")
        await self.show_talk()

    async def show_talk(self, focus: Node | None = None) -> None:
        """Another conversation, or another branch."""
        self.show_editing(None)
        self._retake = None
        self.use = None
        self.side.show_settings(self.talk.config, self.talk.system)
        await self.transcript.show(self.talk, focus)
        self.show_branches()
        self.show_head()
        self.count_context()
        if focus is None:
            self.prompt.focus()

    async def go(self, id: int) -> None:
        """Stand at a message."""
        if self.busy:
            self.say("an answer is on its way; Esc stops it", "warning")
            return
        self.talk.go(self.talk.tree.leaf_below(id))
        await self.show_talk(self.talk.tree[id])

    async def do_retry(self, rest: str = "") -> None:
        """Answer the last question once more."""
        await self._answer_again(self._turn_node())

    async def _answer_again(self, node: Node | None) -> None:
        while node is not None and node.message.role != "user":
            node = self.talk.tree.nodes.get(node.parent or 0)
        if node is None:
            raise UsageError("nothing was asked yet", "ask something first")
        if self.busy:
            self.say("an answer is on its way; Esc stops it", "warning")
            return
        await self.answer_to(node)

    def do_edit(self, rest: str = "") -> None:
        """The last question comes back into the prompt; sent, it is a branch."""
        node = self._turn_node()
        while node is not None and node.message.role != "user":
            node = self.talk.tree.nodes.get(node.parent or 0)
        if node is None:
            raise UsageError("nothing was asked yet", "ask something first")
        self.stop_answer()
        self.show_editing(node)
        self.prompt.put(node.message.content)
        self.prompt.focus()

    def show_editing(self, node: Node | None) -> None:
        """Whether the prompt holds a question that was asked before."""
        self.editing = node
        self.prompt.set_class(node is not None, "editing")
        self.prompt.border_title = "edit, then Enter asks again; Esc leaves it" if node is not None else ""

    def do_good(self, rest: str = "") -> None:
        """Thumb up."""
        self._rate(self._answer(), 1)

    def do_bad(self, rest: str = "") -> None:
        """Thumb down."""
        self._rate(self._answer(), -1)

    def _rate(self, node: Node, rating: int) -> None:
        self.talk.rate(node, 0 if node.rating == rating else rating)
        self.transcript.place(self.talk)
        self.show_branches()

    def _turn_node(self) -> Node | None:
        """The message that has the focus, else the last one."""
        focused = self.screen_stack[0].focused
        if isinstance(focused, Turn) and focused.node.id in self.talk.tree.nodes:
            return focused.node
        return self.talk.path[-1] if self.talk.path else None

    def _answer(self) -> Node:
        node = self._turn_node()
        if node is None or node.message.role != "assistant":
            node = self.talk.last("assistant")
        if node is None:
            raise UsageError("there is no answer yet", "ask something first")
        return node

    # model and sampling

    def switch(self, name: str) -> None:
        """Talk to another model.

        Raises:
            NanochatError: there is none of this name.
        """
        self.prepare()
        self.stop_answer()
        self.backend.switch(name)
        self.talk.model = self.backend.name
        self.load()

    def set_sampling(self, field: str, text: str) -> None:
        """Change how to sample."""
        self.talk.config = changed(self.talk.config, field, text)
        self.side.show_settings(self.talk.config, self.talk.system)
        self.say(f"{setting_name(field)} is {SPECS[field].to_text(getattr(self.talk.config, field))}")

    def do_set(self, rest: str) -> None:
        """Change a setting by its name."""
        name, _, value = rest.partition(" ")
        field = field_of(name)
        if field is None or not value.strip():
            raise UsageError(
                f"/set takes one of {', '.join(map(setting_name, SPECS))}, and its value", "/set temperature 0.8"
            )
        self.set_sampling(field, value)

    def do_system(self, rest: str) -> None:
        """Set the system prompt; without a text, go and write it in the panel."""
        if not rest:
            self.side.add_class("shown")
            self.screen.query_one("#system").focus()
            return
        self.talk.set_system("" if rest == "-" else rest)
        self.side.show_settings(self.talk.config, self.talk.system)
        self.say("the system prompt is set" if self.talk.system else "there is no system prompt now")
        self.count_context()

    def do_stats(self, rest: str = "") -> None:
        """What an answer cost."""
        figures = self._answer().figures
        asked = f" · prompt {figures['prompt_tokens']:,} tokens" if figures.get("prompt_tokens") else ""
        self.say((figures_line(figures) or "nothing is known of it") + asked)

    def do_context(self, rest: str = "") -> None:
        """How full the context is."""
        use = self.use
        if use is None or not use.limit:
            self.say("nobody has counted yet: ask something, of a model of ours")
            return
        gone = f"; {turns(use.forgotten)} without room in it, not sent" if use.forgotten else ""
        self.say(f"{use.used:,} of {use.limit:,} tokens ({use.used / use.limit:.0%}){gone}")

    def do_tool(self, rest: str = "") -> None:
        """Say or change what the model may call; open or fold its calls."""
        rest = {"off": "none"}.get(rest, rest)
        if rest in ("open", "fold"):
            if not [turn.fold(rest == "open") for turn in self.transcript.turns].count(True):
                self.say("no tool was called in this conversation")
        elif not rest:
            tool = self.backend.tool
            present = "tools are the server's business" if tool is None else f"tool: {tool} ({TOOL_WORDS[tool]})"
            self.say(f"{present}; /tool takes {', '.join(TOOL_WORDS)}")
        elif rest not in TOOLS:
            raise UsageError(f"there is no tool {rest!r}", f"/tool takes {', '.join(TOOL_WORDS)}")
        elif rest == "python" and self.backend.local and not self.opening.unsafe_exec:
            from nanochat.runtime.sandbox.run import require_isolation

            self.in_thread(require_isolation, lambda _: self._use_tool("python"), "tool")
        else:
            self.workers.cancel_group(self, "tool")  # a look at the sandbox that would end in another tool
            self._use_tool(rest)

    def _use_tool(self, tool: ToolName) -> None:
        self.backend.use_tool(tool)
        self.show_head()
        self.say(f"from the next answer on the model may call: {tool} ({TOOL_WORDS[tool]})")

    def do_bpb(self, rest: str) -> None:
        """Bits per byte of a file or of the last answer."""
        text = read_text(rest) if rest else spoken(self._answer().message)
        if not text:
            raise UsageError("there is no text to measure", "/bpb FILE")
        backend = self.backend
        name = Path(rest).name if rest else "the answer"
        self.in_thread(
            lambda: backend.examine(text),
            lambda found: self.say(
                f"{name}: {found.bits_per_byte:.3f} bits per byte, perplexity {found.perplexity:.1f}"
                f" ({found.bytes:,} bytes, {len(found.tokens):,} tokens)"
            ),
            "examine",
        )

    def chat_kept(self) -> Chat:
        """The conversation as the store has it.

        Raises:
            UsageError: nothing was said yet.
        """
        if self.talk.chat is None:
            raise UsageError("nothing was said yet", "ask something first")
        return self.store.chat(self.talk.chat.id)


def path_of(name: str) -> Path:
    """The path that a name means; `~` of a user whom nobody knows stands for itself."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def read_text(name: str, limit: int = MAX_READ_BYTES) -> str:
    """A text file.

    Args:
        limit: bytes that it may have.

    Raises:
        UsageError: it is larger.
        StorageError: it cannot be read.
    """
    path = path_of(name)
    with translate_os_errors(path):
        if path.stat().st_size > limit:
            raise UsageError(f"{path} is larger than {limit // 1000:,} kB", "read a part of it")
        return path.read_text(encoding="utf-8", errors="replace")

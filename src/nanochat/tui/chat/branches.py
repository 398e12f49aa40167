"""The pane of branches: every question and answer of the conversation as a tree, to go anywhere in it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.message import Message
from textual.widgets import Tree as TreeView
from textual.widgets.tree import TreeNode

from nanochat.chats.tree import Node, Tree, spoken
from nanochat.runtime.safe_text import safe_line

LABEL_CHARS = 60


class Branches(TreeView[int]):
    """The tree of a conversation; Enter or a click goes to a message."""

    @dataclass
    class Wanted(Message):
        """Somebody wants to go to this node."""

        node: int

    def __init__(self, *, id: str) -> None:
        super().__init__("Branches", id=id)
        self.show_root = False
        self.guide_depth = 2
        self.auto_expand = False

    def show(self, tree: Tree, leaf: int | None) -> None:
        """All of it; the branch one stands on is bold. What follows an only child stands below it, not deeper."""
        self.clear()
        path = {node.id for node in tree.path(leaf)}
        here: TreeNode[int] | None = None
        waiting = [(self.root, node) for node in reversed(tree.children(None))]
        while waiting:
            above, node = waiting.pop()
            children = tree.children(node.id)
            label = _label(node, node.id in path)
            if len(children) > 1:
                made = above.add(label, data=node.id, expand=True)
                waiting += [(made, child) for child in reversed(children)]
            else:
                made = above.add_leaf(label, data=node.id)
                waiting += [(above, child) for child in children]
            here = made if node.id == leaf else here
        if here is not None:
            self.call_after_refresh(self.move_cursor, here)

    def on_tree_node_selected(self, event: TreeView.NodeSelected[int]) -> None:
        """Says where to go."""
        event.stop()
        if event.node.data is not None:
            self.post_message(self.Wanted(event.node.data))


def _label(node: Node, here: bool) -> Text:
    mark = {1: "+ ", -1: "- ", 0: ""}[node.rating]
    said = safe_line(" ".join(spoken(node.message)[: 4 * LABEL_CHARS].split()))[:LABEL_CHARS] or "…"
    person = node.message.role == "user"
    style = "bold" if here else "dim"
    return Text.assemble(("› " if person else "  ", "cyan" if here else "dim cyan"), (mark + said, style), no_wrap=True)

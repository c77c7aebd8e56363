"""One parse and one walk: from HTML to the flat lists that everything else reads.

The parser is lexbor's, by selectolax, and builds the tree that browsers build. Its nodes become Python objects when
they are looked at, so each is looked at once: the walk by first child and next takes 0.4 ms for an ordinary page of
175 kB and 1,750 nodes, as long as the parse itself. The library's own iterator, which does not tell parents, takes half
as much again.

`noscript` is parsed as it is without scripting, so that the pictures in it are nodes. What stands in a `template`,
`textarea`, `iframe`, `noframes` or `xmp` is no markup to the standard: a `template` has no children here, and each of
the others one text.
"""

from __future__ import annotations

from collections.abc import Mapping

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from curate.document.guard import PageRefusedError, check_page
from curate.document.settings import DocumentSettings
from curate.document.tree import TEXT, Tree

__all__ = ["parse"]

WITHOUT_EVENTS = int(LexborDocumentOptions.WO_EVENTS)
"""Else `<selectedcontent>` takes a copy of every option, in quadratic time."""

TEXT_NODE = "-text"
NO_ELEMENT = "-!"
"""How the parser's names of comments and doctypes begin; a processing instruction has none."""

NO_ATTRIBUTES: Mapping[str, str | None] = {}


def parse(html: str | bytes, settings: DocumentSettings | None = None) -> Tree:
    """The tree of a page. Bytes are UTF-8. Raises PageRefusedError where the page is beyond the settings' bounds."""
    settings = settings or DocumentSettings()
    source = html.encode("utf-8", "replace") if isinstance(html, str) else html
    check_page(source, settings)
    # Named, for it owns the memory of all nodes.
    parser = LexborHTMLParser(source, options=WITHOUT_EVENTS)
    root = parser.root
    while root is not None and not root.is_element_node:
        root = root.next
    if root is None:
        return Tree(["html"], [-1], [1], [""], [NO_ATTRIBUTES])
    return _flat(root, settings)


def _flat(root: LexborNode, settings: DocumentSettings) -> Tree:
    """One loop without calls, for it runs 1,750 times a page. `opened`: the elements around a node, by `numbers`."""
    tags: list[str] = []
    parents: list[int] = []
    ends: list[int] = []
    texts: list[str] = []
    attributes: list[Mapping[str, str | None]] = []
    opened: list[LexborNode] = []
    numbers = [-1]
    node: LexborNode | None = root
    while node is not None:
        tag, child = node.tag, None
        if tag == TEXT_NODE:
            tags.append(TEXT)
            texts.append(node.text_content or "")
            attributes.append(NO_ATTRIBUTES)
        elif tag and tag[0] not in NO_ELEMENT:
            tags.append(tag)
            texts.append("")
            attributes.append(node.attributes)
            child = node.first_child
        if len(ends) < len(tags):
            parents.append(numbers[-1])
            ends.append(len(tags))
        if child is not None:
            numbers.append(len(tags) - 1)
            opened.append(node)
            node = child
            continue
        if len(tags) > settings.max_nodes or len(opened) > settings.max_depth:
            raise _refusal(len(tags), settings)
        node = node.next if opened else None
        while node is None and opened:
            ends[numbers.pop()] = len(tags)
            closed = opened.pop()
            node = closed.next if opened else None
    return Tree(list(map(str.lower, tags)), parents, ends, texts, attributes)


def _refusal(nodes: int, settings: DocumentSettings) -> PageRefusedError:
    if nodes > settings.max_nodes:
        return PageRefusedError("too_many_nodes", f"more than {settings.max_nodes} nodes")
    return PageRefusedError("too_deep", f"more than {settings.max_depth} elements inside one another")

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
from dataclasses import replace

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from curate.document.elements import BLOCK, VERBATIM
from curate.document.guard import PageRefusedError, check_page
from curate.document.settings import DocumentSettings
from curate.document.tree import TEXT, Tree

__all__ = ["parse"]

WITHOUT_EVENTS = int(LexborDocumentOptions.WO_EVENTS)
"""Else `<selectedcontent>` takes a copy of every option, in quadratic time."""

TEXT_NODE = "-text"
NO_ELEMENT = "-!"
"""How the parser's names of comments and doctypes begin; a processing instruction has none."""

SHOWN = frozenset({"img", "input", "button", "select", "object", "embed", "iframe", "video", "audio", "canvas", "svg"})
"""Elements within a line that show something themselves."""
NO_ATTRIBUTES: Mapping[str, str | None] = {}


def parse(html: str | bytes, settings: DocumentSettings | None = None, blanks: bool = True) -> Tree:
    """The tree of a page. Bytes are UTF-8. Raises PageRefusedError where the page is beyond the settings' bounds.

    Without `blanks`, texts of white space that no browser shows are no nodes: those at the beginning of a line, behind
    the start or the end of a block. They are a quarter of an ordinary page's nodes.
    """
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
    return _flat(root, settings, blanks)


def _flat(root: LexborNode, settings: DocumentSettings, blanks: bool) -> Tree:
    """One loop without calls of ours, for it runs 1,750 times a page.

    `opened`: the elements around a node; `outer`: the numbers of the elements around those. `line_begins`: nothing has
    been shown on the line yet, so that white space is not either.
    """
    tree = Tree([], [], [], [], [])
    tags = tree.tags
    add_tag, add_parent, add_end = tags.append, tree.parents.append, tree.ends.append
    add_text, add_attributes = tree.texts.append, tree.attributes.append
    opened: list[LexborNode] = []
    outer: list[int] = []
    parent, count, verbatim, line_begins = -1, 0, 0, False
    node: LexborNode | None = root
    while node is not None:
        tag = node.tag
        if tag == TEXT_NODE:
            text = node.text_content or ""
            if not (line_begins and text.isspace()):
                line_begins = False
                count += 1
                add_tag(TEXT)
                add_parent(parent)
                add_end(count)
                add_text(text)
                add_attributes(NO_ATTRIBUTES)
        elif tag and tag[0] not in NO_ELEMENT:
            count += 1
            add_tag(tag)
            add_parent(parent)
            add_end(count)
            add_text("")
            add_attributes(node.attributes)
            if tag in BLOCK:
                verbatim += tag in VERBATIM
                line_begins = not (blanks or verbatim)
            elif tag in SHOWN:
                line_begins = False
            elif tag == "br":
                line_begins = not (blanks or verbatim)
            child = node.first_child
            if child is not None:
                opened.append(node)
                outer.append(parent)
                node, parent = child, count - 1
                continue
            verbatim -= tag in VERBATIM
        node = node.next if opened else None
        while node is None and opened:
            if count > settings.max_nodes or len(opened) > settings.max_depth:
                raise _refusal(count, settings)
            tree.ends[parent] = count
            if tags[parent] in BLOCK:
                verbatim -= tags[parent] in VERBATIM
                line_begins = not (blanks or verbatim)
            parent = outer.pop()
            closed = opened.pop()
            node = closed.next if opened else None
    return tree if _is_lower(tags) else replace(tree, tags=list(map(str.lower, tags)))


def _is_lower(names: list[str]) -> bool:
    """Elements of SVG and MathML may have capitals."""
    return all(name == name.lower() for name in set(names))


def _refusal(nodes: int, settings: DocumentSettings) -> PageRefusedError:
    if nodes > settings.max_nodes:
        return PageRefusedError("too_many_nodes", f"more than {settings.max_nodes} nodes")
    return PageRefusedError("too_deep", f"more than {settings.max_depth} elements inside one another")

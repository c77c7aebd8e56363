"""The style of a rendered document: one column of readable length, for light and dark."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fdfdfb; --soft: #6b6b70; --line: #d9d9d6; --frame: #f3f2ee }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e2; --paper: #17181a; --soft: #9a9aa0; --line: #3a3b3f; --frame: #202226 }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.6 Georgia, "Times New Roman", serif }
main { max-width: 42rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; overflow-wrap: break-word }
h1, h2, h3, h4, h5, h6 { font-family: system-ui, "Segoe UI", sans-serif; line-height: 1.25; margin: 2em 0 .6em }
h1 { font-size: 1.9rem; margin-top: 0 }
h2 { font-size: 1.4rem }
h3 { font-size: 1.15rem }
h4, h5, h6 { font-size: 1rem }
p, ul, blockquote, pre, figure, .rows { margin: 0 0 1.1em }
p, li, figcaption { white-space: pre-line }
blockquote { padding-left: 1em; border-left: 3px solid var(--line); color: var(--soft); white-space: pre-line }
pre, .rows { font: .9rem/1.5 ui-monospace, Menlo, Consolas, monospace; background: var(--frame); border-radius: 4px;
  padding: .8em 1em; overflow-x: auto }
.rows p { margin: 0; white-space: pre-wrap; border-bottom: 1px solid var(--line) }
.rows p:last-child { border-bottom: 0 }
figure { margin: 1.8em 0 }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; border-radius: 3px }
figcaption, .caption { font-size: .9rem; color: var(--soft); margin-top: .6em; text-align: center }
.facts { font: .85rem/1.4 system-ui, sans-serif; color: var(--soft) }
.left-out { font: .95rem/1.4 system-ui, sans-serif; border: 1px solid #b3541e; border-radius: 4px; padding: .6em .9em }
.missing p { margin: 0; padding: 1.6em 1em; border: 1px dashed var(--soft); border-radius: 4px;
  background: var(--frame); color: var(--soft); text-align: center; font: .9rem/1.5 system-ui, sans-serif }
.missing span { font-size: .8rem; opacity: .8 }
"""

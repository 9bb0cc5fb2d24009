"""The style sheet of all pages: light, dark, narrow and on paper; no two colours differ in red and green alone."""

PALETTE = """
:root { color-scheme: light dark; --text: #1f2328; --page: #fff; --code: #f6f8fa; --line: #d0d7de; --dim: #59636e;
  --mark: #fde68a; --edge: #d97706; --bad: #b42318; --good: #0f766e; --word: #8250df; --str: #0a5f38; --num: #0550ae;
  --jax: #0072b2; --torch: #b34a00; --fill: #56b4e9; --soft: #fff8e1; --pale: #fdeeb5 }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --page: #0d1117; --code: #161b22; --line: #30363d;
  --dim: #9198a1; --mark: #5c4308; --edge: #f59e0b; --bad: #ff7b72; --good: #5eead4; --word: #d2a8ff; --str: #7ee787;
  --num: #79c0ff; --jax: #56b4e9; --torch: #f0a35e; --fill: #2f81b7; --soft: #221d10; --pale: #4a390c } }
"""
# On paper the light colours hold, whatever the screen's are.
PAPER = """
@media print { :root { color-scheme: light; --text: #000; --page: #fff; --code: #fff; --line: #bbb; --dim: #444;
    --mark: #fde68a; --edge: #d97706; --bad: #b42318; --good: #0f766e; --word: #6639ba; --str: #0a5f38; --num: #0550ae;
    --jax: #00567f; --torch: #8a3900; --fill: #56b4e9; --soft: #fff8e1; --pale: #fdeeb5 }
  * { print-color-adjust: exact } body { padding: 0; max-width: none } .screen { display: none !important } }
"""
BASE = """
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto;
  max-width: 110rem; padding: 1rem 1.5rem }
h1 { font-size: 1.4rem; margin: .3rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
h3 { font-size: 1rem; margin: .8rem 0 .3rem } p { margin: .4rem 0; max-width: 75ch }
a { color: var(--num) } :focus-visible { outline: 3px solid var(--edge); outline-offset: 1px }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums }
code, pre, .mono { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
kbd { font: 12px ui-monospace, monospace; border: 1px solid var(--line); border-bottom-width: 2px;
  border-radius: .25rem; padding: 0 .3rem; background: var(--code) }
.bad { color: var(--bad) } .good { color: var(--good) } .dim { color: var(--dim) }
.k { color: var(--word) } .s { color: var(--str) } .n { color: var(--num) } .c { color: var(--dim) }
.scroll { overflow-x: auto } nav a { margin-right: 1rem }
@media (max-width: 640px) { body { padding: .6rem .7rem } }
"""
STYLE = PALETTE + BASE + PAPER

"""The style sheet and the script of a pair's page."""

STYLE = """
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; list-style: none; padding: 0; margin: .4rem 0 }
header p, main > p { max-width: 100ch }
.twins { width: 100%; table-layout: fixed; margin: .8rem 0; border-collapse: separate; border-spacing: 0 }
.twins th { position: sticky; top: 0; background: var(--page); z-index: 1; padding: .3rem .5rem;
  border-bottom: 2px solid } .twins th.jax { border-color: var(--jax) } .twins th.torch { border-color: var(--torch) }
.twins th.mid { text-align: center; color: var(--dim); font-weight: 400; border-color: var(--line) }
.twins td { border: 0; padding: 0 }
col.no { width: 2.6rem } col.mid { width: 11.2rem }
td.mid .fig svg { width: 4.6rem }
td.no { font: 11px/1.5 ui-monospace, Menlo, Consolas, monospace; color: var(--dim); text-align: right;
  user-select: none; padding: .1rem .6em 0 0 !important; background: var(--code) }
td.code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--code) }
.twins td.code { padding-left: .45rem }
.l { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 1.5em;
  padding-left: calc((var(--i) + 2) * 1ch); text-indent: calc((var(--i) + 2) * -1ch) }
.same .l, .same .l span { color: var(--dim) }
td.alone { box-shadow: inset 3px 0 var(--side); background: var(--soft) }
.jax { --side: var(--jax) } .torch { --side: var(--torch) }
.l mark span { color: inherit }
mark { background: var(--pale); color: var(--text); border-radius: .2rem; box-decoration-break: clone }
.layer { font: 11.5px/1.4 ui-monospace, Menlo, Consolas, monospace; color: var(--side); padding: 0 0 .25rem 6ch }
td.mid { padding: .15rem 0 .15rem .7rem !important; vertical-align: middle }
td.mid div { line-height: 1.1; white-space: nowrap } td.mid .dim { display: inline-block; width: 1ch; font-size: 11px }
tbody.diff { scroll-margin: 25vh } tbody.diff:focus { outline: none }
tbody.diff:focus td.no { background: var(--edge); color: #111 }
tbody.diff:focus td.code { background: var(--soft) }
tr:target td, td:target, td:target + td.code { background: var(--mark) }
@media screen and (max-width: 760px) {
  .twins thead { display: none } .twins, .twins tbody { display: block }
  .twins tr { display: grid; grid-template-columns: 2.6em minmax(0, 1fr) }
  .twins tr:not(.same) { border-bottom: 1px solid var(--line) }
  td.no { padding-right: .5em !important } td.code { font-size: 11.5px }
  tr:not(.same) td.code:not(.blank) { box-shadow: inset 3px 0 var(--side) }
  tr:not(.same) td.code::before { display: block; font: 10px/1.6 system-ui, sans-serif; color: var(--side) }
  td.code.jax:not(.blank)::before { content: "Flax" } td.code.torch:not(.blank)::before { content: "PyTorch" }
  td.code.none, td.mid:empty { display: none } td.no:empty { display: none }
  .twins tr.same td:nth-last-child(-n+2) { display: none }
  .twins tr.same td.code::before { content: none }
  td.mid { order: 1; grid-column: 1 / 3; text-align: left; padding-left: 3rem !important }
  td.mid div { display: inline-block; margin-right: 1rem }
}
@media print {
  @page { size: A4 landscape; margin: 9mm }
  html { font-size: 10px } body { font-size: 10px } code, .mono, .fig b { font-size: 9px !important }
  .twins th { position: static } .twins thead { display: table-header-group } .twins tr { break-inside: avoid }
  td.code { font-size: 8.2px } td.no, .layer, td.mid .dim, td.mid .fig b { font-size: 7.5px }
  col.no { width: 2.4rem } col.mid { width: 11rem } td.mid .fig b { min-width: 0 }
  tbody.diff:focus td.code { background: var(--code) } tbody.diff:focus td.no { background: none; color: inherit }
}
"""
# The next difference and the one before. Keys that belong to a field, or to the browser, are left alone.
SCRIPT = """
const diffs = [...document.querySelectorAll("tbody.diff")];
const step = way => {
  const at = diffs.indexOf(document.activeElement?.closest?.("tbody.diff"));
  const middle = document.documentElement.clientHeight / 3;
  const below = diffs.findIndex(diff => diff.getBoundingClientRect().top > (way > 0 ? 0 : middle));
  const from = at >= 0 ? at + way : way > 0 ? below : (below < 0 ? diffs.length : below) - 1;
  const next = diffs[Math.min(Math.max(from, 0), diffs.length - 1)];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "start" });
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
  const way = { j: 1, n: 1, k: -1, p: -1 }[event.key];
  if (way) { event.preventDefault(); step(way); }
});
"""

"""What the report adds to the style sheet and the scripts that all pages share."""

STYLE = """
nav { display: flex; flex-wrap: wrap; gap: .2rem .4rem; margin: .6rem 0 }
section { scroll-margin-top: .5rem }
p, li { overflow-wrap: anywhere }
small { display: block; color: var(--dim); font-size: .85em }
.missing { border-left: 4px solid var(--edge); padding-left: .6rem }
.choose { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .6rem 0 }
.choose input, .choose select, button[data-open] { font: inherit; color: inherit; background: var(--page);
  border: 1px solid var(--dim); border-radius: .3rem; padding: .15rem .5rem; max-width: 100% }
.matrix { max-height: 85vh; overflow: auto }
#matrix { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums }
#matrix { font-size: 12.5px } #matrix thead { font-size: 11.5px } /* all columns fit into a window of 1280 pixels */
#matrix td, #matrix th { padding: .15rem .26rem; white-space: nowrap }
#matrix thead th { white-space: normal; vertical-align: bottom }
#matrix tbody th, #matrix thead th:first-child { position: sticky; left: 0; background: var(--page); z-index: 1;
  font-weight: 400 }
#matrix thead th:first-child { z-index: 2 }
#matrix td b { font-weight: 500 } #matrix thead button { text-align: left }
:root { --far: transparent; --half: #d6eaf8; --near: #fdebc1; --over: #f8d0c8 }
@media (prefers-color-scheme: dark) { :root { --half: #12324d; --near: #4d3b0a; --over: #5c1f1a } }
td.half, .swatch.half { background: var(--half) } td.near, .swatch.near { background: var(--near) }
td.over, .swatch.over { background: var(--over) } #matrix td.over b { font-weight: 700 }
td.near small, td.over small { color: inherit }
.swatch { display: inline-block; width: 1.1em; height: 1.1em; border: 1px solid var(--line); vertical-align: -.15em }
.legend { list-style: none; margin: .3rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .1rem 1.2rem;
  font-size: .9em }
details.network { border-bottom: 1px solid var(--line); padding: .25rem 0 }
details.network td { white-space: nowrap } details.network > summary { cursor: pointer; overflow-wrap: anywhere }
.layers i { display: inline-block; vertical-align: middle; width: 6rem; height: .5rem; margin-right: .5rem;
  background: linear-gradient(var(--text), var(--text)) var(--b) / 2px 100% no-repeat,
    linear-gradient(var(--fill), var(--fill)) 0 / var(--w) 100% no-repeat, var(--code); border: 1px solid var(--line) }
.layers .above { color: var(--bad); font-weight: 700 } .layers .above i { --fill: var(--bad) }
.layers th { font-weight: 400 } .layers thead th { font-weight: 600 }
.steps { font-variant-numeric: tabular-nums }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1rem 2rem;
  max-width: 80rem }
figure { margin: .4rem 0; min-width: 0; max-width: 34rem; break-inside: avoid } figcaption { font-weight: 600 }
.chart { width: 100%; height: auto; font: 11.5px system-ui, sans-serif; fill: var(--text) }
.chart path, .legend path { fill: none; stroke-width: 1.8 } .chart .grid { stroke: var(--line); stroke-width: 1 }
.chart .axis { stroke: var(--dim); stroke-width: 1 } .chart .bound, .legend .bound { stroke: var(--bad);
  stroke-width: 1.4; stroke-dasharray: 2 3 }
.legend svg { vertical-align: -.1em }
.flax path { stroke: var(--jax) } .torch path { stroke: var(--torch) } .first path { stroke: var(--jax) }
.second path { stroke: var(--torch) } .wide > path:not(.dots) { stroke-width: 6; stroke-opacity: .35 }
.chart .dots, .legend .dots { stroke-width: 5; stroke-linecap: round } .square > .dots { stroke-linecap: square }
.large > .dots { stroke-width: 8 }
@media screen and (max-width: 760px) { #planted table.data { min-width: 76rem } } /* it scrolls; its words need room */
@media print {
  @page { size: A4 landscape; margin: 10mm }
  body { font-size: 10px } h1 { font-size: 18px } h2 { font-size: 14px } h3 { font-size: 11px }
  code { font-size: 8.5px } .matrix, .scroll { max-height: none; overflow: visible }
  #matrix, #matrix thead { font-size: 7.3px } #matrix td, #matrix th { padding: .1rem .15rem; position: static }
  #matrix thead th { min-width: 0 } #matrix th button { white-space: normal; text-align: left }
  :root { --half: #d6eaf8; --near: #fdebc1; --over: #f8d0c8 }
  .charts { grid-template-columns: repeat(3, 1fr) } a { color: inherit; text-decoration: none }
}
"""
# A network is shown if its name has the words, its verdict is the chosen one, and a check's share is large enough.
SCRIPT = """
const $ = id => document.getElementById(id), matrix = $("matrix");
if (matrix) {
  const fields = ["only-network", "only-check", "only-verdict", "only-share"].map($);
  const rows = [...matrix.tBodies[0].rows];
  const columns = [...matrix.tHead.rows[0].cells].map(cell => cell.textContent);
  const filter = () => {
    const [name, check, verdict, least] = fields.map(field => field.value);
    columns.forEach((title, at) => {
      const hidden = at > 2 && check !== "" && title !== check;
      for (const row of matrix.rows) row.cells[at].hidden = hidden;
    });
    const shown = rows.filter(row => {
      const all = [...row.querySelectorAll("[data-check]")];
      const cells = all.filter(cell => check === "" || cell.dataset.check === check);
      const any = check === "" || cells.length > 0;
      const large = least === "0" ? any : cells.some(cell => Number(cell.dataset.share) >= Number(least));
      const named = row.dataset.network.toLowerCase().includes(name.trim().toLowerCase());
      row.hidden = !(named && large && (verdict === "" || row.dataset.verdict === verdict));
      return !row.hidden;
    });
    const names = new Set(shown.map(row => row.dataset.network));
    for (const one of document.querySelectorAll("details.network")) one.hidden = !names.has(one.dataset.network);
    $("count").textContent = `${shown.length} of ${rows.length} networks`;
  };
  for (const field of fields) field.addEventListener("input", filter);
  fields[0].addEventListener("keydown", event => { if (event.key === "Escape") { fields[0].value = ""; filter(); } });
  filter();
}
for (const button of document.querySelectorAll("button[data-open]"))
  button.addEventListener("click", () => {
    for (const one of document.querySelectorAll("details.network")) one.open = button.dataset.open !== "";
  });
const reveal = () => {
  const one = $(decodeURIComponent(location.hash.slice(1)));
  if (one?.tagName === "DETAILS") one.open = true;
};
addEventListener("hashchange", reveal);
reveal();
"""

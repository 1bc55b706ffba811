"""The look of the HTML report: one style sheet, inlined; light, dark and print; system fonts only."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #22262b; --soft: #5a6169; --rule: #e2dfd8; --faint: #f1efe9;
  --curve: #2a6f97; --wash: rgba(42, 111, 151, .13); --budget: #a8502f; --good: #2f6f4f; --bad: #a3322a;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, "DejaVu Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16191c; --card: #1d2125; --ink: #e6e4df; --soft: #a3a9ae; --rule: #33383d; --faint: #24292d;
    --curve: #7bb8dc; --wash: rgba(123, 184, 220, .16); --budget: #e59a76; --good: #86c7a2; --bad: #f0958c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 var(--sans); }
main { max-width: 47rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; text-wrap: balance; }
h1 { font-size: 2.3rem; margin: .2rem 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.5rem; margin: 3.4rem 0 .9rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); }
p { margin: .8rem 0; }
a { color: inherit; text-decoration-color: var(--rule); text-underline-offset: .2em; }
.kicker { margin: 0; color: var(--soft); font-size: .82rem; letter-spacing: .09em; text-transform: uppercase; }
.where { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.hero { margin: 2rem 0 0; padding: 1.6rem 1.8rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: 14px; }
.hero dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1.2rem 1.6rem; margin: 0; }
.hero dt { color: var(--soft); font-size: .86rem; line-height: 1.35; }
.hero dd { margin: .1rem 0 0; font: 600 2rem/1.2 var(--serif); font-variant-numeric: lining-nums tabular-nums; }
.hero dd small { font: 400 .86rem/1.3 var(--sans); color: var(--soft); display: block; }
.meter { height: 8px; margin: 1.5rem 0 .9rem; border-radius: 4px; background: var(--faint); overflow: hidden; }
.meter span { display: block; height: 100%; border-radius: 4px; background: var(--curve); }
.meter.over span { background: var(--bad); }
.verdicts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 0; padding: 0; list-style: none;
  font-size: .95rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
section ul { padding-left: 1.15rem; margin: .8rem 0; } section li { margin: .45rem 0; }
#plain-words ul { list-style: none; padding: 0; font: 1.12rem/1.62 var(--serif); }
#plain-words li { margin: .75rem 0; }
.wide { overflow-x: auto; margin: 1.2rem 0 1.6rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; line-height: 1.45;
  font-variant-numeric: lining-nums tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .42rem 1.1rem .42rem 0; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .84rem; vertical-align: bottom; }
tbody th { font-weight: 500; }
.num { text-align: right; } .num + :not(.num) { padding-left: .9rem; }
.code { font: .82rem/1.5 var(--mono); overflow-wrap: anywhere; }
figure { margin: 1.4rem 0 1.8rem; padding: 1.1rem 1.2rem .9rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: 14px; break-inside: avoid; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .3rem; }
details { margin-top: .5rem; font-size: .92rem; } summary { color: var(--soft); cursor: pointer; }
.keep { white-space: nowrap; }
.axes { display: none; margin: .3rem 0 0; color: var(--soft); font-size: .84rem; }
.plot { display: block; width: 100%; height: auto; overflow: visible; font-family: var(--sans); }
.plot .grid { stroke: var(--rule); stroke-width: 1; } .plot .axis { stroke: var(--soft); stroke-width: 1; }
.plot .tick { fill: var(--soft); font-size: 12.5px; } .plot .name { fill: var(--soft); font-size: 13px; }
.plot .label { fill: var(--ink); font-size: 13px; paint-order: stroke; stroke: var(--card); stroke-width: 4px;
  stroke-linejoin: round; }
.plot .strong { font-weight: 600; }
.plot .curve { fill: none; stroke: var(--curve); stroke-width: 2.25; stroke-linejoin: round; }
.plot .alarm { fill: var(--bad); fill-opacity: .12; }
.plot .area { fill: var(--wash); stroke: none; }
.plot .forecast { fill: none; stroke: var(--curve); stroke-width: 1.75; stroke-dasharray: 5 5; }
.plot .forecast-end { fill: var(--card); stroke: var(--curve); stroke-width: 1.75; }
.plot .budget { stroke: var(--budget); stroke-width: 1.75; }
.plot .budget-step { fill: none; stroke: var(--budget); stroke-width: 1.75; }
.plot .guide { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.plot .dot { fill: var(--curve); stroke: var(--card); stroke-width: 1.5; }
.plot .dot.bad { fill: var(--bad); }
footer { margin-top: 3.5rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); color: var(--soft);
  font-size: .88rem; overflow-wrap: anywhere; }
@media (max-width: 34rem) {
  body { font-size: 16px; } main { padding: 2rem 1rem 3rem; } h1 { font-size: 1.8rem; }
  .hero { padding: 1.2rem 1rem; } figure { padding: .9rem .6rem .8rem; }
  .axes { display: block; } .plot .name { display: none; }
  .plot .tick, .plot .label { font-size: 25px; } .plot .strong { font-size: 23px; }
  .plot .below { transform: translateY(10px); }
  .plot .curve, .plot .budget, .plot .budget-step, .plot .forecast { stroke-width: 4; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards, .cards tbody, .cards tr, .cards th, .cards td { display: block; }
  .cards tr { padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  .cards th, .cards td { padding: .1rem 0; border: 0; text-align: left; } .cards tbody th { font-weight: 600; }
  .cards .num + td { padding-left: 0; }
  .cards td::before { content: attr(data-name) ": "; color: var(--soft); }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #bbb; --faint: #eee; --curve: #1f5a7d;
    --wash: #e4edf3; --budget: #8a3d1f; --good: #22573c; --bad: #8c221b; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } tr, .hero { break-inside: avoid; }
  .wide { overflow: visible; }
  details::details-content { content-visibility: visible; height: auto; } summary { list-style: none; }
}
"""

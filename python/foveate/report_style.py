# SPDX-License-Identifier: Apache-2.0
"""How the report looks."""

STYLE = """
:root { color-scheme: light dark; --ground: #faf9f6; --panel: #ffffff; --ink: #1b1f25; --soft: #626a75;
  --line: #e3e0da; --accent: #a8480f; --shade: 0 1px 2px rgb(30 20 10 / .05), 0 6px 20px rgb(30 20 10 / .05); }
@media (prefers-color-scheme: dark) { :root { --ground: #111419; --panel: #191d24; --ink: #e8ebf0;
  --soft: #98a2b0; --line: #2a303a; --accent: #ffb627; --shade: none; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 20px; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1560px; margin: 0 auto; padding: 56px clamp(18px, 3vw, 44px) 80px; }
h1 { font-size: clamp(28px, 3.4vw, 40px); line-height: 1.12; letter-spacing: -.022em; margin: 0 0 12px;
  font-weight: 650; }
h2 { font-size: 22px; letter-spacing: -.012em; margin: 0; font-weight: 620; }
h3 { font-size: 15px; margin: 0; font-weight: 600; }
p { margin: 0; }
.lead { color: var(--soft); max-width: 64ch; font-size: 17px; }
.facts { margin-top: 14px; color: var(--soft); font-size: 14px; }
.number, dd { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 36px 0 44px; }
table { border-collapse: collapse; font-size: 14px; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding-bottom: 8px; }
th { text-align: left; font-weight: 500; color: var(--soft); border-bottom: 1px solid var(--line);
  padding: 6px 26px 6px 0; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 7px 26px 7px 0; white-space: nowrap; }
th.number, td.number { text-align: right; }
.best { color: var(--accent); font-weight: 650; }
a { color: inherit; text-decoration: none; } td a:hover, a:focus-visible { color: var(--accent); }
section { border-top: 1px solid var(--line); padding: 38px 0 30px; }
header.entry { display: flex; flex-wrap: wrap; gap: 4px 20px; align-items: baseline; margin-bottom: 18px; }
header.entry > p { color: var(--soft); font-size: 14px; } header.entry .key { margin-left: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(290px, 100%), 1fr)); gap: 20px; }
.card { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
  box-shadow: var(--shade); display: flex; flex-direction: column; }
.pictures { display: grid; gap: 2px; background: var(--line); cursor: zoom-in; }
.view { display: block; width: 100%; background: #14171c center / 100% 100% no-repeat; position: relative;
  overflow: hidden; }
.view svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.gray::before { content: ""; position: absolute; inset: 0; backdrop-filter: grayscale(1) brightness(.9); }
.cells { position: absolute; left: 0; top: 0; image-rendering: pixelated; opacity: .66; }
figcaption { padding: 13px 15px 14px; font-size: 13px; flex: 1; display: flex; flex-direction: column; }
figcaption p { color: var(--soft); line-height: 1.4; padding-bottom: 12px; }
.bar { display: flex; height: 6px; border-radius: 3px; overflow: hidden; margin: auto 0 0; background: var(--line); }
.bar i { display: block; }
dl { display: flex; gap: 4px 14px; margin: 11px 0 0; flex-wrap: wrap; }
dt { color: var(--soft); font-size: 12px; } dd { margin: 0; font-size: 15px; }
.key { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12.5px; color: var(--soft); }
.wide { grid-column: 1 / -1; }
.wide figcaption { flex: none; flex-flow: row wrap; justify-content: space-between; gap: 8px 40px; }
.wide figcaption p { padding: 0; } .wide dl { margin: 0; }
.wide .pictures { grid-template-columns: repeat(auto-fit, minmax(min(230px, 100%), 1fr)); gap: 15px; background: none;
  padding: 0 15px 15px; }
.wide .view { border-radius: 7px; }
.panel { display: flex; flex-direction: column; gap: 7px; font-size: 13px; min-width: 0; }
.panel .bar { margin: 2px 0 0; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.scale { display: flex; align-items: center; gap: 8px; color: var(--soft); font-size: 12.5px; }
.scale i { flex: 1; height: 8px; border-radius: 4px; }
.close { display: none; }
.card:target { position: fixed; inset: 0; z-index: 9; border-radius: 0; border: 0; overflow: auto; padding: 24px; }
.card:target .pictures { grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 14px;
  background: none; cursor: default; align-items: start; }
@media (min-width: 900px) { .card.wide:target .pictures { grid-template-columns: 1fr 1fr; gap: 22px; } }
.card:target .view { border-radius: 8px; }
.card:target figcaption { flex: none; max-width: 620px; }
.card:target .close { display: block; position: fixed; right: 20px; top: 10px; font-size: 34px; line-height: 1;
  padding: 4px 12px; border-radius: 10px; background: var(--panel); }
footer { color: var(--soft); font-size: 13px; border-top: 1px solid var(--line); margin-top: 30px;
  padding-top: 16px; max-width: 92ch; }
@media print { .card { break-inside: avoid; } }
"""

ANSWERS = """
.asked { margin: 30px 0 12px; font-size: 17px; }
.drawn { fill: var(--accent); }
.said { display: flex; gap: 12px; align-items: baseline; font-size: 17px; margin-top: auto; }
.right { color: #17804a; font-size: 13px; } .wrong { color: #b3261e; font-size: 13px; }
@media (prefers-color-scheme: dark) { .right { color: #5fd39a; } .wrong { color: #ff8a80; } }
"""

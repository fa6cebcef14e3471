// The most clicked ads as a table with bars; with impressions and click-through rates, where the job counts them.

import { h, s } from "./dom.js";
import { number, rate } from "./format.js";

/** The table. `link` makes the address of an ad's chart; `places` rows are kept free, so that nothing jumps. */
export function list(answer, places, chosen, link) {
  const most = Math.max(...answer.counts, 1);
  const shown = answer.impressions;
  const rows = answer.ad_ids.map((ad, place) => row(place + 1, ad, answer.counts[place], shown?.[place], most, ad === chosen, link));
  const free = Math.max(0, Math.min(places, 10) - rows.length);
  return [
    h("table", { "aria-describedby": "moment", class: shown ? "rated" : null },
      h("thead", null, h("tr", null,
        h("th", { scope: "col", class: "rank" }, "Rank"),
        h("th", { scope: "col" }, "Ad"),
        h("th", { scope: "col", class: "number" }, "Clicks"),
        shown && [
          h("th", { scope: "col", class: "number" }, "Impressions"),
          h("th", { scope: "col", class: "number", title: "Click-through rate: clicks per impression" }, "CTR"),
        ],
        h("th", { scope: "col", class: "share" }, h("span", { class: "unseen" }, "Compared with the first")))),
      h("tbody", null, rows,
        Array.from({ length: free }, () => h("tr", { class: "free", "aria-hidden": "true" }, h("td", { colspan: shown ? 6 : 4 }, "\u00a0"))))),
    rows.length === 0 && h("p", { class: "nobody" }, "Nobody clicked in this window."),
  ];
}

function row(rank, ad, count, shown, most, isChosen, link) {
  const width = Math.max(1, (count / most) * 100).toFixed(1);
  return h("tr", { class: isChosen ? "chosen" : null },
    h("td", { class: "rank" }, rank),
    h("th", { scope: "row" }, h("a", { href: link(ad), "aria-current": isChosen ? "true" : null }, ad)),
    h("td", { class: "number" }, number(count)),
    shown !== undefined && [h("td", { class: "number" }, number(shown)), h("td", { class: "number" }, rate(count, shown))],
    h("td", { class: "share" }, s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "bar", width, height: 8, rx: 1 }))));
}

// One layer: its numbers over time and its histograms.

import { COLOURS, curves, draw } from "./charts.js";
import { el } from "./elements.js";
import { QUANTITIES, shortened } from "./heat_map.js";
import { epoch, number, plains } from "./numbers.js";

const KINDS = { weights: "Weights", gradients: "Gradients", activations: "Activations" };
const BINS = 40;

/** Draws a layer into an element that is in the page. */
export async function showLayer(place, run, path, source, close) {
  const layer = run.layers.find((known) => known.path === path) ?? { path, kind: "", activation: "", variables: [], kernels: [], parameters: null, findings: [] };
  const numbers = el("div", { class: "charts" });
  const bins = el("div", { class: "charts" }, el("p", { class: "faint" }, "Histograms are being read."));
  place.replaceChildren(
    el("h2", { tabindex: -1 }, layer.path, el("button", { class: "close", click: close, "aria-label": "Close this layer" }, "✕")),
    el("p", { class: "faint" }, about(layer)),
    layer.findings.length ? el("p", {}, `Findings here: ${layer.findings.join(", ")}`) : "",
    numbers,
    bins,
  );
  place.hidden = false;
  place.scrollIntoView({ block: "nearest" });
  place.querySelector("h2").focus({ preventScroll: true });
  showNumbers(numbers, run, layer);
  const found = await source.histograms(run.name, layer);
  bins.replaceChildren();
  if (!found.length) bins.append(el("p", { class: "faint" }, "No histograms of this layer were written."));
  for (const { kind, path: of, states } of found) {
    const one = el("div", { class: "chart" });
    bins.append(one);
    histogram(one, `${KINDS[kind]}: ${of}`, states);
  }
}

function about({ kind, activation, parameters }) {
  const weights = parameters ? `${number(parameters)} weights` : "";
  return [`${kind} ${activation}`.trim(), weights].filter(Boolean).join(", ");
}

function showNumbers(place, run, layer) {
  const own = new Set([...layer.variables, layer.path]);
  for (const [quantity, how] of Object.entries(QUANTITIES)) {
    const map = run.maps[quantity];
    const places = (map?.places ?? []).map((of, i) => [of, i]).filter(([of]) => own.has(of) || own.has(of.replace(/@\d+$/, "")));
    if (!places.length) continue;
    const names = shortened(places.map(([of]) => of));
    const lines = places.map(([, index], i) => ({
      name: names[i],
      epochs: plains(map.epochs),
      values: plains(map.values[index]),
      colour: COLOURS[i % COLOURS.length],
    }));
    const one = el("div", { class: "chart" });
    place.append(one);
    curves(one, how.title, lines, { log: how.log, share: how.share, height: 190 });
  }
}

/** Histograms over time: a column for each, a darker cell for more values. */
export function histogram(place, title, states) {
  const left = Math.min(...states.map((state) => Number(state.left)));
  const right = Math.max(...states.map((state) => Number(state.right)));
  const width = (right - left) / BINS || 1;
  const columns = states.map((state) => rebinned(state, left, width));
  const cells = columns.flatMap((column, x) => {
    const most = Math.max(...column) || 1;
    return column.map((count, y) => [x, y, Math.sqrt(count / most), count]);
  });
  const middle = (y) => left + (y + 0.5) * width;
  draw(
    place,
    {
      title: { text: title },
      grid: { left: 66, right: 12, top: 30, bottom: 36 },
      xAxis: { type: "category", data: states.map((state) => number(Number(state.epoch))), name: "epoch", nameLocation: "middle", nameGap: 20, axisTick: { show: false } },
      yAxis: { type: "category", data: columns[0].map((_, y) => number(middle(y))), axisTick: { show: false }, axisLabel: { interval: 9 } },
      visualMap: { show: false, min: 0, max: 1, dimension: 2, inRange: { color: ["rgba(0,114,178,0.03)", "#0072b2"] } },
      tooltip: {
        confine: true,
        formatter: ({ data: [x, y, , count] }) =>
          el("div", { class: "tip" }, epoch(states[x].epoch), el("div", {}, `about ${number(Math.round(count))} values near ${number(middle(y))}`)),
      },
      series: [{ type: "heatmap", data: cells }],
    },
    220,
  );
}

/** Counts of a histogram in bins that all of them share, each spread evenly. */
export function rebinned(state, left, width) {
  const counts = plains(state.counts);
  const own = (Number(state.right) - Number(state.left)) / counts.length;
  const found = new Array(BINS).fill(0);
  counts.forEach((count, i) => {
    const from = Number(state.left) + i * own;
    const at = (value) => Math.min(BINS - 1, Math.max(0, Math.floor((value - left) / width)));
    const [first, last] = [at(from), at(from + own * (1 - 1e-9))];
    for (let bin = first; bin <= last; bin += 1) {
      const low = Math.max(from, left + bin * width);
      const high = Math.min(from + own, left + (bin + 1) * width);
      found[bin] += own > 0 ? count * (Math.max(0, high - low) / own) : count;
    }
  });
  return found;
}

// Layers by time: one cell for each kernel or layer and each observed step.

import { TONES, draw, isDark } from "./charts.js";
import { el } from "./elements.js";
import { epoch, number, plains, range, share } from "./numbers.js";

const VIRIDIS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
const SHARES = ["#e8edf1", "#f3d9a4", "#eda247", "#d3552d", "#8e0f2e"];
// Blue is too low, red too high; between 1e-4 and 1e-2 an update ratio is well.
const RATIOS = ["#173f7a", "#5b93d1", "#bfe0c4", "#6fb57b", "#bfe0c4", "#ee8a4e", "#a50f1f"];
const NOT_FINITE = "#d500d5";

/** What can be drawn, in the order of the choice. */
export const QUANTITIES = {
  update_ratio: { title: "update ratio", note: "green is healthy: 1e-4 to 1e-2", log: true, of: "variables", colours: RATIOS, fixed: [-6, 0] },
  "gradient.norm": { title: "gradient norm", log: true, of: "variables", colours: VIRIDIS },
  dead_fraction: { title: "dead units", of: "layers", colours: SHARES, fixed: [0, 1], share: true },
  saturation_fraction: { title: "saturated units", of: "layers", colours: SHARES, fixed: [0, 1], share: true },
  "activation.std": { title: "standard deviation of activations", log: true, of: "layers", colours: VIRIDIS },
  "weight.norm": { title: "weight norm", log: true, of: "variables", colours: VIRIDIS },
};

/** The rows of a map in the network's order: `{place, layer, index}`. */
export function rowsOf(run, quantity, everything) {
  const map = run.maps[quantity];
  if (!map) return [];
  const kernels = new Set(run.layers.flatMap((layer) => layer.kernels));
  const owner = new Map(run.layers.flatMap((layer) => layer.variables.map((path) => [path, layer.path])));
  const rows = map.places.map((place, index) => ({ place, index, layer: owner.get(place) ?? place.replace(/@\d+$/, "") }));
  const ofVariables = QUANTITIES[quantity].of === "variables";
  const shown = rows.filter(({ place }) => everything || !ofVariables || kernels.has(place));
  // A model of vectors alone, such as one of BatchNormalization's, has no kernels.
  return shown.length ? shown : rows;
}

/** Lowest and highest value of the colours, the same for all of some runs. */
export function scale(runs, quantity) {
  const { fixed, log } = QUANTITIES[quantity];
  if (fixed) return fixed;
  const rows = runs.flatMap((run) => run.maps[quantity]?.values ?? []);
  return range(rows.map((row) => plains(row).map((value) => (log ? Math.log10(value) : value))));
}

/** Where findings began: `{column, row, tone, rule, seen}`, the worst of a cell. */
export function marksOf(run, quantity, rows) {
  const epochs = plains(run.maps[quantity].epochs);
  const found = new Map();
  for (const finding of [...run.findings].reverse()) {
    for (const { where, epoch: since } of finding.places) {
      const row = rows.findIndex(({ place, layer }) => where && (where === place || where.replace(/@\d+$/, "") === layer));
      if (row < 0) continue;
      const after = epochs.findIndex((value) => value >= Number(since));
      const column = after < 0 ? epochs.length - 1 : after;
      found.set(`${column} ${row}`, { column, row, tone: finding.tone, rule: finding.rule, seen: finding.seen });
    }
  }
  return [...found.values()];
}

/**
 * Draws a map.
 *
 * `open` is called with the path of a layer that is chosen, by mouse or keyboard.
 */
export function heatMap(place, run, quantity, { everything, limits, title, open }) {
  const how = QUANTITIES[quantity];
  const map = run.maps[quantity];
  const rows = rowsOf(run, quantity, everything);
  const epochs = plains(map.epochs);
  const [low, high] = limits;
  const names = shortened(rows.map((row) => row.place));
  const raw = rows.map((row) => plains(map.values[row.index]));
  const cells = raw.flatMap((values, y) => values.map((value, x) => cell(x, y, value, how, low, high)));
  const marks = marksOf(run, quantity, rows);
  const each = Math.max(3, Math.min(22, Math.round(900 / rows.length)));
  const edge = isDark() ? "#303030" : "#ffffff";
  const chart = draw(
    place,
    {
      title: { text: title },
      grid: { left: 10, right: 12, top: 34, bottom: 62, outerBoundsMode: "same", outerBoundsContain: "axisLabel", containLabel: true },
      xAxis: {
        type: "category",
        data: epochs,
        name: "epoch",
        nameLocation: "middle",
        nameGap: 20,
        axisLabel: { formatter: (value) => number(Number(value)), hideOverlap: true },
        axisTick: { show: false },
      },
      yAxis: {
        type: "category",
        inverse: true,
        data: names.map((_, i) => i),
        axisLabel: { formatter: (i) => cut(names[i]), fontSize: Math.max(7, Math.min(11, each)), hideOverlap: true },
        axisTick: { show: false },
      },
      visualMap: {
        min: low,
        max: high,
        dimension: 2,
        seriesIndex: 0,
        orient: "horizontal",
        left: "center",
        bottom: 0,
        itemHeight: 220,
        itemWidth: 12,
        calculable: false,
        inRange: { color: how.colours },
        formatter: (value) => label(value, how),
        text: [label(high, how), label(low, how)],
      },
      tooltip: {
        confine: true,
        formatter: ({ seriesIndex, data }) => {
          const [x, y] = at(data);
          const found = marks.filter((mark) => mark.row === y && (seriesIndex === 0 || mark.column === x));
          return el(
            "div",
            { class: "tip" },
            el("strong", {}, rows[y].place),
            el("div", {}, `${epoch(epochs[x])}, step ${number(map.steps[x])}`),
            el("div", {}, `${how.title}: ${how.share ? share(raw[y][x]) : number(raw[y][x])}`),
            found.map((mark) => el("div", { class: mark.tone }, `${mark.rule}: ${mark.seen}`)),
          );
        },
      },
      series: [
        {
          name: how.title,
          type: "heatmap",
          data: cells,
          itemStyle: each > 5 ? { borderColor: edge, borderWidth: 0.5 } : {},
          emphasis: { itemStyle: { borderColor: isDark() ? "#fff" : "#000", borderWidth: 1 } },
          progressive: 20000,
        },
        {
          name: "findings",
          type: "scatter",
          symbol: "triangle",
          symbolSize: Math.max(8, Math.min(13, each)),
          data: marks.map((mark) => ({
            value: [mark.column, mark.row],
            itemStyle: { color: TONES[mark.tone], borderColor: "#fff", borderWidth: 1 },
          })),
        },
      ],
    },
    each * rows.length + 100,
  );
  chart.on("click", ({ data }) => data && open(rows[at(data)[1]].layer));
  steer(place, chart, rows, epochs.length, open);
  return chart;
}

/** Column and row of a cell or a mark. */
function at(data) {
  return data.value ?? data;
}

function cell(x, y, value, how, low, high) {
  const drawn = how.log ? Math.log10(value) : value;
  // Nothing at all is as low as can be; what is not finite is magenta.
  if (!Number.isFinite(value)) return { value: [x, y, low], visualMap: false, itemStyle: { color: NOT_FINITE } };
  return [x, y, Math.min(high, Math.max(low, drawn))];
}

function label(value, how) {
  if (how.share) return share(value);
  return how.log ? number(10 ** value) : number(value);
}

/** Arrow keys move over the cells, Enter opens the layer. */
function steer(place, chart, rows, columns, open) {
  let [x, y] = [columns - 1, 0];
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  place.tabIndex = 0;
  place.onkeydown = (event) => {
    if (event.key === "Enter") open(rows[y].layer);
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    x = Math.min(columns - 1, Math.max(0, x + move[0]));
    y = Math.min(rows.length - 1, Math.max(0, y + move[1]));
    chart.dispatchAction({ type: "downplay", seriesIndex: 0 });
    chart.dispatchAction({ type: "highlight", seriesIndex: 0, dataIndex: y * columns + x });
    chart.dispatchAction({ type: "showTip", seriesIndex: 0, dataIndex: y * columns + x });
  };
}

/** Paths without what all of them begin with. */
export function shortened(paths) {
  const first = paths.map((path) => path.split("/")[0]);
  const same = paths.length > 1 && first.every((part) => part === first[0]);
  return same && paths.every((path) => path.includes("/")) ? shortened(paths.map((path) => path.slice(first[0].length + 1))) : paths;
}

function cut(name) {
  return name.length > 44 ? `…${name.slice(-43)}` : name;
}

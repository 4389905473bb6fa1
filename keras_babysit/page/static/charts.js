// Charts by ECharts, in the colours of the page, light or dark.

import * as echarts from "./echarts.js";
import { el } from "./elements.js";
import { epoch, number } from "./numbers.js";

/** Okabe and Ito's colours: told apart by the colour-blind too. */
export const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
export const TONES = { error: "#d32f2f", warning: "#e69500", info: "#1e88c8", good: "#2e9d4c" };

const drawn = new Set();
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) echarts.getInstanceByDom(target)?.resize();
});

/** Draws into an element that is in the page; a chart that it had goes. */
export function draw(place, option, height) {
  place.style.height = `${height}px`;
  remove(place);
  const chart = echarts.init(place, isDark() ? "dark" : null, { renderer: "canvas" });
  const text = getComputedStyle(place).color;
  chart.setOption({
    animation: false,
    backgroundColor: "transparent",
    aria: { enabled: true },
    textStyle: { fontFamily: "inherit" },
    ...option,
    title: { textStyle: { fontSize: 13, color: text }, left: 0, top: 0, ...option.title },
  });
  drawn.add(place);
  sizes.observe(place);
  return chart;
}

/** Frees the chart of an element. */
export function remove(place) {
  echarts.getInstanceByDom(place)?.dispose();
  sizes.unobserve(place);
  drawn.delete(place);
}

/** Frees the charts of all elements that are no longer in the page. */
export function sweep() {
  for (const place of [...drawn]) if (!place.isConnected) remove(place);
}

export function isDark() {
  return document.documentElement.classList.contains("dark");
}

/**
 * Curves over epochs.
 *
 * `lines` are `{name, epochs, values, colour, dashed}`; `marks` are
 * `{epoch, tone, name}`, drawn as upright lines.
 */
export function curves(place, title, lines, { marks = [], log: wanted = false, share = false, height = 220 } = {}) {
  // Nothing but zeros has no logarithms.
  const log = wanted && lines.some((line) => line.values.some((value) => value > 0));
  const series = lines.map((line) => ({
    name: line.name,
    type: "line",
    showSymbol: line.epochs.length < 30,
    symbolSize: 5,
    lineStyle: { width: 1.6, type: line.dashed ? "dashed" : "solid" },
    itemStyle: { color: line.colour },
    // What is not finite, or has no logarithm, leaves a gap.
    data: line.epochs.map((x, i) => [x, drawable(line.values[i], log) ? line.values[i] : null]),
  }));
  if (series.length) {
    series[0].markLine = {
      symbol: "none",
      label: { show: false },
      data: marks.map((mark) => ({
        name: mark.name,
        xAxis: mark.epoch,
        lineStyle: { color: TONES[mark.tone], type: "dotted", width: 1.5 },
      })),
    };
  }
  const byName = (name) => lines.find((line) => line.name === name);
  return draw(
    place,
    {
      title: { text: title },
      legend: { show: lines.length > 1, right: 0, top: 0, itemWidth: 18 },
      grid: { left: 62, right: 12, top: 34, bottom: 36 },
      xAxis: { type: "value", min: 0, max: "dataMax", name: "epoch", nameLocation: "middle", nameGap: 20, axisLabel: { formatter: number, hideOverlap: true } },
      yAxis: { type: log ? "log" : "value", scale: true, ...(share ? { min: 0, max: 1 } : {}), axisLabel: log ? { formatter: number } : {} },
      tooltip: {
        trigger: "axis",
        confine: true,
        formatter: (points) =>
          el(
            "div",
            { class: "tip" },
            epoch(points[0].value[0]),
            points.map((point) =>
              el("div", {}, `${point.seriesName}: ${number(byName(point.seriesName).values[point.dataIndex])}`),
            ),
          ),
      },
      series,
    },
    height,
  );
}

function drawable(value, log) {
  return Number.isFinite(value) && (!log || value > 0);
}

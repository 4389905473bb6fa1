// One run: its findings, its layers over time, its curves, its pictures and what it cost.

import { COLOURS, curves } from "./charts.js";
import { choice, el, paragraphs, prose, sign, table } from "./elements.js";
import { QUANTITIES, heatMap, rowsOf, scale } from "./heat_map.js";
import { showLayer } from "./layer.js";
import { epoch, number, plains } from "./numbers.js";

/** Draws a run, and another beside it on the same scales if there is one. */
export async function showRun(place, run, other, source, settings) {
  const runs = other ? [run, other] : [run];
  const map = el("section", { "aria-label": "Layers over time" });
  const layer = el("section", { class: "layer", hidden: true, "aria-label": "Layer" });
  const charts = el("section", { class: "charts", "aria-label": "Curves" });
  const pictures = el("section", { "aria-label": "Pictures" });
  place.replaceChildren(
    ...runs.map(heading),
    ...runs.map((one) => findings(one, runs.length > 1)),
    map,
    layer,
    el("h2", {}, "Loss and metrics"),
    charts,
    pictures,
    el("section", { "aria-label": "Tables" }, run.tables.map((one) => details(`Numbers: ${one.columns[0].title}`, table(one)))),
    el("p", { class: "faint cost" }, prose(run.cost)),
  );
  // Words first: a large map takes a while.
  await new Promise((painted) => setTimeout(painted));
  showMap(map, runs, layer, source, settings);
  showCurves(charts, runs);
  await showPictures(pictures, run, source);
}

function heading(run) {
  return el("h1", { class: "headline" }, sign(run.tone), ` ${run.headline}`, el("span", { class: "faint" }, ` ${run.name}`));
}

function details(summary, ...inside) {
  return el("details", {}, el("summary", {}, summary), inside);
}

function findings(run, named) {
  return el(
    "section",
    { class: "findings", "aria-label": "Findings" },
    named ? el("h2", {}, run.name) : "",
    run.notes.map((note) => el("p", { class: "note" }, prose(note))),
    run.findings.map(card),
  );
}

function card(finding) {
  const more = [];
  if (finding.alternatives.length) more.push(el("p", {}, "If that does not help:"), list(finding.alternatives));
  if (finding.evidence.length) more.push(el("p", {}, "Evidence:"), list(finding.evidence));
  for (const [title, text] of finding.explanation) {
    more.push(title ? el("h4", {}, title) : "", ...paragraphs(text));
  }
  return el(
    "article",
    { class: `finding ${finding.tone} ${finding.status}` },
    el("p", {}, sign(finding.tone), " ", el("strong", {}, finding.status), " ", prose(finding.seen), finding.when ? el("span", { class: "faint" }, ` (${finding.when})`) : ""),
    finding.advice ? el("p", {}, prose(finding.advice)) : "",
    finding.also ? el("p", { class: "faint" }, finding.also) : "",
    more.length ? details(`about ${finding.rule}`, more) : el("p", { class: "faint" }, finding.rule),
  );
}

function list(points) {
  return el("ul", {}, points.map((point) => el("li", {}, prose(point))));
}

function showMap(place, runs, layer, source, settings) {
  const known = Object.keys(QUANTITIES).filter((name) => runs.some((run) => run.maps[name]));
  if (!known.length) {
    place.replaceChildren(el("p", { class: "faint" }, "No layer has been measured yet."));
    return;
  }
  if (!known.includes(settings.quantity)) settings.quantity = known[0];
  const parts = runs.map(() => el("div", { class: "map" }));
  const draw = () => {
    const limits = scale(runs, settings.quantity);
    runs.forEach((run, i) => {
      if (!run.maps[settings.quantity]) return parts[i].replaceChildren(el("p", { class: "faint" }, `${run.name}: not measured.`));
      const { title: of, note } = QUANTITIES[settings.quantity];
      const title = `${of}${note ? ` (${note})` : ""}${runs.length > 1 ? `: ${run.name}` : ""}`;
      const open = (path) => {
        settings.layer = path;
        showLayer(layer, run, path, source, () => {
          settings.layer = null;
          layer.hidden = true;
          layer.replaceChildren();
        });
      };
      heatMap(parts[i], run, settings.quantity, { everything: settings.everything, limits, title, open });
      if (settings.layer && i === 0) open(settings.layer);
    });
  };
  const all = el("input", { type: "checkbox", checked: settings.everything, change: () => { settings.everything = all.checked; draw(); } });
  const pick = choice("Show", known.map((name) => [name, QUANTITIES[name].title]), settings.quantity, (name) => { settings.quantity = name; draw(); });
  place.replaceChildren(
    el("h2", {}, "Layers over time"),
    el("p", { class: "controls" }, pick, " ", el("label", {}, all, " biases and scales too"), el("span", { class: "faint" }, " Choose a cell to open its layer; ▲ marks where a finding began.")),
    ...parts,
  );
  draw();
}

function showCurves(place, runs) {
  const names = [...new Set(["loss", ...runs.flatMap((run) => Object.keys(run.logs))])];
  for (const name of names) {
    const lines = runs.flatMap((run, i) => [["train", COLOURS[0]], ["validation", COLOURS[1]]].flatMap(([side, colour]) => {
      const curve = run.logs[name]?.[side];
      if (!curve) return [];
      const of = runs.length > 1 ? `${run.name}: ${side}` : side;
      return [{ name: of, epochs: plains(curve.epochs), values: plains(curve.values), colour, dashed: i > 0 }];
    }));
    add(place, name, lines, runs, {});
  }
  for (const [name, title] of [["loss", "loss of observed batches"], ["learning_rate", "learning rate"], ["gradient_norm", "norm of the whole gradient"]]) {
    const lines = runs.flatMap((run, i) => {
      const curve = run.curves[name];
      return curve ? [{ name: runs.length > 1 ? run.name : title, epochs: plains(curve.epochs), values: plains(curve.values), colour: COLOURS[2], dashed: i > 0 }] : [];
    });
    add(place, title, lines, runs, { log: name !== "loss" });
  }
}

function add(place, title, lines, runs, options) {
  if (!lines.length) return;
  const one = el("div", { class: "chart" });
  place.append(one);
  const marks = runs[0].findings
    .filter((finding) => finding.status !== "healed" && finding.tone !== "info" && finding.places.length)
    .map((finding) => ({ epoch: Number(finding.places[0].epoch), tone: finding.tone, name: finding.rule }))
    .filter((mark) => mark.epoch > 0);
  curves(one, title, lines, { marks, ...options });
}

async function showPictures(place, run, source) {
  const found = await source.pictures(run.name);
  if (!found.length) return;
  place.append(el("h2", {}, "Pictures"));
  for (const { tag, states } of found) {
    const last = states.length - 1;
    const image = el("img", { class: "filters", alt: tag });
    const when = el("output", {});
    const show = (i) => {
      image.src = states[i].source;
      when.textContent = ` ${epoch(states[i].epoch)}`;
    };
    const slider = el("input", { type: "range", min: 0, max: last, value: last, "aria-label": `${tag}: epoch`, input: () => show(Number(slider.value)) });
    show(last);
    place.append(el("figure", {}, el("figcaption", {}, tag, " ", last ? slider : "", when), image, el("p", { class: "faint" }, states[last].description)));
  }
}

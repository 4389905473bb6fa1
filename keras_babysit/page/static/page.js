// The page: a list of runs, and what one of them came to.

import { sweep } from "./charts.js";
import { choice, el, onEnter, sign } from "./elements.js";
import { showRun } from "./run.js";

/** Seconds between two looks at a running training. */
const PAUSE = 15;
const NONE = "";

/** Builds the page into an element, and follows what is still being written. */
export async function start(root, source) {
  const list = el("nav", { "aria-label": "Runs" });
  const main = el("main", {});
  const settings = { quantity: "update_ratio", everything: false, layer: null };
  const state = { runs: [], chosen: null, other: NONE, drawn: "" };
  root.replaceChildren(list, main);

  const look = async () => {
    const known = JSON.stringify(state.runs);
    state.runs = await source.runs();
    const chosen = state.runs.find((run) => run.name === state.chosen);
    // What has ended stays as it is.
    if (chosen?.ended && known === JSON.stringify(state.runs)) return;
    if (!state.runs.some((run) => run.name === state.chosen)) state.chosen = state.runs[0]?.name ?? null;
    showList();
    await show();
  };

  const choose = (name) => {
    settings.layer = null;
    state.chosen = name;
    showList();
    return show().catch(fail);
  };

  const showList = () => {
    const runs = state.runs;
    list.hidden = runs.length < 2;
    const others = runs.filter((run) => run.name !== state.chosen);
    const had = list.contains(document.activeElement) ? document.activeElement.dataset.run : null;
    list.replaceChildren(
      el("h2", {}, "Runs"),
      el("ul", {}, runs.map((run) => {
        const open = () => choose(run.name);
        const item = el("li", { tabindex: 0, role: "button", class: run.name === state.chosen ? "chosen" : "", "aria-current": run.name === state.chosen ? "true" : null, click: open, keydown: onEnter(open) },
          sign(run.tone), ` ${run.name}`, el("div", { class: "faint" }, run.verdict));
        item.dataset.run = run.name;
        return item;
      })),
      choice("Beside it", [[NONE, "nothing"], ...others.map((run) => [run.name, run.name])], state.other, (name) => {
        state.other = name;
        show().catch(fail);
      }),
    );
    if (had) [...list.querySelectorAll("li")].find((item) => item.dataset.run === had)?.focus();
  };

  const show = async () => {
    if (!state.chosen) {
      main.replaceChildren(el("p", {}, "No run has been watched here yet. Add ", el("code", {}, "keras_babysit.Babysitter(log_dir)"), " to the callbacks of ", el("code", {}, "fit"), "."));
      return;
    }
    const [wanted, beside] = [state.chosen, state.other === state.chosen ? NONE : state.other];
    const run = await source.run(wanted);
    const other = beside ? await source.run(beside) : null;
    // Whoever chose again meanwhile sees that one.
    if (wanted !== state.chosen) return;
    if (source.live) {
      const now = JSON.stringify([run, other]);
      if (now === state.drawn) return;
      state.drawn = now;
    }
    await showRun(main, run, other, source, settings);
    sweep();
  };

  const fail = (error) => {
    main.replaceChildren(el("p", { class: "error" }, `The run could not be shown. ${error.message}`));
    state.drawn = "";
  };

  window.addEventListener("babysit-theme", () => {
    state.drawn = "";
    show().catch(fail);
  });
  await look().catch(fail);
  root.dataset.ready = "true";
  if (source.live) {
    setInterval(() => {
      if (!document.hidden) look().catch(fail);
    }, 1000 * PAUSE);
  }
}

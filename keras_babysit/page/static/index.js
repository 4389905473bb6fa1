// The tab in TensorBoard: it imports this module and calls `render`.

import { start } from "./page.js";
import { served } from "./source.js";

export async function render() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("style.css", import.meta.url).href;
  document.head.append(style);
  followTheme();
  const root = document.createElement("div");
  root.className = "babysit-page";
  document.body.append(root);
  await start(root, served(new URL("../", import.meta.url)));
}

/** Light or dark as TensorBoard is, which is the page around this one. */
function followTheme() {
  const outer = window.parent.document.body;
  const follow = () => {
    const dark = outer.classList.contains("dark-mode");
    if (document.documentElement.classList.contains("dark") === dark) return;
    document.documentElement.classList.toggle("dark", dark);
    window.dispatchEvent(new Event("babysit-theme"));
  };
  follow();
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
}

// A page that was saved: its documents are in it.

import { start } from "./page.js";
import { embedded } from "./source.js";

const wish = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => {
  document.documentElement.classList.toggle("dark", wish.matches);
  window.dispatchEvent(new Event("babysit-theme"));
};
follow();
wish.addEventListener("change", follow);
const documents = JSON.parse(document.getElementById("babysit-documents").textContent);
start(document.getElementById("babysit"), embedded(documents));

// What every page does once it is there: themes, copying, tabs, the place on the page, search. Without it all is readable.

const root = document.documentElement;
const live = document.getElementById("live");

export function say(text) {
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* Forgotten with the page. */ }
}

function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

// ------------------------------------------------------------------------------------------------------------- themes

const dark = matchMedia("(prefers-color-scheme: dark)");
for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    remember("theme", root.dataset.theme);
  });
}

// ------------------------------------------------------------------------------------------------------------ copying

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers have no clipboard for pages that come without TLS from another machine.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "vh";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("copying is not allowed");
}

export async function copyFor(button, text) {
  try {
    await copy(await text());
  } catch {
    say("Copying failed: select the text and copy it by hand");
    return;
  }
  const label = button.querySelector("[data-label]");
  if (label && !label.dataset.was) {
    label.dataset.was = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => {
      label.textContent = label.dataset.was;
      delete label.dataset.was;
    }, 1600);
  }
  say("Copied");
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copyFor(button, () => document.getElementById(button.dataset.copy).textContent));
}

for (const link of document.querySelectorAll("[data-copy-from]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    copyFor(link, async () => {
      const answer = await fetch(link.dataset.copyFrom);
      if (!answer.ok) throw new Error(answer.statusText);
      return answer.text();
    });
  });
}

// --------------------------------------------------------------------------------------------------------------- tabs

for (const set of document.querySelectorAll("[data-tabs]")) {
  const panels = [...set.querySelectorAll(":scope > [data-tab]")];
  const bar = document.createElement("div");
  bar.className = "tabs";
  bar.setAttribute("role", "tablist");
  bar.setAttribute("aria-label", set.dataset.tabs);
  const tabs = panels.map((panel) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${panel.id}`;
    tab.textContent = panel.dataset.tab;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.removeAttribute("aria-label");
    return tab;
  });
  const pick = (chosen) => {
    tabs.forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === chosen));
      tab.tabIndex = place === chosen ? 0 : -1;
      panels[place].hidden = place !== chosen;
    });
    remember("tab", panels[chosen].dataset.tab);
    panels[chosen].dispatchEvent(new CustomEvent("pick", { bubbles: true }));
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => pick(place));
    tab.addEventListener("keydown", (event) => {
      const last = tabs.length - 1;
      const next = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      pick(next);
      tabs[next].focus();
    });
  });
  bar.append(...tabs);
  set.prepend(bar);
  set.classList.add("ready");
  pick(Math.max(0, panels.findIndex((panel) => panel.dataset.tab === recall("tab"))));
}

// -------------------------------------------------------------------------------------------------- place on the page

const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
if (links.size) {
  const marks = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    const passed = marks.filter((element) => element.getBoundingClientRect().top < innerHeight * 0.3);
    const current = passed.at(-1) ?? marks[0];
    for (const [id, link] of links) {
      if (id === current?.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}

// ------------------------------------------------------------------------------------------------------------- search

const opener = document.querySelector("[data-search]");
let finder = null;

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function score(entry, words) {
  const title = entry.title.toLowerCase();
  const path = entry.path.toLowerCase();
  const text = entry.text.toLowerCase();
  let sum = 0;
  for (const word of words) {
    const found = (title.startsWith(word) ? 8 : title.includes(word) ? 5 : 0) + (path.includes(word) ? 2 : 0) + (text.includes(word) || entry.words.includes(word) ? 1 : 0);
    if (!found) return 0;
    sum += found;
  }
  return sum;
}

function makeFinder() {
  let entries = null;
  const input = element("input", { type: "search", placeholder: "Search models, guide and errors", autocomplete: "off" });
  input.setAttribute("aria-label", "Search");
  const list = element("ul", { className: "found" });
  const dialog = element("dialog", { className: "finder" }, element("form", { method: "dialog" }, input), list);
  dialog.setAttribute("aria-label", "Search the documentation");
  const show = () => {
    if (entries === null) return;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length
      ? entries.map((entry) => [score(entry, words), entry]).filter(([points]) => points).sort((a, b) => b[0] - a[0]).map(([, entry]) => entry)
      : entries.filter((entry) => entry.group === "Models" || entry.group === "Guide");
    list.replaceChildren(...hits.slice(0, 12).map((entry) => element(
      "li", {},
      element("a", { href: opener.dataset.root + entry.path }, element("b", { textContent: entry.title }), element("span", { textContent: entry.text }), element("small", { textContent: entry.group })),
    )));
    if (!hits.length) list.append(element("li", { className: "none", textContent: "Nothing found. Try one word less." }));
  };
  input.addEventListener("input", show);
  dialog.addEventListener("keydown", (event) => {
    const hits = [...list.querySelectorAll("a")];
    const place = hits.indexOf(document.activeElement);
    if (event.key === "ArrowDown") hits[Math.min(place + 1, hits.length - 1)]?.focus();
    else if (event.key === "ArrowUp") (place > 0 ? hits[place - 1] : input).focus();
    else if (event.key === "Enter" && document.activeElement === input) hits[0]?.click();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  // Whoever types at once, types into it: what can be found comes a moment later.
  const load = async () => {
    entries ??= await (await fetch(opener.dataset.search)).json();
    show();
  };
  return { dialog, input, load };
}

async function openFinder() {
  finder ??= makeFinder();
  if (!finder.dialog.open) finder.dialog.showModal();
  finder.input.select();
  try {
    await finder.load();
  } catch {
    location.href = opener.href;
  }
}

opener?.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openFinder();
});
addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    openFinder();
  }
});

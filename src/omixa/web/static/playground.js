// The playground: what is filled in becomes a request, its price, its answer with the receipt, and the program that sends it.

import { copyFor, element, say } from "./page.js";
import { Api, Refusal, modeOf, newRepeatKey } from "./playground-api.js";
import { Form } from "./playground-form.js";
import { Mask } from "./playground-mask.js";
import { dollars, micro } from "./playground-money.js";
import { Pictures } from "./playground-pictures.js";
import { Card, versus } from "./playground-result.js";

const PAUSE_MS = 350;
// A pause for each megabyte besides: pictures go along with every question about their price.
const PAUSE_PER_MB_MS = 100;
const MAX_RUNS = 20;
const MAX_STORED_CHARS = 500_000;
const KEY_NAME = "omixa.key";
const RUNS_NAME = "omixa.runs";

const $ = (id) => document.getElementById(id);
const main = $("main");
const api = new Api(main.dataset.api);
const usual = $("model").value;
const forms = new Map([...document.querySelectorAll("fieldset[data-model]")].map((fieldset) => [fieldset.dataset.model, new Form(fieldset)]));

function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch { /* Without storage it lasts as long as the page. */ }
}

function kept(name) {
  try { return sessionStorage.getItem(name); } catch { return null; }
}

// ---------------------------------------------------------------------------------------------------------------- the key

function showMode() {
  const typed = $("key").value.trim();
  const mode = modeOf(typed);
  api.key = mode === null ? "" : typed;
  $("mode").dataset.mode = mode ?? "none";
  $("forget").hidden = !typed;
  $("key-note").classList.toggle("bad", Boolean(typed) && mode === null);
  if (typed && mode === null) $("key").setAttribute("aria-invalid", "true");
  else $("key").removeAttribute("aria-invalid");
  keep(KEY_NAME, api.key || null);
  return mode;
}

function keyChanged() {
  const before = $("mode").dataset.mode;
  const mode = showMode();
  if (mode !== null && mode !== before) say(`${mode} mode`);
  changed();
}

// --------------------------------------------------------------------------------------------------------------- the form

const pictures = new Pictures(() => { mask.of(pictures.list[0] ?? null); changed(); });
const mask = new Mask(() => changed());

let shown = null;
// The request beside which the next run is shown, as an address names it.
let before = null;
const REQUEST = /^req_[0-9a-hjkmnp-tv-z]{26}$/;
const other = () => forms.get($("other").value) ?? null;

function setBefore(requestId) {
  before = REQUEST.test(requestId ?? "") ? requestId : null;
  $("replay").hidden = before === null;
  $("replay-id").textContent = before ?? "";
}

function showForm() {
  for (const one of forms.values()) one.fieldset.hidden = one !== shown;
  pictures.moveTo(shown.fieldset.querySelector("[data-slot=pictures]"));
  mask.moveTo(shown.fieldset.querySelector("[data-slot=mask]"));
  for (const option of $("other").options) option.disabled = option.value === shown.model;
  if (other() === shown) $("other").value = "";
}

/** Return the requests that the form means: one, or two that are alike as far as their models allow. */
function requests() {
  const values = shown.values();
  return [shown, other()].filter(Boolean).map((one) => one.request(values, pictures.list, mask.value));
}

function show(name) {
  $("model").value = name;
  shown = forms.get(name);
  showForm();
}

function switchModel(name) {
  const { prompt } = shown.values();
  // What the reader wrote goes along; an example stays with its model.
  const own = prompt !== undefined && prompt !== shown.example;
  show(name);
  if (own) shown.fill({ ...shown.values(), prompt });
}

// -------------------------------------------------------------------------------------------------------------- addresses

function addressed() {
  const given = new URLSearchParams(location.hash.slice(1));
  const asked = given.get("model") ?? new URLSearchParams(location.search).get("model") ?? "";
  const found = [...forms.keys()].find((name) => name.toLowerCase() === asked.toLowerCase());
  return { model: found ?? usual, other: given.get("compare") ?? "", before: given.get("before"), values: given.has("model") ? Object.fromEntries(given) : null };
}

function address() {
  const state = new URLSearchParams({ model: shown.model });
  if (other()) state.set("compare", other().model);
  if (before) state.set("before", before);
  for (const [name, text] of Object.entries(shown.values())) state.set(name, text);
  return `${location.pathname}#${state}`;
}

function readAddress() {
  const asked = addressed();
  $("other").value = forms.has(asked.other) ? asked.other : "";
  show(asked.model);
  if (asked.values) shown.fill(asked.values);
  setBefore(asked.before);
}

// --------------------------------------------------------------------------------------------------------------- the price

let turn = 0;
let asking = null;
let quoted = null;

function priceLine(term, amount, kind = "") {
  return element("div", { className: kind }, element("dt", { textContent: term }), element("dd", { textContent: amount }));
}

function showPrice(lines, note = "", isBad = false) {
  $("prices").replaceChildren(...lines);
  $("price-note").textContent = note;
  $("price-note").classList.toggle("bad", isBad);
}

/** Ask what the form would cost at most. Returns the requests with their estimates, or null where one has no price. */
async function price() {
  const mine = ++turn;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  quoted = null;
  if (!api.key) {
    $("run-price").textContent = "";
    showPrice([], "The exact price ceiling appears here as soon as there is a key.");
    return null;
  }
  const asked = requests();
  const missing = asked.map((request) => request.missing).find(Boolean);
  if (missing) {
    $("run-price").textContent = "";
    showPrice([], missing);
    return null;
  }
  const answers = await Promise.all(asked.map((one) => api.estimate(one.body, signal).catch((error) => error)));
  if (mine !== turn) return null;
  const refused = answers.findIndex((answer) => answer instanceof Error);
  shown.blame(refused === 0 ? answers[0].param : null);
  const letters = asked.length > 1 ? ["A · ", "B · "] : [""];
  if (refused >= 0) {
    $("run-price").textContent = "";
    showPrice([], `${letters[refused]}${answers[refused].message}`, true);
    return null;
  }
  const lines = [];
  let sum = 0n;
  answers.forEach((answer, place) => {
    const ceiling = micro(answer.ceiling.amount);
    sum += ceiling;
    const expected = answer.expected && micro(answer.expected.amount) !== ceiling ? `, ${dollars(micro(answer.expected.amount))} expected` : "";
    lines.push(priceLine(`${letters[place]}${answer.model}${expected}`, dollars(ceiling)));
    const { leftOut } = asked[place];
    if (leftOut.length) lines.push(priceLine(`${letters[place]}does not take: ${leftOut.join(", ")}`, ""));
  });
  lines.push(priceLine("At most", dollars(sum), "sum"));
  $("run-price").textContent = dollars(sum);
  const stopped = answers.find((answer) => !answer.admitted);
  showPrice(
    lines,
    stopped ? `Would be refused now: ${stopped.refusal.message}` : `Available: ${dollars(micro(answers[0].balance.available))}${answers[0].mode === "test" ? " of play money" : ""}`,
    Boolean(stopped),
  );
  quoted = asked.map((request, place) => ({ request, cap: answers[place].ceiling.amount }));
  return quoted;
}

// ----------------------------------------------------------------------------------------------------------------- the run

let cards = [];
let running = 0;
const stops = new WeakMap();
const repeats = new WeakMap();

function showRunning() {
  $("run").disabled = running > 0;
  $("run-label").textContent = running > 0 ? "Running" : other() ? "Run both" : "Run";
}

function makeCard(request, letter) {
  return new Card({
    letter,
    request,
    links: { errors: main.dataset.errors },
    actions: {
      again: async (card) => { await watch(card); await price(); },
      stop: (card) => { stops.get(card)?.abort(); },
      reuse: (picture) => { reuse(picture); },
      code: (one) => { writeCode(one); $("program").scrollIntoView({ block: "start" }); },
    },
  });
}

function present(made) {
  for (const card of cards) card.remove();
  cards = made;
  $("empty").hidden = true;
  $("results").classList.toggle("pair", made.length > 1);
  $("results").append(...made.map((card) => card.element));
  $("versus").hidden = true;
  const { top } = $("results").getBoundingClientRect();
  // Whoever presses the button at the end of a form should see what that has started.
  if (top < 0 || top > innerHeight / 2) $("results").scrollIntoView({ block: "start" });
}

async function run() {
  if (running > 0) return;
  if (!api.key) {
    $("key").focus();
    say("Paste an API key first");
    return;
  }
  const ready = quoted ?? (await price());
  if (ready === null || running > 0) {
    say($("price-note").textContent);
    return;
  }
  // The form may go on changing: what runs is what its price was asked for.
  const earlier = ready.length === 1 ? before : null;
  const made = ready.map(({ request, cap }, place) => {
    const card = makeCard(request, ready.length > 1 ? "AB"[place] : earlier ? "B" : "");
    repeats.set(card, { cap, repeatKey: newRepeatKey(), values: shown.values() });
    return card;
  });
  const old = earlier ? makeCard(ready[0].request, "A") : null;
  present(old ? [old, ...made] : made);
  say(made.length > 1 ? "Two models are running" : "Running");
  await Promise.all([...made.map(watch), ...(old ? [recallBefore(old, earlier)] : [])]);
  if (old) await timeAlike(made[0]);
  showVersus();
  // What is available has changed, and what a run costs may have.
  if (running === 0) await price();
}

/** Show on a card what a request has brought before, with the time that the gateway took for it. */
async function recallBefore(card, requestId) {
  card.requestId = requestId;
  repeats.set(card, { cap: "0", repeatKey: newRepeatKey(), values: {} });
  try {
    const request = await api.request(requestId);
    card.name(request.model);
    if (request.state !== "captured") throw new Refusal({ message: "It brought no picture.", code: request.error_code, request_id: requestId });
    card.recall(requestId, await api.result(requestId), request.duration_ms);
  } catch (error) {
    card.refused(error instanceof Refusal ? error : new Refusal({ message: error.message }), false);
  }
}

/** Let a card tell the time that the gateway took, as that of a request of earlier is. */
async function timeAlike(card) {
  if (!card.bill) return;
  try {
    card.ms = (await api.request(card.requestId)).duration_ms;
  } catch {
    // Then it is the time that the answer took until it was here.
  }
}

/** Watch the run of a card to its end, whatever that is. */
async function watch(card) {
  const { cap, repeatKey, values } = repeats.get(card);
  const stop = new AbortController();
  stops.set(card, stop);
  running += 1;
  showRunning();
  card.begin();
  let outcome = "done";
  // What is known to be on its way is waited for; else the same key makes sure that it is asked for once.
  const events = card.requestId ? api.follow(card.requestId, stop.signal) : api.run(card.request.body, { cap, repeatKey, signal: stop.signal });
  try {
    for await (const event of events) card.take(event);
    say(`${card.request.form.model} has answered, charged $${card.bill.billed_amount}`);
  } catch (error) {
    if (error.name === "AbortError") {
      outcome = "left";
      card.left();
    } else {
      const refusal = error instanceof Refusal ? error : new Refusal({ message: "The answer is not one of this gateway." });
      outcome = refusal.code ?? "no answer";
      card.refused(refusal, refusal.code === null || refusal.code === "idempotency_in_progress");
      if (card === cards[0]) shown.blame(refusal.param);
      say(`${card.request.form.model}: ${refusal.message}`);
    }
  } finally {
    running -= 1;
    showRunning();
  }
  remember(card, values, outcome);
  showVersus();
  if (card.requestId && outcome !== "left") await showReceipt(card);
}

async function showReceipt(card) {
  try {
    card.receipt(await api.receipt(card.requestId));
  } catch {
    // A request that was refused before its hold has none.
  }
}

function showVersus() {
  const pairs = versus(...cards);
  $("versus").hidden = pairs.length === 0;
  $("versus").replaceChildren(...pairs.map(([term, text]) => element("div", {}, element("dt", { textContent: term }), element("dd", { textContent: text }))));
}

async function reuse(picture) {
  if (shown.maxPictures === 0) return;
  for (const one of [...pictures.list]) pictures.remove(one);
  await pictures.add([new File([picture.blob], `picture.${picture.format}`, { type: picture.blob.type })]);
  $("files").focus();
}

// ---------------------------------------------------------------------------------------------------------------- the code

let subject = null;
let writing = 0;

/** Show the program that sends a request, in the chosen language. */
async function writeCode(request) {
  subject = request;
  const panel = $("program")?.querySelector("[data-tab]:not([hidden])");
  if (!panel) return;
  const mine = ++writing;
  const { model, input_images: _, mask: __, ...rest } = request.body;
  const question = { language: panel.dataset.language, body: { model, ...rest }, pictures: request.formats, mask: request.hasMask };
  let pieces = null;
  let note = "";
  try {
    const answer = await fetch(main.dataset.code, { method: "POST", body: JSON.stringify(question), headers: { "Content-Type": "application/json" } });
    const told = await answer.json();
    if (answer.ok) pieces = told.pieces;
    else note = told.error.message;
    if (answer.ok && told.left_out.length) note = `Without ${told.left_out.join(", ")}: the program waits for one whole answer.`;
  } catch {
    note = "The program cannot be written: the gateway could not be reached.";
  }
  if (mine !== writing) return;
  const files = [...request.formats.map((format, place) => `photo${place ? `-${place + 1}` : ""}.${format === "jpeg" ? "jpg" : format}`), ...(request.hasMask ? ["mask.png"] : [])];
  $("code-note").textContent = [`${request.form.model}.`, "Set OMIXA_API_KEY and run it.", files.length ? `It reads ${files.join(", ")} beside it.` : "", note].filter(Boolean).join(" ");
  const shownText = pieces ?? [["", note]];
  panel.querySelector("pre").replaceChildren(...shownText.map(([kind, text]) => (kind ? element("span", { className: kind, textContent: text }) : text)));
}

// ------------------------------------------------------------------------------------------------------------- the history

let runs = [];
const thumbnails = new Map();

function remember(card, values, outcome) {
  const entry = {
    id: card.requestId,
    model: card.request.form.model,
    values,
    outcome,
    amount: card.bill?.billed_amount ?? "0.000000",
    ms: card.ms,
    mode: modeOf(api.key),
  };
  runs = [entry, ...runs.filter((one) => one.id === null || one.id !== entry.id)];
  if (card.thumbnail) {
    URL.revokeObjectURL(thumbnails.get(entry.id));
    thumbnails.set(entry.id, URL.createObjectURL(card.thumbnail));
  }
  storeRuns();
  showRuns();
}

function storeRuns() {
  runs = runs.slice(0, MAX_RUNS);
  while (runs.length && JSON.stringify(runs).length > MAX_STORED_CHARS) runs.pop();
  for (const [id, url] of thumbnails) {
    if (runs.some((one) => one.id === id)) continue;
    URL.revokeObjectURL(url);
    thumbnails.delete(id);
  }
  keep(RUNS_NAME, JSON.stringify(runs));
}

function showRuns() {
  $("history").hidden = runs.length === 0;
  $("runs").replaceChildren(...runs.map((entry) => {
    const item = $("run-item").content.firstElementChild.cloneNode(true);
    const image = item.querySelector("img");
    image.hidden = !thumbnails.has(entry.id);
    if (!image.hidden) image.src = thumbnails.get(entry.id);
    item.querySelector(".name").textContent = entry.model;
    item.querySelector(".prompt").textContent = (entry.values.prompt ?? "").slice(0, 200);
    item.querySelector(".state").textContent = `${entry.mode} · ${entry.outcome}`;
    item.querySelector(".amount").textContent = dollars(micro(entry.amount));
    item.querySelector(".vh").textContent = ` the run of ${entry.model} again`;
    item.querySelector("button").addEventListener("click", () => { showAgain(entry); });
    return item;
  }));
}

async function showAgain(entry) {
  if (running > 0 || !forms.has(entry.model)) return;
  $("other").value = "";
  show(entry.model);
  shown.fill(entry.values);
  changed();
  const card = makeCard(shown.request(entry.values, pictures.list, mask.value), "");
  repeats.set(card, { cap: "0", repeatKey: newRepeatKey(), values: entry.values });
  present([card]);
  card.requestId = entry.id;
  try {
    if (entry.id === null) throw new Refusal({ message: "This run has left no request behind." });
    card.recall(entry.id, await api.result(entry.id), entry.ms);
  } catch (error) {
    card.refused(error instanceof Refusal ? error : new Refusal({ message: error.message }), false);
  }
  if (entry.id !== null) await showReceipt(card);
  $("results").scrollIntoView({ block: "nearest" });
}

// ----------------------------------------------------------------------------------------------------------------- set up

let pausing = 0;

/** Do what follows from a change of the form, once the reader pauses. */
function changed() {
  quoted = null;
  turn += 1;
  clearTimeout(pausing);
  showRunning();
  // The price that stands there is that of another form now.
  $("run-price").textContent = api.key ? "…" : "";
  const megabytes = pictures.list.reduce((sum, one) => sum + one.blob.size, 0) / 1_000_000;
  pausing = setTimeout(() => {
    history.replaceState(null, "", address());
    price();
    writeCode(requests()[0]);
  }, PAUSE_MS + PAUSE_PER_MB_MS * megabytes);
}

function start() {
  try { runs = JSON.parse(kept(RUNS_NAME)) ?? []; } catch { runs = []; }
  $("key").value = kept(KEY_NAME) ?? "";
  showMode();
  readAddress();
  showRuns();
  $("unscripted").hidden = true;
  for (const id of ["mode", "form", "results", "share"]) $(id).hidden = false;
  $("key").addEventListener("input", keyChanged);
  $("forget").addEventListener("click", () => {
    $("key").value = "";
    runs = [];
    storeRuns();
    showRuns();
    keyChanged();
    $("key").focus();
  });
  $("model").addEventListener("change", () => { switchModel($("model").value); changed(); });
  $("other").addEventListener("change", () => { showForm(); changed(); });
  $("form").addEventListener("input", (event) => { if (event.target.dataset.field) changed(); });
  $("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || $("painter").open) return;
    event.preventDefault();
    run();
  });
  $("no-replay").addEventListener("click", () => { setBefore(null); changed(); });
  $("share").addEventListener("click", () => copyFor($("share"), () => new URL(address(), location.href).href));
  $("program")?.addEventListener("pick", () => { if (subject) writeCode(subject); });
  addEventListener("hashchange", () => { readAddress(); changed(); });
  changed();
}

if (forms.size) start();

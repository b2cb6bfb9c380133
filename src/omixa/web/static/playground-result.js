// One run as a card: what comes of it, what it cost line by line, and how long each attempt took.

import { element } from "./page.js";
import { difference, dollars, exactly, micro } from "./playground-money.js";

const TEMPLATE = document.getElementById("result-card");
const FIGURE = document.getElementById("picture-figure");
const CLOCK_MS = 100;

function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function line(term, amount, kind = "") {
  return element("div", { className: kind }, element("dt", { textContent: term }), element("dd", { textContent: amount }));
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

function size(bytes) {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function* receiptLines(receipt) {
  for (const item of receipt.line_items.filter((one) => one.quantity > 0)) {
    const per = item.per === 1 ? "" : ` per ${item.per === 1_000_000 ? "1M" : item.per.toLocaleString("en")}`;
    yield line(`${words(item.component)} · ${item.quantity.toLocaleString("en")} × $${item.unit_price}${per}`, exactly(item.amount));
  }
  yield line("Sum, exactly", exactly(receipt.exact_amount));
  if (receipt.markup_ppm !== 0) yield line("Markup of the workspace", `${receipt.markup_ppm / 10_000} %`);
  yield line(`Rounded ${receipt.rounding === "up" ? "up" : "half up"} to a multiple of`, `$${receipt.rounded_to}`);
  yield line("Held before the run", `$${receipt.held_amount}`);
  yield line("Given back", `$${receipt.released_amount}`);
  yield line("Charged once", `$${receipt.billed_amount}`, "sum");
  yield line("Price list", receipt.price_version, "long");
}

function* steps(receipt) {
  const start = Date.parse(receipt.requested_at);
  const end = Math.max(Date.parse(receipt.settled_at), start + 1);
  const share = (from, to) => `${Math.min(100, Math.max(0, (100 * (to - from)) / (end - start)))}%`;
  for (const attempt of receipt.attempts) {
    const from = Date.parse(attempt.sent_at);
    const to = attempt.ended_at === null ? end : Date.parse(attempt.ended_at);
    const bar = element("span", { className: attempt.outcome === "ok" ? "bar" : "bar bad" });
    bar.style.insetInlineStart = share(start, from);
    bar.style.width = share(from, to);
    yield element(
      "li", {},
      element("span", { className: "who", textContent: `${attempt.attempt}. ${attempt.route}${receipt.images_asked > 1 ? `, picture ${attempt.image + 1}` : ""}` }),
      element("span", { className: attempt.outcome === "ok" ? "what" : "what bad", textContent: attempt.outcome }),
      element("span", { className: "tnum", textContent: `${(to - from).toLocaleString("en")} ms` }),
      element("span", { className: "track" }, bar),
    );
  }
}

export class Card {
  #root = TEMPLATE.content.firstElementChild.cloneNode(true);
  #urls = [];
  #links;
  #began = performance.now();
  #clock = null;
  #previewed = false;
  #pictures = [];
  requestId = null;
  ms = 0;
  bill = null;

  constructor({ letter, request, links, actions }) {
    this.request = request;
    this.#links = links;
    this.#root.setAttribute("aria-label", `${letter ? `${letter}, ` : ""}${request.form.model}`);
    this.#find(".letter").textContent = letter;
    this.#find(".letter").hidden = !letter;
    this.#find("header .name").textContent = request.form.model;
    this.#find(".again").addEventListener("click", () => actions.again(this));
    this.#find(".stop").addEventListener("click", () => actions.stop(this));
    this.#find(".reuse").addEventListener("click", () => actions.reuse(this.#pictures[0]));
    this.#find(".show-code").addEventListener("click", () => actions.code(this.request));
  }

  /** Say which model this is the work of, where that is not the form's. */
  name(model) {
    this.#find("header .name").textContent = model;
  }

  get element() {
    return this.#root;
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  #state(word, kind) {
    const tag = this.#find("header .state");
    tag.textContent = word;
    tag.className = `tag state ${kind}`;
  }

  /** Begin, or begin again after a connection that broke. */
  begin() {
    this.#began = performance.now();
    this.#pictures = [];
    this.#find(".stage").replaceChildren();
    this.#find(".problem").hidden = true;
    this.#find(".again").hidden = true;
    this.#find(".stop").hidden = false;
    this.#state("running", "");
    this.#find(".stage").classList.add("waiting");
    this.#progress("Sent");
  }

  #progress(text) {
    clearInterval(this.#clock);
    const show = () => { this.#find(".progress").textContent = `${text} · ${seconds(performance.now() - this.#began)}`; };
    this.#clock = setInterval(show, CLOCK_MS);
    show();
  }

  take(event) {
    if (event.kind === "started") {
      this.requestId = event.requestId;
      this.#progress("The provider works");
    } else if (event.kind === "preview") {
      this.#show(event.picture, `Preview ${event.index + 1}`, true);
      this.#progress(`Preview ${event.index + 1}`);
    } else if (event.kind === "picture") {
      this.#pictures.push(event.picture);
      this.#show(event.picture, `Picture ${this.#pictures.length}`, false);
    } else if (event.kind === "done") {
      this.#done(event.bill);
    }
  }

  #show(picture, name, isPreview) {
    const stage = this.#find(".stage");
    if (isPreview || this.#previewed) stage.replaceChildren();
    this.#previewed = isPreview;
    stage.classList.toggle("waiting", isPreview);
    const figure = FIGURE.content.firstElementChild.cloneNode(true);
    const url = URL.createObjectURL(picture.blob);
    this.#urls.push(url);
    figure.querySelector("img").src = url;
    figure.querySelector("img").alt = `${name} of ${this.request.form.model}`;
    figure.querySelector("figcaption").hidden = isPreview;
    const download = figure.querySelector("a");
    download.href = url;
    download.download = `${this.requestId ?? "picture"}-${this.#pictures.length}.${picture.format === "jpeg" ? "jpg" : picture.format}`;
    stage.append(figure);
  }

  #ended() {
    clearInterval(this.#clock);
    this.ms = Math.round(performance.now() - this.#began);
    this.#find(".stop").hidden = true;
    this.#find(".show-code").hidden = false;
    this.#find(".stage").classList.remove("waiting");
  }

  #done(bill) {
    this.#ended();
    this.bill = bill;
    this.requestId = bill.request_id;
    this.#state("done", "good");
    this.#find(".progress").textContent = `Answered in ${seconds(this.ms)}`;
    const [first] = this.#pictures;
    this.#find(".reuse").hidden = !first;
    const tags = [`${first.size.replace("x", "×")}`, `${first.format} ${size(first.blob.size)}`, `${bill.mode} key`];
    if (bill.simulated) tags.push("simulated");
    for (const one of bill.emulated) tags.push(`${one.parameter}: by the gateway`);
    if (bill.failed.length) tags.push(`${bill.failed.length} failed, free`);
    this.#find(".tags").replaceChildren(...tags.map((text) => element("li", { className: "tag", textContent: text })));
    const facts = [line("Route", bill.route), line("Attempts", String(bill.attempts.length)), line("Charged", `$${bill.billed_amount}`, "sum")];
    if (bill.ignored_parameters.length) facts.unshift(line("Without effect", bill.ignored_parameters.join(", "), "long"));
    this.#find(".facts-of").replaceChildren(...facts);
  }

  /** Show a run of earlier. */
  recall(requestId, { pictures, bill }, ms) {
    this.requestId = requestId;
    for (const picture of pictures) this.take({ kind: "picture", picture });
    this.#done(bill);
    this.ms = ms;
    this.#find(".progress").textContent = `Answered in ${seconds(ms)}, shown again`;
  }

  receipt(receipt) {
    this.#find(".lines").hidden = false;
    this.#find(".lines dl").replaceChildren(...receiptLines(receipt));
    if (receipt.line_items.length || receipt.state === "captured") this.#find(".lines").open = true;
    const attempts = [...steps(receipt)];
    this.#find(".attempts").hidden = attempts.length === 0;
    this.#find(".attempts").open = true;
    this.#find(".timeline").replaceChildren(...attempts);
  }

  /** Say why nothing came. `mayAsk` offers the same request once more, under the same key. */
  refused(refusal, mayAsk) {
    this.#ended();
    this.requestId = refusal.requestId ?? this.requestId;
    this.#state(refusal.code ?? "no answer", "poor");
    this.#find(".progress").textContent = `Refused after ${seconds(this.ms)}; a request that fails costs nothing.`;
    if (refusal.code === null) this.#find(".progress").textContent = `No answer after ${seconds(this.ms)}.`;
    this.#find(".problem").hidden = false;
    this.#find(".problem .message").textContent = refusal.message + (refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : "");
    this.#find(".problem .request").textContent = this.requestId ?? "unknown";
    const page = this.#find(".problem .page");
    page.hidden = refusal.code === null;
    page.href = `${this.#links.errors}/${encodeURIComponent(refusal.code ?? "")}`;
    this.#find(".again").hidden = !mayAsk;
  }

  /** Say that nobody waits any more. */
  left() {
    this.#ended();
    this.#state("left", "");
    this.#find(".progress").textContent = "You stopped waiting. The request goes on, and is charged when its picture is made.";
    this.#find(".again").hidden = false;
  }

  get thumbnail() {
    return this.#pictures[0]?.blob ?? null;
  }

  /** Forget the pictures. */
  remove() {
    clearInterval(this.#clock);
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#root.remove();
  }
}

/** Return how the second of two cards did against the first, as pairs of words, or nothing while one has no bill. */
export function versus(first, second) {
  if (!first?.bill || !second?.bill) return [];
  const [a, b] = [first, second].map((card) => micro(card.bill.billed_amount));
  const [now, then] = [b, a].map((amount) => dollars(amount * 1000n));
  return [
    ["B against A", ""],
    ["Time", difference(BigInt(first.ms), BigInt(second.ms))],
    ["Price", difference(a, b)],
    ["1,000 such requests", now === then ? now : `${now}, not ${then}`],
  ];
}

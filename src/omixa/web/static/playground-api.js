// What the playground asks of the public API. The key goes into one header, and nowhere else.

const FOLLOW_MS = 1000;
const KEY = /^omx_(test|live)_[0-9A-Za-z]{38}$/;

/** Return "test" or "live" by what a key begins with, or null where it is no key. */
export function modeOf(key) {
  return KEY.exec(key)?.[1] ?? null;
}

/** An answer that says no, in the API's own words; without a code, the answer never came. */
export class Refusal extends Error {
  constructor({ message, code = null, param = null, request_id: requestId = null }, retryAfter = null) {
    super(message);
    Object.assign(this, { code, param, requestId, retryAfter });
  }
}

async function refusalOf(answer) {
  const requestId = answer.headers.get("x-request-id");
  try {
    const { error } = await answer.json();
    return new Refusal({ request_id: requestId, ...error }, answer.headers.get("retry-after"));
  } catch {
    return new Refusal({ message: `The answer is ${answer.status} ${answer.statusText} and not of this gateway.`, request_id: requestId });
  }
}

/** Yield what a stream of server-sent events carries; null stands for a comment, which only says that there is no news. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    pieces.push(value);
    // A picture is one line of megabytes: it is put together once, when it has ended.
    if (!value.includes("\n")) continue;
    const blocks = pieces.join("").split("\n\n");
    pieces = [blocks.pop()];
    for (const block of blocks) {
      const line = block.split("\n").find((one) => one.startsWith("data: "));
      yield line === undefined ? null : JSON.parse(line.slice("data: ".length));
    }
  }
}

function pictureOf(base64, { size, output_format: format }) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return { blob: new Blob([bytes], { type: `image/${format}` }), size, format };
}

export class Api {
  #base;
  key = "";

  constructor(base) {
    this.#base = base;
  }

  async #ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(`${this.#base}/${path}`, {
        ...options,
        headers: { ...options.headers, Authorization: `Bearer ${this.key}` },
        cache: "no-store",
        credentials: "omit",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal({ message: "The gateway could not be reached, or the connection broke." });
    }
    if (!answer.ok) throw await refusalOf(answer);
    return answer;
  }

  #post(path, body, headers, signal) {
    return this.#ask(path, { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" }, signal });
  }

  async estimate(body, signal) {
    return (await this.#post("images/estimate", body, {}, signal)).json();
  }

  async receipt(requestId) {
    return (await this.#ask(`requests/${encodeURIComponent(requestId)}/receipt`, { headers: { Accept: "application/json" } })).json();
  }

  /** Return what happened to a request. */
  async request(requestId) {
    return (await this.#ask(`requests/${encodeURIComponent(requestId)}`)).json();
  }

  /** Return the pictures and the bill of a request that was answered before. */
  async result(requestId) {
    const answer = await (await this.#ask(`requests/${encodeURIComponent(requestId)}/result?response_format=b64_json`)).json();
    return { pictures: answer.data.map((one) => pictureOf(one.b64_json, answer)), bill: answer.omixa };
  }

  /** Wait for a request that is on its way already, and yield what `run` yields. The gateway ends it in bounded time. */
  async *follow(requestId, signal) {
    let request = { state: "held" };
    while (request.state === "held") {
      await new Promise((resolve) => { setTimeout(resolve, FOLLOW_MS); });
      request = await (await this.#ask(`requests/${encodeURIComponent(requestId)}`, { signal })).json();
    }
    yield { kind: "started", requestId };
    if (request.state !== "captured") {
      throw new Refusal({ message: "It has failed and costs nothing.", code: request.error_code, request_id: requestId });
    }
    const { pictures, bill } = await this.result(requestId);
    for (const picture of pictures) yield { kind: "picture", picture };
    yield { kind: "done", bill };
  }

  /** Make pictures, and yield what happens: started, waiting, preview, picture, done. Raises Refusal, and AbortError. */
  async *run(body, { cap, repeatKey, signal }) {
    const headers = { "Idempotency-Key": repeatKey, "Omixa-Max-Cost": cap };
    const answer = await this.#post("images/generations", body, headers, signal);
    const requestId = answer.headers.get("x-request-id");
    yield { kind: "started", requestId };
    if (!answer.headers.get("content-type").startsWith("text/event-stream")) {
      const { omixa } = await answer.json();
      // Links may lead elsewhere, where this page may not fetch from.
      for (const picture of (await this.result(omixa.request_id)).pictures) yield { kind: "picture", picture };
      yield { kind: "done", bill: omixa };
      return;
    }
    let bill = null;
    let linked = false;
    try {
      for await (const event of events(answer.body)) {
        if (event === null) yield { kind: "waiting" };
        else if (event.error) throw new Refusal({ request_id: requestId, ...event.error });
        else if (event.type.endsWith(".partial_image")) {
          yield { kind: "preview", picture: pictureOf(event.b64_json, event), index: event.partial_image_index };
        } else if (event.type.endsWith(".completed")) {
          if (event.b64_json === null) linked = true;
          else yield { kind: "picture", picture: pictureOf(event.b64_json, event) };
          if (event.omixa.line_items) bill = event.omixa;
        }
      }
    } catch (error) {
      if (error instanceof Refusal || error.name === "AbortError") throw error;
      bill = null;
    }
    if (bill === null) {
      throw new Refusal({ message: "The connection broke before the answer was whole. The request goes on without it.", request_id: requestId });
    }
    if (linked) for (const picture of (await this.result(bill.request_id)).pictures) yield { kind: "picture", picture };
    yield { kind: "done", bill };
  }
}

/** Return a new Idempotency-Key. randomUUID is only there on pages that came over TLS or from this machine. */
export function newRepeatKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

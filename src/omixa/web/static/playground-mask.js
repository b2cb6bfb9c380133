// A mask is painted on the first picture: strokes in its own pixels, which become a PNG that is transparent where they are.

import { element } from "./page.js";
import { dataUrlOf } from "./playground-pictures.js";

// A canvas of the picture's own size is needed once, to make the PNG.
const MAX_PIXELS = 16_777_216;
const MAX_STROKES = 500;
const VIEW_SIDE = 1024;

function paint(context, stroke, scale) {
  const radius = (stroke.width * scale) / 2;
  let last = null;
  for (const [x, y] of stroke.points) {
    context.beginPath();
    context.arc(x * scale, y * scale, radius, 0, 2 * Math.PI);
    context.fill();
    if (last) {
      context.beginPath();
      context.lineWidth = 2 * radius;
      context.moveTo(last[0] * scale, last[1] * scale);
      context.lineTo(x * scale, y * scale);
      context.stroke();
    }
    last = [x, y];
  }
}

async function png(picture, strokes) {
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "destination-out";
  for (const stroke of strokes) paint(context, stroke, 1);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

class Painter {
  #dialog = document.getElementById("painter");
  #canvas = document.getElementById("canvas");
  #brush = document.getElementById("brush");
  #state = document.getElementById("painter-state");
  #layer = element("canvas", {});
  #bitmap = null;
  #scale = 1;
  #strokes = [];
  #stroke = null;
  #place = [0, 0];
  #penDown = false;

  constructor() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.#begin(this.#at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.#go(this.#at(event));
      else this.#hover(this.#at(event));
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.#stroke = null; });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#brush.addEventListener("input", () => this.#draw());
    document.getElementById("undo").addEventListener("click", () => this.#undo());
    document.getElementById("clear").addEventListener("click", () => this.#restart([]));
    document.getElementById("painter-close").addEventListener("click", () => this.#dialog.close("cancel"));
  }

  /** Let the reader paint; returns the strokes, or null when nothing is to change. */
  async open(picture, strokes) {
    this.#bitmap = await createImageBitmap(picture.blob);
    this.#scale = Math.min(1, VIEW_SIDE / Math.max(picture.width, picture.height));
    for (const canvas of [this.#canvas, this.#layer]) {
      canvas.width = Math.max(1, Math.round(picture.width * this.#scale));
      canvas.height = Math.max(1, Math.round(picture.height * this.#scale));
    }
    this.#place = [picture.width / 2, picture.height / 2];
    this.#penDown = false;
    this.#state.textContent = "";
    this.#restart([...strokes]);
    this.#dialog.returnValue = "cancel";
    this.#dialog.showModal();
    this.#canvas.focus();
    await new Promise((resolve) => { this.#dialog.addEventListener("close", resolve, { once: true }); });
    this.#bitmap.close();
    this.#stroke = null;
    return this.#dialog.returnValue === "use" ? this.#strokes : null;
  }

  get #width() {
    // In hundredths of the shorter side, half of which is a large brush.
    return (Number(this.#brush.value) / 200) * Math.min(this.#bitmap.width, this.#bitmap.height);
  }

  #at(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.#bitmap.width, ((event.clientY - box.top) / box.height) * this.#bitmap.height];
  }

  #begin(place) {
    if (this.#strokes.length >= MAX_STROKES) {
      this.#state.textContent = `${MAX_STROKES} strokes are the most. Undo or clear some.`;
      return;
    }
    this.#stroke = { width: this.#width, points: [] };
    this.#strokes.push(this.#stroke);
    this.#go(place);
  }

  #go(place) {
    this.#place = place;
    if (this.#stroke) {
      this.#stroke.points.push(place);
      this.#paint({ width: this.#stroke.width, points: this.#stroke.points.slice(-2) });
    }
    this.#draw();
  }

  #hover(place) {
    this.#place = place;
    this.#draw();
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = event.shiftKey ? 1 : Math.max(1, this.#width / 2);
    if (event.key in moves) {
      const [x, y] = moves[event.key];
      const clamp = (value, most) => Math.min(Math.max(value, 0), most);
      this.#go([clamp(this.#place[0] + x * step, this.#bitmap.width), clamp(this.#place[1] + y * step, this.#bitmap.height)]);
    } else if (event.key === " ") {
      this.#begin(this.#place);
      if (!this.#penDown) this.#stroke = null;
    } else if (event.key === "Enter") {
      this.#penDown = !this.#penDown;
      if (this.#penDown) this.#begin(this.#place);
      else this.#stroke = null;
    } else if (event.key === "[" || event.key === "]") {
      this.#brush.value = Number(this.#brush.value) + (event.key === "]" ? 4 : -4);
      this.#draw();
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      this.#undo();
    } else return;
    event.preventDefault();
    this.#tell();
  }

  #tell() {
    const percent = (value, most) => Math.round((100 * value) / most);
    const [x, y] = this.#place;
    const pen = this.#penDown ? "Painting" : "Brush";
    this.#state.textContent = `${pen} at ${percent(x, this.#bitmap.width)} % from the left, ${percent(y, this.#bitmap.height)} % from the top; strokes: ${this.#strokes.length}`;
  }

  #undo() {
    this.#restart(this.#strokes.slice(0, -1));
    this.#tell();
  }

  #restart(strokes) {
    this.#strokes = strokes;
    this.#stroke = null;
    this.#penDown = false;
    this.#layer.getContext("2d").clearRect(0, 0, this.#layer.width, this.#layer.height);
    for (const stroke of strokes) this.#paint(stroke);
    this.#draw();
  }

  #paint(stroke) {
    const context = this.#layer.getContext("2d");
    context.fillStyle = context.strokeStyle = "#ff2d55";
    paint(context, stroke, this.#scale);
  }

  #draw() {
    const canvas = this.#canvas;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.#bitmap, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 0.55;
    context.drawImage(this.#layer, 0, 0);
    context.globalAlpha = 1;
    const [x, y] = this.#place;
    // Dark around light is seen on any picture.
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.beginPath();
      context.arc(x * this.#scale, y * this.#scale, Math.max(2, (this.#width * this.#scale) / 2), 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }
}

export class Mask {
  #part = element("div", {});
  #painter = new Painter();
  #changed;
  #picture = null;
  #strokes = [];
  value = null;

  constructor(changed) {
    this.#changed = changed;
    this.#part.append(document.getElementById("mask-part").content.cloneNode(true));
    this.#find("#paint").addEventListener("click", () => this.#edit());
    this.#find("#unmask").addEventListener("click", () => {
      this.#drop();
      this.#changed();
      this.#find("#paint").focus();
    });
  }

  #find(selector) {
    return this.#part.querySelector(selector);
  }

  moveTo(slot) {
    if (slot) slot.append(this.#part);
    else this.#part.remove();
  }

  /** Tell which picture is the first one now; a mask belongs to the one that it was painted on. */
  of(picture) {
    if (picture === this.#picture) return;
    this.#picture = picture;
    this.#drop();
  }

  #drop() {
    this.#strokes = [];
    this.value = null;
    this.#show();
  }

  async #edit() {
    const picture = this.#picture;
    const strokes = await this.#painter.open(picture, this.#strokes);
    this.#find("#paint").focus();
    if (strokes === null || picture !== this.#picture) return;
    this.#strokes = strokes;
    this.value = strokes.length ? { dataUrl: await dataUrlOf(await png(picture, strokes)) } : null;
    this.#show();
    this.#changed();
  }

  #show() {
    const picture = this.#picture;
    const isLarge = picture !== null && picture.width * picture.height > MAX_PIXELS;
    this.#find("#paint").disabled = picture === null || isLarge;
    this.#find("#paint-label").textContent = this.value ? "Change the mask" : "Paint where to edit";
    this.#find("#unmask").hidden = this.value === null;
    this.#find("#mask-note").textContent = isLarge
      ? "Masks can be painted here on up to 16 megapixels."
      : this.value
        ? "Only what is painted may change."
        : picture
          ? "Without a mask, the whole picture may change."
          : "Needs a picture: the first one is painted on.";
  }
}

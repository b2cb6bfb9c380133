// Pictures to rework: chosen, dropped or pasted. They stay in this tab until they are sent with a request.

import { element } from "./page.js";

// What a tab keeps in memory, whatever is dropped on it. The gateway has its own limits and says so.
const MAX_PICTURES = 16;
const MAX_BYTES = 64 * 1024 * 1024;

/** Return the format by the first bytes, as the gateway does; names and types of files say what they like. */
function formatOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith("\x89PNG")) return "png";
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("RIFF") && text.endsWith("WEBP")) return "webp";
  return text.slice(4, 8) === "ftyp" ? "avif" : null;
}

export function dataUrlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function read(file) {
  const format = formatOf(new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (format === null) throw new Error("is no PNG, JPEG, WebP or AVIF");
  const blob = new Blob([file], { type: `image/${format}` });
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Error("cannot be read: it is damaged, or too large for this browser");
  }
  const { width, height } = bitmap;
  bitmap.close();
  return { name: file.name, format, blob, width, height, url: URL.createObjectURL(blob), dataUrl: await dataUrlOf(blob) };
}

export class Pictures {
  #part = element("div", {});
  #changed;
  list = [];

  constructor(changed) {
    this.#changed = changed;
    this.#part.append(document.getElementById("pictures-part").content.cloneNode(true));
    const input = this.#find("#files");
    input.addEventListener("change", async () => {
      await this.add(input.files);
      input.value = "";
    });
    input.addEventListener("keydown", (event) => {
      // It would send the form.
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      input.click();
    });
    const drop = this.#find("#drop");
    for (const name of ["dragenter", "dragover"]) {
      drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
    }
    for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => { event.preventDefault(); this.add(event.dataTransfer.files); });
    document.addEventListener("paste", (event) => {
      if (!this.#part.isConnected || !event.clipboardData?.files.length) return;
      event.preventDefault();
      this.add(event.clipboardData.files);
    });
  }

  #find(selector) {
    return this.#part.querySelector(selector);
  }

  /** Move to where the form of another model has its place for pictures, if it has one. */
  moveTo(slot) {
    if (slot) slot.append(this.#part);
    else this.#part.remove();
  }

  async add(files) {
    const notes = [];
    for (const file of files) {
      const bytes = this.list.reduce((sum, one) => sum + one.blob.size, file.size);
      if (this.list.length >= MAX_PICTURES || bytes > MAX_BYTES) {
        notes.push(`A tab holds at most ${MAX_PICTURES} pictures of ${MAX_BYTES / 1024 / 1024} MiB together.`);
        break;
      }
      try {
        this.list.push(await read(file));
      } catch (error) {
        notes.push(`“${file.name.slice(0, 80)}” ${error.message}.`);
      }
    }
    this.#find("#pictures-note").textContent = notes.join(" ");
    this.#show();
  }

  remove(picture) {
    URL.revokeObjectURL(picture.url);
    this.list = this.list.filter((one) => one !== picture);
    this.#show();
    this.#find("#files").focus();
  }

  #show() {
    const item = document.getElementById("given-item");
    this.#find("#given").replaceChildren(...this.list.map((picture, place) => {
      const made = item.content.cloneNode(true);
      made.querySelector("img").src = picture.url;
      made.querySelector(".name").textContent = picture.name.slice(0, 200);
      made.querySelector(".dims").textContent = `${picture.width}×${picture.height}`;
      made.querySelector(".vh").textContent = `Remove picture ${place + 1}`;
      made.querySelector("button").addEventListener("click", () => this.remove(picture));
      return made;
    }));
    this.#changed();
  }
}

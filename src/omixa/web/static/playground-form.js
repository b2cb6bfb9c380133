// The form of a model as the server wrote it: what it takes is read from its controls, so there is no second copy of the schema.

function textOf(control) {
  return control.type === "checkbox" ? String(control.checked) : control.value;
}

function typed(control, text) {
  if (control.type === "checkbox") return text === "true";
  return "integer" in control.dataset ? Number(text) : text;
}

function takes(control, text) {
  if (control.type === "checkbox") return text === "true" || text === "false";
  if (control.tagName === "SELECT") return [...control.options].some((option) => option.value === text);
  if ("integer" in control.dataset) return /^-?\d{1,15}$/.test(text) && Number(text) >= Number(control.min) && Number(text) <= Number(control.max);
  return control.maxLength < 0 || text.length <= control.maxLength;
}

export class Form {
  constructor(fieldset) {
    this.fieldset = fieldset;
    this.model = fieldset.dataset.model;
    this.page = fieldset.dataset.page;
    this.maxPictures = Number(fieldset.dataset.pictures ?? 0);
    this.leastPictures = Number(fieldset.dataset.least ?? 0);
    this.takesMask = "mask" in fieldset.dataset;
    this.controls = new Map([...fieldset.querySelectorAll("[data-field]")].map((control) => [control.dataset.field, control]));
    this.example = this.values().prompt;
  }

  /** Return what is filled in as text, by name: only what means something else than its absence. */
  values() {
    const values = {};
    for (const [name, control] of this.controls) {
      const text = textOf(control);
      if (text !== "" && text !== control.dataset.default) values[name] = text;
    }
    return values;
  }

  /** Fill in values and empty the rest; what this model does not take is left out. */
  fill(values) {
    for (const [name, control] of this.controls) {
      const given = Object.hasOwn(values, name) && takes(control, values[name]) ? values[name] : control.dataset.default;
      if (control.type === "checkbox") control.checked = given === "true";
      else control.value = given;
    }
  }

  /** Return the request that values mean for this model, and the names of those that it does not take. */
  request(values, pictures, mask) {
    const body = { model: this.model };
    const leftOut = [];
    for (const [name, text] of Object.entries(values)) {
      const control = this.controls.get(name);
      // What the form's own reader typed is sent as it is: the gateway says best what is wrong with it.
      if (control && (textOf(control) === text || takes(control, text))) body[name] = typed(control, text);
      else leftOut.push(name);
    }
    const used = pictures.slice(0, this.maxPictures);
    if (used.length) body.input_images = used.map((picture) => picture.dataUrl);
    if (used.length < pictures.length) leftOut.push(used.length ? `pictures after number ${used.length}` : "pictures");
    if (mask && used.length && this.takesMask) body.mask = mask.dataUrl;
    else if (mask) leftOut.push("mask");
    return { form: this, body, leftOut, missing: this.#missing(body, used.length), formats: used.map((picture) => picture.format), hasMask: "mask" in body };
  }

  /** Return in words what has to be there before it is worth while to ask for a price, or null. */
  #missing(body, pictures) {
    if (pictures < this.leastPictures) return `${this.model} needs a picture first.`;
    const empty = [...this.controls].find(([name, control]) => "required" in control.dataset && !String(body[name] ?? "").trim());
    return empty ? `${this.model} needs a ${empty[0]} first.` : null;
  }

  /** Mark the control that an error names, and no other. */
  blame(param) {
    for (const [name, control] of this.controls) {
      if (name === param) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    }
  }
}

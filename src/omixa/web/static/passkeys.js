// Forms that a passkey answers: asks the server what to ask the browser for, and sends what the browser says with the form.

const able = Boolean(window.PublicKeyCredential?.parseCreationOptionsFromJSON);
const read = {
  create: (options) => PublicKeyCredential.parseCreationOptionsFromJSON(options),
  get: (options) => PublicKeyCredential.parseRequestOptionsFromJSON(options),
};

async function answer(form) {
  const body = new URLSearchParams(new FormData(form));
  const response = await fetch(form.dataset.options, { method: "POST", body });
  if (!response.ok) throw new Error("This page is too old. Load it again.");
  const { options, ends } = await response.json();
  const kind = form.dataset.passkey;
  const credential = await navigator.credentials[kind]({ publicKey: read[kind](options) });
  form.elements.answer.value = JSON.stringify(credential.toJSON());
  form.elements.ends.value = ends;
}

function explain(form, error) {
  const known = {
    NotAllowedError: "No passkey was used. Try again, or come in in another way.",
    InvalidStateError: "This device has a passkey for here already.",
  };
  const place = form.querySelector("[data-problem]");
  place.textContent = known[error.name] ?? error.message;
  place.parentElement.hidden = false;
}

for (const form of able ? document.querySelectorAll("form[data-passkey]") : []) {
  form.hidden = false;
  for (const button of form.elements) button.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await answer(form);
    } catch (error) {
      explain(form, error);
      return;
    }
    form.submit();
  });
}

// The calculator asks the server, which answers by the code that charges; here is nothing that could disagree with it.

const form = document.querySelector("[data-cost]");

if (form) {
  const output = form.querySelector("output");
  let waiting = 0;
  const ask = async () => {
    const turn = ++waiting;
    if (!form.checkValidity()) {
      output.textContent = "…";
      return;
    }
    let text = "not available";
    try {
      const answer = await fetch(`${form.action}?${new URLSearchParams(new FormData(form))}`);
      if (answer.ok) text = `$${(await answer.json()).shown}`;
    } catch {
      // Said by the text.
    }
    // An older answer must not take the place of a newer one.
    if (turn === waiting) output.textContent = text;
  };
  let timer;
  form.hidden = false;
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 150);
  });
  ask();
}

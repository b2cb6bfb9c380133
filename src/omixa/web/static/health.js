// How the routes of a model did in the last day, as the server sees it now.

const card = document.querySelector("[data-health]");

function row(term, text) {
  const pair = [document.createElement("dt"), document.createElement("dd")];
  pair[0].textContent = term;
  pair[1].textContent = text;
  return pair;
}

async function show() {
  const answer = await fetch(card.dataset.health);
  if (!answer.ok) return;
  const { routes } = await answer.json();
  const words = { ok: "working", warn: "in trouble", bad: "not working", quiet: "no calls yet" };
  for (const route of routes) {
    const head = document.createElement("p");
    head.className = "route";
    const dot = document.createElement("span");
    dot.className = `dot ${route.state}`;
    const name = document.createElement("span");
    name.textContent = `${route.keys.join(" and ")} keys`;
    head.append(dot, name);
    const facts = document.createElement("dl");
    facts.className = "facts small-facts";
    facts.append(...row("State", words[route.state]));
    if (route.count > 1) facts.append(...row("Routes", `${route.count}, with failover`));
    if (route.answered !== null) facts.append(...row("Answered", `${route.answered} %`));
    if (route.p50 !== null) facts.append(...row("p50 / p95", `${route.p50} s / ${route.p95} s`));
    card.append(head, facts);
  }
  card.hidden = routes.length === 0;
}

// Without an answer there is nothing to show, and nothing on the page depends on it.
if (card) show().catch(() => {});

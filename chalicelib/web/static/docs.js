// Search, and trying requests, on the reference. Without this script the page is there to read.

const { prefix } = document.body.dataset;
const finder = document.getElementById("finder");
const search = document.getElementById("search");
const token = document.getElementById("token");
const routes = [...document.querySelectorAll(".route")];
const template = document.getElementById("try");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const route of routes) {
    const text = route.textContent.toLowerCase();
    route.hidden = !words.every((word) => text.includes(word));
  }
}

// What a link leads to must be seen: a route is closed until somebody opens it.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target?.closest("details:not([open])");
  if (!closed) return;
  closed.open = true;
  target.scrollIntoView();
}

function labelled(text, name, place = "") {
  const label = document.createElement("label");
  const field = document.createElement(place ? "input" : "textarea");
  label.append(text, " ", field);
  Object.assign(field, { name, required: place === "path", spellcheck: false });
  field.dataset.place = place;
  return label;
}

// The form is made of what the page says of the route, when somebody opens it.
function offer(route) {
  const [method, path] = route.querySelector("summary code").textContent.split(" ");
  if (!path || route.querySelector("form")) return;
  const form = template.content.cloneNode(true).querySelector("form");
  Object.assign(form.dataset, { method, path });
  const buttons = form.querySelector(".buttons");
  for (const { textContent, parentElement } of route.querySelectorAll("[data-in] code"))
    buttons.before(labelled(textContent, textContent, parentElement.dataset.in));
  const example = route.querySelector(".body-of");
  if (example) {
    const label = labelled(form.dataset.body, "");
    Object.assign(label.querySelector("textarea"), { value: example.textContent, rows: 6 });
    buttons.before(label);
  }
  form.addEventListener("submit", submit);
  route.append(form);
}

function addressOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { name, value, dataset } of form.querySelectorAll("input")) {
    if (dataset.place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && dataset.place === "query") query.set(name, value);
    else if (value) headers[name] = value;
  }
  return { address: prefix + path + (query.size ? `?${query}` : ""), headers };
}

async function send(form) {
  const { address, headers } = addressOf(form);
  const body = form.querySelector("textarea")?.value;
  headers.Accept = "application/json";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token.value) headers.Authorization = `Bearer ${token.value.trim()}`;
  // Only with the token that was typed in, never with the page's own session; and a download is a
  // redirect to another origin, which this page may not follow.
  const options = { method: form.dataset.method, headers, body, credentials: "omit", redirect: "manual" };
  const response = await fetch(address, options);
  if (response.type === "opaqueredirect") return form.dataset.redirect;
  const shown = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  const text = await response.text();
  const isJson = /json/.test(response.headers.get("Content-Type") ?? "");
  const content = isJson && text ? JSON.stringify(JSON.parse(text), null, 2) : text;
  return `${response.status} ${response.statusText}\n${shown}\n\n${content}`;
}

async function submit(event) {
  event.preventDefault();
  event.stopPropagation(); // no page is left, which is what other forms are for
  const answer = event.target.querySelector(".answer");
  answer.hidden = false;
  answer.textContent = "…";
  try {
    answer.textContent = await send(event.target);
  } catch (error) {
    answer.textContent = String(error);
  }
}

finder.addEventListener("submit", (event) => {
  event.preventDefault();
  event.stopPropagation();
});
search.addEventListener("input", filter);
// A toggle does not bubble, but can be caught on its way down.
document.addEventListener("toggle", ({ target }) => target.matches?.(".route") && offer(target), true);
addEventListener("hashchange", open);
open();

// Search, and trying requests, on the reference. Without this script the page is there to read.

const { prefix } = document.body.dataset;
const finder = document.getElementById("finder");
const search = document.getElementById("search");
const token = document.getElementById("token");
const routes = [...document.querySelectorAll(".route")];

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
  if (target?.matches("details")) target.open = true;
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
  if (response.type === "opaqueredirect") return "A redirect: see `Location`.";
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

finder.hidden = false;
finder.addEventListener("submit", (event) => {
  event.preventDefault();
  event.stopPropagation();
});
search.addEventListener("input", filter);
for (const form of document.querySelectorAll("form.try")) {
  form.hidden = false;
  form.addEventListener("submit", submit);
}
addEventListener("hashchange", open);
open();

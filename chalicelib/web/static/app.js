// Keeps a page true while it is open. Without this script the page reloads itself instead.
//
// While something of the user's is going on, the page follows their notifications with long polls;
// else it looks once a minute, when somebody looks at it, and when another tab has begun something.
// When there is news it loads itself again and adopts the parts marked `data-live`, so that all
// words, numbers and sizes are the server's. The parts carry the number of the newest notification that they know; a page that is
// older than what is shown is dropped, so nothing ever goes backwards.

const WAIT_S = 20; // how long the server may wait for news while no task is in progress
const WAIT_ACTIVE_S = 4; // while one is: its remaining time changes without news
const LINGER_MS = 30_000; // after the last news: an email follows its file
const IDLE_MS = 60_000; // between two requests while nothing goes on
const POLL_MS = 10_000; // between two requests where long polls do not come back
const CALM_MS = 800; // at least, between two changes of the page
const LIMIT_MS = 10_000; // for a response, besides what the server may wait
const ASLEEP_MS = 15_000; // a clock that jumps by more was asleep

const prefix = document.body.dataset.prefix;
const every = Number(document.body.dataset.every ?? 0);
const locale =
  navigator.languages.find((one) => one.split("-")[0] === document.documentElement.lang) ??
  document.documentElement.lang;

// --- Waiting ---

let nudge = () => {}; // ends at once whatever is being waited for

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    nudge = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

async function ask(url, waitS = 0) {
  const controller = new AbortController();
  nudge = () => controller.abort();
  const timer = setTimeout(nudge, waitS * 1000 + LIMIT_MS);
  try {
    const headers = { Accept: waitS ? "application/json" : "text/html, */*", "X-Live": "1" };
    const response = await fetch(url, { signal: controller.signal, cache: "no-store", headers });
    if (response.status >= 500 || response.status === 429) throw new Error(response.statusText);
    return { status: response.status, text: await response.text() };
  } finally {
    clearTimeout(timer);
  }
}

function whenVisible() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

document.addEventListener("visibilitychange", () => nudge());
addEventListener("online", () => nudge());
addEventListener("offline", () => nudge());
let awake = Date.now();
setInterval(() => {
  if (Date.now() - awake > ASLEEP_MS) nudge();
  awake = Date.now();
}, 5000);

// --- Changing the page ---

let leaving = false; // a form is on its way: loading the page anew would cut it off

const tasks = () => document.getElementById("tasks");
const seq = () => Number(tasks().dataset.seq);
const active = () => every > 0 || Number(tasks().dataset.active) > 0;

let lively = Date.now(); // when the page was opened, or something was going on
let resting = false;
const tabs = new BroadcastChannel("carryout"); // the user's other tabs
tabs.onmessage = () => resting && nudge();

async function rest() {
  resting = true;
  await pause(IDLE_MS);
  resting = false;
}

// Makes `old` what `fresh` is and leaves alone what is the same already: focus, selection and
// what a screen reader is saying survive. Both are of one kind. Children with an id are told apart
// by it, so that a list's items stay themselves when others come before them.
function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // Whether details are open is the reader's own choice.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const theirs = [...fresh.childNodes];
  const wanted = new Set(theirs.map((child) => child.id));
  for (const child of [...old.children]) {
    if (child.id && !wanted.has(child.id)) child.remove();
  }
  const known = new Map([...old.children].map((child) => [child.id, child]));
  let next = old.firstChild;
  const drop = () => {
    const rest = next;
    next = rest.nextSibling;
    rest.remove();
  };
  for (const child of theirs) {
    const ours = child.id ? known.get(child.id) : next;
    // To move a node takes its focus away, to remove those before it does not.
    while (child.id && ours && next && next !== ours && !next.id) drop();
    if (ours?.nodeName !== child.nodeName || ours.id !== child.id) {
      old.insertBefore(child, next);
      continue;
    }
    if (ours === next) next = next.nextSibling;
    else old.insertBefore(ours, next);
    morph(ours, child);
  }
  while (next) drop();
}

function parse(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  localise(page);
  return page;
}

// The server tells times in UTC; here the user's own zone is known.
function localise(root) {
  const form = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time")) {
    time.textContent = form.format(new Date(time.dateTime));
  }
}

// The session has ended elsewhere: the server will ask to sign in.
function reload() {
  if (!leaving) location.reload();
}

async function refresh() {
  const page = parse((await ask(location.href)).text);
  const fresh = page.getElementById("tasks");
  if (!fresh) reload();
  else if (Number(fresh.dataset.seq) >= seq()) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = page.getElementById(part.id);
      if (now) morph(part, now);
    }
  }
}

// --- Following ---

async function follow() {
  let failures = 0; // in a row
  let dropped = 0; // long polls in a row that did not come back although other requests did
  for (;;) {
    await whenVisible();
    if (active()) lively = Date.now();
    const idle = Date.now() - lively > LINGER_MS;
    const mayHold = !idle && failures === 0 && dropped <= 2;
    const waitS = mayHold ? every || (active() ? WAIT_ACTIVE_S : WAIT_S) : 0;
    const asked = Date.now();
    try {
      const url = `${prefix}/v1/notifications?after=${seq()}&wait=${waitS}`;
      const { status, text } = await ask(url, waitS);
      if (status !== 200) return reload();
      const news = JSON.parse(text).items.length > 0;
      if (news) lively = Date.now();
      if (active() || news) await refresh();
      dropped = waitS ? 0 : dropped + (failures === 1 ? 1 : 0);
      failures = 0;
      document.getElementById("lost").hidden = true;
      if (idle && !news) await rest();
      else if (dropped > 2) await pause(POLL_MS);
      else if (Date.now() - asked < CALM_MS || active()) await pause(CALM_MS);
    } catch {
      if (document.hidden) continue;
      failures += 1;
      if (failures > 1 || !navigator.onLine) document.getElementById("lost").hidden = false;
      await pause(Math.min(POLL_MS, failures * 1000));
    }
  }
}

// --- More posts ---

async function more(link) {
  try {
    const response = await fetch(link.href, { headers: { Accept: "text/html" } });
    const page = parse(await response.text());
    document.getElementById("posts").append(...page.getElementById("posts").children);
    const next = page.getElementById("more");
    if (next) watch(link.parentNode.appendChild(next));
    link.remove();
  } catch {
    // The link is still there to be clicked.
  }
}

function watch(link) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    more(link);
  });
  observer.observe(link);
}

// --- Forms ---

document.addEventListener("submit", (event) => {
  const { confirm: question } = event.target.dataset;
  leaving = !question || confirm(question);
  if (!leaving) event.preventDefault();
  else for (const button of event.target.querySelectorAll("button")) button.disabled = true;
});
addEventListener("pageshow", () => {
  leaving = false;
  for (const button of document.querySelectorAll("button:disabled")) button.disabled = false;
});

localise(document);
if (tasks()) {
  tabs.postMessage("look"); // a form that was sent may be why this page is loaded
  follow();
}
const link = document.getElementById("more");
if (link) watch(link);

// Shows the page that the address names, in the language that was chosen.

"use strict";

(() => {
  const { el, data, format, pages } = carryout;

  const main = document.getElementById("main");
  const side = document.getElementById("side");
  const header = document.getElementById("header");
  const footer = document.getElementById("footer");

  let index = null;
  let leaving = new AbortController(); // ends what the page before is still about to do

  function languages() {
    const options = Object.entries(carryout.words).map(([code, words]) =>
      el("option", { value: code, lang: code, selected: code === format.code }, words.language),
    );
    const select = el("select", { id: "language" }, options);
    select.addEventListener("change", () => {
      speak(select.value);
      show();
      document.getElementById("language").focus();
    });
    const label = el("span", { class: "unseen" }, format.say("chooseLanguage"));
    return el("label", { class: "language" }, label, select);
  }

  function frame() {
    const icon = document.getElementById("icon").content.cloneNode(true);
    const home = el("a", { href: pages.href(""), class: "brand" }, icon, el("span", {}, "Carryout"));
    document.getElementById("skip").textContent = format.say("skip");
    header.replaceChildren(home, el("bdi", { class: "user quiet" }, index.user), languages());
    footer.replaceChildren(format.say("offline"));
  }

  function sections(current) {
    const link = (name, title, rows) => {
      const attributes = { "aria-current": name === current ? "page" : null };
      const number = rows === null ? null : el("span", { class: "number" }, format.number(rows));
      return el("li", {}, el("a", { href: pages.href(name), ...attributes }, el("span", {}, title), number));
    };
    const links = index.datasets.map((one) => link(one.name, format.title(one), data.total(one)));
    const label = format.say("sections");
    return el("nav", { class: "sections card", "aria-label": label },
      el("ul", {}, link("", format.say("overview"), null), links));
  }

  function find({ name, ...options }) {
    if (!name) return pages.overview(index);
    const dataset = index.datasets.find((one) => one.name === name);
    return dataset ? pages.page(dataset, options) : null;
  }

  function fail() {
    main.append(el("p", { class: "notice", role: "alert" }, format.say("broken")));
  }

  function show() {
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    const route = pages.route(location.hash);
    const page = find({ ...route, signal }) ?? { title: format.say("unknown"), content: [] };
    document.title = `${page.title} · Carryout`;
    side.replaceChildren(...[sections(route.name), page.side?.()].filter(Boolean));
    const heading = el("h1", { tabindex: "-1" }, page.title);
    main.replaceChildren(heading, ...page.content.filter(Boolean));
    Promise.resolve(page.start?.()).catch(() => signal.aborted || fail());
    return heading;
  }

  function speak(language) {
    format.use(language);
    document.documentElement.lang = format.code;
    frame();
  }

  async function open() {
    try {
      index = await data.index();
    } catch {
      document.getElementById("unpack").hidden = false;
      return;
    }
    speak(index.language);
    show();
    addEventListener("hashchange", () => {
      scrollTo(0, 0);
      show().focus();
    });
    // A link to a part of this page would be an address of another one.
    document.getElementById("skip").addEventListener("click", (event) => {
      event.preventDefault();
      main.focus();
    });
  }

  open();
})();

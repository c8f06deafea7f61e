// A search on its way: what was found so far, how much is left, and a button that ends it.

"use strict";

carryout.results = (() => {
  const { el, data, format } = carryout;

  const ENOUGH = 100; // rows that fill a screen: shown while the search goes on

  function bar(total) {
    return el("progress", { max: total, value: 0, "aria-label": format.say("search") });
  }

  function sentence({ query, total }, { done, found }) {
    if (done < total) return ["stopped", counts(total, done, found)];
    return found.length ? null : ["nothing", { query }];
  }

  function counts(total, done, found) {
    const numbers = { done, total, found: found.length };
    return Object.fromEntries(Object.entries(numbers).map(([name, one]) => [name, format.number(one)]));
  }

  // Fills a place with what is found; `link` gives the address of a row's month.
  async function fill(place, dataset, { query, newestFirst, link, clear, signal }) {
    const total = data.total(dataset);
    const stopping = new AbortController();
    signal.addEventListener("abort", () => stopping.abort());
    const status = el("p", { role: "status" });
    const progress = bar(total);
    const stop = el("button", { type: "button", class: "second small" }, format.say("stop"));
    stop.addEventListener("click", () => stopping.abort());
    const running = el("div", { class: "split running" }, progress, stop);
    const head = el("div", { class: "split" }, status, el("a", { href: clear }, format.say("clear")));
    place.append(el("div", { class: "found" }, head, running));

    let list = null;
    const show = (found) => {
      if (list || signal.aborted) return;
      const pattern = carryout.search.pattern(query);
      list = carryout.list.list(dataset, found, { signal, pattern, link });
      place.append(list.whole);
      list.start();
    };
    const tell = (done, found) => {
      progress.value = done;
      status.textContent = format.say("searching", counts(total, done, found));
      if (found.length >= ENOUGH) show(found);
    };
    const end = await carryout.search.run(dataset, query, { newestFirst, signal: stopping.signal, tell });
    if (signal.aborted) return;
    const hadFocus = running.contains(document.activeElement);
    running.remove();
    if (end.found.length) show(end.found);
    list?.tell();
    const said = sentence({ query, total }, end);
    status.textContent = said
      ? format.say(...said)
      : format.count("found", end.found.length, { query });
    if (hadFocus) document.getElementById("search").focus();
  }

  return { fill };
})();

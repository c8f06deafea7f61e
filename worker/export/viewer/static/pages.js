// The pages: an overview, and one for each dataset, which shows everything, a month, or what was
// found. A page is a title, what stands under it, and what is to be done when it is there.

"use strict";

carryout.pages = (() => {
  const { el, data, format, months } = carryout;

  // The address of a page. `period`, `query` and `oldest` are what `route` reads out of it.
  function href(name, { period = null, query = "", oldest = false } = {}) {
    const options = new URLSearchParams();
    if (query) options.set("q", query);
    if (oldest) options.set("order", "oldest");
    const path = ["#", ...(name ? [name] : []), ...(period ? [period] : [])].join("/");
    return options.toString() ? `${path}?${options}` : path;
  }

  function route(hash) {
    const [path, options] = hash.replace(/^#?\/?/, "").split("?");
    const [name, period = null] = path.split("/");
    const given = new URLSearchParams(options);
    const query = (given.get("q") ?? "").trim();
    return { name, period, query, oldest: given.get("order") === "oldest" };
  }

  const quiet = (text) => el("p", { class: "quiet" }, text);

  // --- The overview ---

  function interval({ from, to }) {
    if (!from && !to) return null;
    const name = from && to ? "between" : from ? "since" : "until";
    return quiet(format.say(name, { from: from && format.time(from), to: to && format.time(to) }));
  }

  function card(dataset) {
    const rows = format.count("rows", data.total(dataset));
    return el("li", {}, el("a", { class: "card", href: href(dataset.name) },
      el("strong", {}, format.title(dataset)), quiet(rows), quiet(months.span(dataset) ?? "")));
  }

  function overview(index) {
    const written = index.datasets.filter((one) => one.prose);
    const calendars = written.map((one) =>
      months.calendar(one, { href: (period) => href(one.name, { period }) }),
    );
    return {
      title: format.say("title", { user: index.user }),
      content: [
        quiet(format.say("exported", { time: format.time(index.exported_at) })),
        interval(index),
        el("ul", { class: "cards" }, index.datasets.map(card)),
        ...calendars,
      ],
    };
  }

  // --- A dataset ---

  function searchForm(dataset, query) {
    const label = format.say("searchIn", { title: format.title(dataset) });
    const attributes = { type: "search", id: "search", autocomplete: "off", placeholder: label };
    const input = el("input", { ...attributes, value: query });
    const form = el("form", { role: "search", class: "search" },
      el("label", { for: "search", class: "unseen" }, label), input,
      el("button", { type: "submit" }, format.say("search")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      location.hash = href(dataset.name, { query: input.value.trim() });
    });
    return form;
  }

  function orders(dataset, { period, oldest }) {
    if (!dataset.chronological) return null;
    const one = (word, isOldest) => {
      const attributes = { "aria-current": isOldest === oldest ? "true" : null };
      return el("a", { href: href(dataset.name, { period, oldest: isOldest }), ...attributes },
        format.say(word));
    };
    const label = format.say("order");
    return el("div", { class: "orders", role: "group", "aria-label": label },
      one("newest", false), one("oldest", true));
  }

  function neighbours(dataset, { period, oldest }) {
    const periods = data.periods(dataset);
    const at = periods.findIndex((one) => one.name === period);
    const link = (step, word) => {
      const found = periods[at + step];
      if (!found) return el("span");
      const address = href(dataset.name, { period: found.name, oldest });
      return el("a", { href: address }, format.say(word, { period: format.period(found.name) }));
    };
    return el("div", { class: "split" }, link(-1, "earlier"), link(1, "later"));
  }

  function single(dataset, { signal }) {
    const place = el("div");
    const start = async () => {
      const row = await data.row(dataset, 0);
      if (!signal.aborted) place.append(carryout.rows.facts(dataset, row));
    };
    return { title: format.title(dataset), content: [place], start };
  }

  function found(dataset, { query, oldest, signal }) {
    const place = el("div", { class: "place" });
    const link = dataset.periods.length
      ? (moment) => href(dataset.name, { period: months.periodOf(dataset, moment) })
      : null;
    const options = { query, newestFirst: dataset.chronological && !oldest, link, signal };
    const clear = href(dataset.name, { oldest });
    const start = () => carryout.results.fill(place, dataset, { ...options, clear });
    return { title: format.title(dataset), content: [searchForm(dataset, query), place], start };
  }

  function rowsOf(dataset, period) {
    if (period === null) return { from: 0, to: data.total(dataset) };
    return data.periods(dataset).find((one) => one.name === period) ?? null;
  }

  function listed(dataset, { period, oldest, signal }) {
    const rows = rowsOf(dataset, period);
    if (!rows) return null;
    const positions = carryout.list.range(rows.from, rows.to, dataset.chronological && !oldest);
    const { whole, start } = carryout.list.list(dataset, positions, { signal });
    const head = el("div", { class: "split" },
      quiet(format.count("rows", rows.to - rows.from)), orders(dataset, { period, oldest }));
    const title = format.title(dataset);
    return {
      title: period ? `${title}: ${format.period(period)}` : title,
      content: [searchForm(dataset, ""), head, whole, period && neighbours(dataset, { period, oldest })],
      start,
    };
  }

  // A page of a dataset; null when there is none for such a period.
  function page(dataset, options) {
    const total = data.total(dataset);
    if (!total) return { title: format.title(dataset), content: [quiet(format.say("empty"))] };
    if (total === 1 && !dataset.prose) return single(dataset, options);
    const { period, query, oldest } = options;
    const made = query ? found(dataset, options) : listed(dataset, options);
    const address = (name) => href(dataset.name, { period: name, oldest });
    const side = () => months.choice(dataset, { chosen: query ? null : period, href: address });
    return made && { ...made, side };
  }

  return { href, route, overview, page };
})();

// Months and how many rows each has: as a list to choose from, and as a calendar of all years.

"use strict";

carryout.months = (() => {
  const { el, data, format } = carryout;

  const MONTHS = Array.from({ length: 12 }, (_, index) => String(index + 1).padStart(2, "0"));

  // Where times are far apart, the index counts years, decades or centuries instead.
  const isMonth = (period) => period.length === 7;
  const yearOf = (period) => period.slice(0, 4);

  function byYear(periods) {
    const years = new Map();
    for (const one of periods) {
      const year = yearOf(one.name);
      years.set(year, [...(years.get(year) ?? []), one]);
    }
    return years;
  }

  const sum = (periods) => periods.reduce((total, one) => total + one.rows, 0);
  const most = (periods) => Math.max(...periods.map((one) => one.rows));

  function named(name, rows) {
    return [el("span", {}, name), el("span", { class: "number" }, format.number(rows))];
  }

  function bar(share) {
    const element = el("span", { class: "bar", "aria-hidden": "true" });
    element.style.inlineSize = `${Math.max(1, 100 * share)}%`;
    return element;
  }

  function entry({ name, rows }, { href, chosen, largest }) {
    const label = isMonth(name) ? format.month(name) : format.period(name);
    const attributes = { href: href(name), "aria-current": name === chosen ? "page" : null };
    return el("li", {}, el("a", attributes, named(label, rows), bar(rows / largest)));
  }

  function year(name, periods, options) {
    const open = name === yearOf(options.chosen ?? options.newest);
    const list = el("ul", {}, periods.map((one) => entry(one, options)));
    return el("details", { open }, el("summary", {}, named(name, sum(periods))), list);
  }

  // A list to choose from; `href` gives the address of a period, or of everything.
  function choice(dataset, { chosen, href }) {
    const periods = data.periods(dataset).reverse();
    if (periods.length < 2) return null;
    const options = { chosen, href, largest: most(periods), newest: periods[0].name };
    const attributes = { href: href(null), "aria-current": chosen ? null : "page", class: "all" };
    const all = el("a", attributes, named(format.say("all"), data.total(dataset)));
    const list = isMonth(periods[0].name)
      ? [...byYear(periods)].map(([name, some]) => year(name, some, options))
      : el("ul", {}, periods.map((one) => entry(one, options)));
    const open = matchMedia("(min-width: 60rem)").matches;
    const whole = el("details", { open }, el("summary", {}, format.say("byMonth")), all, list);
    return el("nav", { class: "months card", "aria-label": format.say("byMonth") }, whole);
  }

  function cell(period, { href, largest }) {
    if (!period) return el("td");
    const level = Math.ceil((4 * period.rows) / largest);
    const name = format.period(period.name);
    const title = `${name}: ${format.count("rows", period.rows)}`;
    return el("td", {}, el("a", { href: href(period.name), class: `level-${level}`, title },
      el("span", { class: "unseen" }, `${name}: `), el("span", {}, format.compact(period.rows))));
  }

  function line(name, periods, options) {
    const found = new Map(periods.map((one) => [one.name.slice(5), one]));
    const cells = MONTHS.map((month) => cell(found.get(month), options));
    return el("tr", {}, el("th", { scope: "row" }, name), cells);
  }

  // A table of years and months, where more rows have a stronger colour; null without months.
  function calendar(dataset, { href }) {
    const periods = data.periods(dataset);
    if (!periods.length || !isMonth(periods[0].name)) return null;
    const options = { href, largest: most(periods) };
    const heads = MONTHS.map((_, index) =>
      el("th", { scope: "col" }, el("span", {}, format.shortMonth(index)),
        el("span", { class: "narrow", "aria-hidden": "true" }, format.number(index + 1))),
    );
    const lines = [...byYear(periods.reverse())].map(([name, some]) => line(name, some, options));
    const caption = format.say("titleByMonth", { title: format.title(dataset) });
    return el("section", { class: "card" },
      el("table", { class: "calendar" },
        el("caption", {}, el("h2", {}, caption)),
        el("thead", {}, el("tr", {}, el("td"), heads)),
        el("tbody", {}, lines)));
  }

  // Which period of a dataset holds a moment.
  const periodOf = (dataset, moment) => moment.slice(0, dataset.periods[0][0].length);

  // "March 2024 – May 2026".
  function span(dataset) {
    if (!dataset.periods.length) return null;
    const ends = [dataset.periods[0], dataset.periods.at(-1)].map(([name]) => format.period(name));
    return ends[0] === ends[1] ? ends[0] : ends.join(" – ");
  }

  return { choice, calendar, periodOf, span };
})();

// Rows as people see them: what somebody wrote as a card, everything else as a table, and a single
// row as a list of its fields.

"use strict";

carryout.rows = (() => {
  const { el, marked, format } = carryout;

  const INLINE = 60; // characters of JSON that stand on one line

  function json(value, pattern) {
    const short = JSON.stringify(value);
    if (short.length <= INLINE) return el("code", {}, marked(short, pattern));
    return el("pre", {}, marked(JSON.stringify(value, null, 2), pattern));
  }

  function time(text) {
    return el("time", { datetime: text }, format.time(text));
  }

  // An identifier is no amount: it has no thousands.
  const isId = (name) => /(^|_)id$/.test(name);

  function value(row, [name, kind], pattern) {
    const found = row[name];
    if (found === null || found === undefined || found === "") {
      return el("span", { class: "quiet" }, format.say("none"));
    }
    if (kind === "time") return time(found);
    if (kind === "date") return el("time", { datetime: found }, format.date(found));
    if (kind === "boolean") return format.say(found ? "yes" : "no");
    if (kind === "integer") return isId(name) ? String(found) : format.number(found);
    if (kind === "json") return json(found, pattern);
    if (kind === "uuid") return el("code", {}, marked(found, pattern));
    const text = format.value(name, found);
    return el("bdi", { dir: "auto" }, marked(text, pattern));
  }

  function facts(dataset, row, fields, pattern) {
    const list = fields.flatMap((field) => [
      el("dt", {}, format.field(field[0])),
      el("dd", {}, value(row, field, pattern)),
    ]);
    return el("dl", {}, list);
  }

  function card(dataset, row, { pattern, link }) {
    const [prose, moment] = [row[dataset.prose], row[dataset.time]];
    const others = dataset.fields.filter(([name]) => ![dataset.prose, dataset.time].includes(name));
    const when = link ? el("a", { href: link(moment) }, time(moment)) : time(moment);
    const body = el("p", { class: "body", dir: "auto" }, marked(prose, pattern));
    const more = others.length ? facts(dataset, row, others, pattern) : null;
    return el("li", {}, el("article", { class: "card" }, body, more, el("p", { class: "quiet" }, when)));
  }

  function line(dataset, row, { pattern }) {
    const cells = dataset.fields.map((field, index) =>
      el(index ? "td" : "th", { role: index ? "cell" : "rowheader", scope: index ? null : "row", class: field[1] },
        el("span", { class: "label", "aria-hidden": "true" }, format.field(field[0])),
        el("div", {}, value(row, field, pattern))),
    );
    return el("tr", { role: "row" }, cells);
  }

  // Roles are said, for on a phone the style sheet makes cards of the lines.
  function table(dataset) {
    const heads = dataset.fields.map(([name]) =>
      el("th", { scope: "col", role: "columnheader" }, format.field(name)),
    );
    const body = el("tbody", { role: "rowgroup" });
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads));
    const caption = el("caption", { class: "unseen" }, format.title(dataset));
    const whole = el("table", { role: "table" }, caption, head, body);
    const scroll = { class: "card scroll", role: "region", tabindex: "0", "aria-label": format.title(dataset) };
    return { whole: el("div", scroll, whole), body };
  }

  return {
    facts: (dataset, row) => el("div", { class: "card" }, facts(dataset, row, dataset.fields, null)),

    // A place for rows, and a function that makes one of them.
    place(dataset) {
      if (dataset.prose) {
        const list = el("ol", { class: "posts" });
        return { whole: list, body: list, make: (row, options) => card(dataset, row, options) };
      }
      return { ...table(dataset), make: (row, options) => line(dataset, row, options) };
    },
  };
})();

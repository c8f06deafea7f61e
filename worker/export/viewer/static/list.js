// Rows, some at a time: those at certain positions, and a button for the next ones.

"use strict";

carryout.list = (() => {
  const { el, format } = carryout;

  const AT_ONCE = 100;

  // `positions` has a length and `at(index)`, as an array has; it may grow, which `tell` shows.
  function list(dataset, positions, { signal, pattern = null, link = null }) {
    const { whole, body, make } = carryout.rows.place(dataset);
    const status = el("p", { role: "status", class: "quiet", tabindex: "-1" });
    const button = el("button", { type: "button", class: "second", hidden: true }, format.say("more"));
    let shown = 0;

    function tell() {
      const facts = { shown: format.number(shown), total: format.number(positions.length) };
      const isWhole = shown === positions.length;
      status.textContent = isWhole && shown <= AT_ONCE ? "" : format.say("shown", facts);
      button.hidden = isWhole;
    }

    async function more() {
      const until = Math.min(positions.length, shown + AT_ONCE);
      const rows = [];
      for (let index = shown; index < until; index += 1) {
        rows.push(await carryout.data.row(dataset, positions.at(index)));
        if (signal.aborted) return;
      }
      body.append(...rows.map((row) => make(row, { pattern, link })));
      const hadFocus = document.activeElement === button;
      shown = until;
      tell();
      if (hadFocus && button.hidden) status.focus();
    }

    const start = () =>
      more().catch(() => {
        status.textContent = format.say("broken");
      });
    button.addEventListener("click", start);
    const foot = el("div", { class: "more" }, status, button);
    return { whole: el("div", { class: "rows" }, whole, foot), start, tell };
  }

  // The positions from one up to another, counted from either end.
  const range = (from, to, backwards) => ({
    length: to - from,
    at: (index) => (backwards ? to - 1 - index : from + index),
  });

  return { list, range };
})();

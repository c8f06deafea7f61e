// Finds rows by what stands in them: a plain look at each, file by file, which takes less time than
// an index would take to load. All words must be there, in any order and in any case.

"use strict";

carryout.search = (() => {
  const WRITTEN = new Set(["text", "enum", "uuid", "decimal", "json"]);
  const SLICE_MS = 24; // at most, between two moments in which the page can react
  const AHEAD = 4; // files that load while one is searched

  // Both ways in which Unicode writes the same letter: posts are kept as they were typed.
  function terms(query) {
    const words = query.trim().split(/\s+/u).filter(Boolean);
    return words.map((word) => [
      ...new Set(["NFC", "NFD"].map((form) => word.normalize(form).toLowerCase())),
    ]);
  }

  function textOf(dataset) {
    const names = dataset.fields.filter(([, kind]) => WRITTEN.has(kind)).map(([name]) => name);
    const text = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? ""));
    if (names.length === 1) return (row) => text(row[names[0]]).toLowerCase();
    return (row) => names.map((name) => text(row[name])).join("\n").toLowerCase();
  }

  function fits(text, wanted) {
    return wanted.every((forms) => forms.some((form) => text.includes(form)));
  }

  // Nothing, as soon as the search is ended; a file may be on a disk that hangs.
  const ended = (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve()));

  const pause = () => new Promise((resolve) => setTimeout(resolve));

  return {
    terms,

    // What is to be marked in a text; nothing where a letter has another length in lower case.
    pattern(query) {
      const forms = terms(query).flat();
      if (!forms.length) return null;
      const escaped = forms.map((form) => form.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
      escaped.sort((one, other) => other.length - one.length);
      return new RegExp(escaped.join("|"), "giu");
    },

    // Looks at all rows, the newest first or the oldest.
    //
    // `tell(done, found)` is called again and again, with the number of rows that were looked at
    // and the positions of those that fit. Ends early when `signal` says so.
    async run(dataset, query, { newestFirst, signal, tell }) {
      const wanted = terms(query);
      const text = textOf(dataset);
      const numbers = dataset.files.map((_, index) => index + 1);
      if (newestFirst) numbers.reverse();
      const found = [];
      let done = 0;
      let paused = performance.now();
      const end = ended(signal);
      for (const [index, number] of numbers.entries()) {
        for (const next of numbers.slice(index + 1, index + 1 + AHEAD)) {
          carryout.data.file(dataset, next).catch(() => {}); // said when its turn comes
        }
        const rows = await Promise.race([carryout.data.file(dataset, number), end]);
        if (signal.aborted) return { done, found };
        const start = carryout.data.start(dataset, number);
        for (let step = 0; step < rows.length; step += 1) {
          const at = newestFirst ? rows.length - 1 - step : step;
          if (fits(text(rows[at]), wanted)) found.push(start + at);
          done += 1;
          if (step % 256 === 255 && performance.now() - paused > SLICE_MS) {
            tell(done, found);
            await pause();
            if (signal.aborted) return { done, found };
            paused = performance.now();
          }
        }
      }
      return { done, found };
    },
  };
})();

// Finds rows by what stands in them: a plain look at each, file by file, which takes less time than
// an index would take to load. All words must be there, in any order and in any case.

"use strict";

carryout.search = (() => {
  const WRITTEN = new Set(["text", "enum", "uuid", "decimal", "json"]);
  const SLICE_MS = 24; // at most, between two moments in which the page can react
  const AHEAD = 2; // files that load while one is searched

  // Each word in both ways in which Unicode writes the same letter: posts are kept as they were
  // typed.
  function terms(query) {
    const words = query.trim().split(/\s+/u).filter(Boolean);
    return words.map((word) => [
      ...new Set(["NFC", "NFD"].map((form) => word.normalize(form).toLowerCase())),
    ]);
  }

  const fits = (text, wanted) => wanted.every((forms) => forms.some((form) => text.includes(form)));

  // All that people read of a row, in lower case.
  function reader(dataset) {
    const names = dataset.fields.filter(([, kind]) => WRITTEN.has(kind)).map(([name]) => name);
    const text = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? ""));
    return (row) => names.map((name) => text(row[name])).join("\n").toLowerCase();
  }

  // Which rows of a file may fit: those whose JSON has the words. It is many times faster to look at
  // the text of the file than to parse it. But where a field is JSON itself, its letters may be
  // written as escapes, so that every row must be looked at.
  function sieve(dataset, wanted) {
    if (dataset.fields.some(([, kind]) => kind === "json")) {
      return (text) => text.split("\n").slice(1, -1).map((_, index) => index);
    }
    const escaped = (form) => JSON.stringify(form).slice(1, -1).replaceAll("<", "\\u003c");
    const written = wanted.map((forms) => forms.map(escaped));
    return (text) => {
      const lower = text.toLowerCase();
      if (!fits(lower, written)) return [];
      const found = [];
      const lines = lower.split("\n");
      for (let index = 1; index < lines.length - 1; index += 1) {
        if (fits(lines[index], written)) found.push(index - 1);
      }
      return found;
    };
  }

  // Nothing, as soon as the search is ended; a file may be on a disk that hangs.
  const ended = (signal) =>
    new Promise((resolve) => signal.addEventListener("abort", () => resolve()));

  const pause = () => new Promise((resolve) => setTimeout(resolve));

  return {
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
      const read = reader(dataset);
      const sift = sieve(dataset, wanted);
      const numbers = dataset.files.map((_, index) => index + 1);
      if (newestFirst) numbers.reverse();
      const end = ended(signal);
      const found = [];
      let done = 0;
      let paused = performance.now();
      for (const [index, number] of numbers.entries()) {
        for (const next of numbers.slice(index + 1, index + 1 + AHEAD)) {
          carryout.data.file(dataset, next).catch(() => {}); // said when its turn comes
        }
        const file = await Promise.race([carryout.data.file(dataset, number), end]);
        if (signal.aborted) break;
        const start = carryout.data.start(dataset, number);
        const some = sift(file.text).filter((at) => fits(read(file.row(at)), wanted));
        if (newestFirst) some.reverse();
        for (const at of some) found.push(start + at);
        done += dataset.files[number - 1];
        if (performance.now() - paused > SLICE_MS) {
          tell(done, found);
          await pause();
          if (signal.aborted) break;
          paused = performance.now();
        }
      }
      return { done, found };
    },
  };
})();

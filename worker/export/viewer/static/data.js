// The rows, which are in files that load when they are needed.
//
// A page from a disk may not read files, but it may show them in frames: each file of data sends one
// JSON text to the page that shows it. A frame is in a sandbox and is taken away as soon as it has
// sent its text, so that a browser can forget it. A row's position is its number in the dataset's
// order; the index knows how many rows each file holds, and each month.

"use strict";

carryout.data = (() => {
  const KEPT_CHARACTERS = 32_000_000; // of files, so that a tab can read any archive to its end
  const GRACE_MS = 2000; // a text may come after the news that its frame is loaded

  const kept = new Map(); // what was loaded, the least recently used first

  function read(path) {
    return new Promise((resolve, reject) => {
      const frame = carryout.el("iframe", { src: path, sandbox: "allow-scripts", hidden: true });
      const hear = ({ source, data }) => {
        if (source === frame.contentWindow) end(() => resolve(data));
      };
      const end = (act) => {
        removeEventListener("message", hear);
        frame.remove();
        act();
      };
      addEventListener("message", hear);
      // A frame loads an explanation, too, where there is no such file.
      frame.addEventListener("load", () => {
        setTimeout(() => end(() => reject(new Error(path))), GRACE_MS);
      });
      document.body.append(frame);
    });
  }

  function keep(key, file) {
    kept.delete(key);
    kept.set(key, file);
    let total = 0;
    for (const { size } of kept.values()) total += size;
    for (const [old, { size }] of kept) {
      if (total <= KEPT_CHARACTERS || old === key) break;
      kept.delete(old);
      total -= size;
    }
  }

  // A row a line: to read one, the others need not be parsed.
  function opened(text) {
    let lines = null;
    const line = (index) => {
      lines ??= text.split("\n");
      return lines[index + 1]; // the first is the bracket
    };
    return { text, row: (index) => JSON.parse(line(index).replace(/,$/, "")) };
  }

  // A file of a dataset; the first is number 1.
  function file(dataset, number) {
    const key = `${dataset.name}/${number}`;
    const found = kept.get(key);
    if (found) {
      keep(key, found);
      return found.file;
    }
    const path = `viewer/data/${dataset.name}-${String(number).padStart(4, "0")}.html`;
    const entry = { size: 0 };
    entry.file = read(path).then((text) => {
      entry.size = text.length;
      keep(key, entry);
      return opened(text);
    });
    entry.file.catch(() => kept.delete(key));
    keep(key, entry);
    return entry.file;
  }

  // Where each file begins, and where the last one ends.
  function starts(dataset) {
    if (!dataset.starts) {
      dataset.starts = [0];
      for (const rows of dataset.files) dataset.starts.push(dataset.starts.at(-1) + rows);
    }
    return dataset.starts;
  }

  // Which file holds a position.
  function fileAt(dataset, position) {
    const found = starts(dataset);
    let low = 0;
    let high = dataset.files.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (found[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  }

  return {
    file,
    start: (dataset, number) => starts(dataset)[number - 1],
    total: (dataset) => starts(dataset).at(-1),

    async row(dataset, position) {
      const number = fileAt(dataset, position);
      const { row } = await file(dataset, number);
      return row(position - starts(dataset)[number - 1]);
    },

    // Each period with the positions of its rows: from the first, up to the one before `to`.
    periods(dataset) {
      let from = 0;
      return dataset.periods.map(([name, rows]) => ({ name, rows, from, to: (from += rows) }));
    },

    index: async () => JSON.parse(await read("viewer/data/index.html")),
  };
})();

// The rows, which are in files that load when they are needed.
//
// A page from a disk may not read files, but it may run scripts: each file of data calls
// `carryout.add` with one JSON text. A row's position is its number in the dataset's order; the
// index knows how many rows each file holds, and each month.

"use strict";

carryout.data = (() => {
  const KEPT_CHARACTERS = 48_000_000; // of files, so that a tab can read any archive to its end

  const waiting = new Map(); // what to do with a file that is being loaded
  const kept = new Map(); // what was loaded, the least recently used first

  carryout.add = (name, number, text) => waiting.get(`${name}/${number}`)?.(text);

  function read(path, name, number) {
    return new Promise((resolve, reject) => {
      const key = `${name}/${number}`;
      const script = carryout.script(path);
      const end = (act) => {
        waiting.delete(key);
        script.remove();
        act();
      };
      waiting.set(key, (text) => end(() => resolve(text)));
      // A script that ran has called already; one that could not be parsed never does.
      script.addEventListener("load", () => end(() => reject(new Error(path))));
      script.addEventListener("error", () => end(() => reject(new Error(path))));
      document.head.append(script);
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
    const path = `viewer/data/${dataset.name}-${String(number).padStart(4, "0")}.js`;
    const entry = { size: 0 };
    entry.file = read(path, dataset.name, number).then((text) => {
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

    index: async () => JSON.parse(await read("viewer/index.js", "index", 0)),
  };
})();

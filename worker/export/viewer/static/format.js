// Sentences, numbers and times in the language that was chosen. Times are in UTC, as everywhere in
// Carryout, so that a row stands under the month that it was counted for.

"use strict";

carryout.format = (() => {
  let code = "en";
  let formats = {};

  // Intl's own objects take long to make, so each is made once for a language.
  function format(name, make) {
    return (formats[name] ??= make());
  }

  const words = () => carryout.words[code];

  function fill(sentence, facts) {
    return sentence.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
  }

  function number(value) {
    return format("number", () => new Intl.NumberFormat(code, { useGrouping: true })).format(value);
  }

  function moment(name, options, value) {
    const make = () => new Intl.DateTimeFormat(code, { timeZone: "UTC", ...options });
    return format(name, make).format(value);
  }

  const dateOf = (month) => new Date(`${month}-01T00:00Z`);

  return {
    get code() {
      return code;
    },

    use(language) {
      code = language in carryout.words ? language : "en";
      formats = {};
    },

    say: (name, facts = {}) => fill(words()[name], facts),

    // A sentence in the form that belongs to a number.
    count(name, value, facts = {}) {
      const rules = format("plural", () => new Intl.PluralRules(code));
      const forms = words()[name];
      const form = forms[rules.select(value)] ?? forms.other;
      return fill(form, { ...facts, number: number(value) });
    },

    number,

    // "1.2K", where there is little room.
    compact(value) {
      const make = () => new Intl.NumberFormat(code, { notation: "compact" });
      return format("compact", make).format(value);
    },

    time(text) {
      const date = new Date(text);
      if (Number.isNaN(date.valueOf())) return text;
      const options = { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" };
      return `${moment("time", options, date)} UTC`;
    },

    date(text) {
      const date = new Date(`${text}T00:00Z`);
      return Number.isNaN(date.valueOf()) ? text : moment("date", { dateStyle: "medium" }, date);
    },

    // "2026-01" as "January 2026"; "2026" as it is; "202" as "2020–2029".
    period(text) {
      if (text.length === 7) {
        return moment("month", { year: "numeric", month: "long" }, dateOf(text));
      }
      if (text.length === 4) return text;
      return `${text.padEnd(4, "0")}–${text.padEnd(4, "9")}`;
    },

    month: (text) => moment("monthOnly", { month: "long" }, dateOf(text)),
    shortMonth: (index) => moment("shortMonth", { month: "short" }, new Date(Date.UTC(2026, index, 1))),

    title: (dataset) => dataset.titles[code],

    field(name) {
      const known = words().fields;
      if (Object.hasOwn(known, name)) return known[name];
      const spaced = name.replaceAll("_", " ");
      return spaced.charAt(0).toUpperCase() + spaced.slice(1);
    },

    // A word of ours for a value of ours, such as a status; any other value as it is.
    value(field, text) {
      const known = Object.hasOwn(words().values, field) ? words().values[field] : {};
      return Object.hasOwn(known, text) ? known[text] : text;
    },
  };
})();

// What is shown, as a file of comma-separated values. Lives here: the form after RFC 4180, and the download.
// Not here: which rows.

// A spreadsheet takes a cell that begins so for a formula and runs it; a quote before it makes it text again. A number
// may begin with a minus.
const FORMULA = /^[=+\-@\t\r]/;
const NUMBER = /^-?\d+(\.\d+)?$/;

function cell(value) {
  if (value == null) return "";
  const said = String(value).replaceAll("\0", "");
  const safe = FORMULA.test(said) && !NUMBER.test(said) ? `'${said}` : said;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The file: a heading and rows, all values by their place. null is an empty cell. */
export function csv(heading, rows) {
  return [heading, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Hands a file to the person. name: without ending. */
export function save(name, heading, rows) {
  const file = new Blob(["\uFEFF", csv(heading, rows)], { type: "text/csv;charset=utf-8" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${name.replace(/[^\w.-]+/g, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Asking a person for a few words. Lives here: the dialog. Not here: what becomes of the answer.

import { el } from "./dom.js";

let count = 0;

/**
 * Asks. title: the question; button: what is done then; fields: [{name, label, value, required, max, options, more}],
 * with options ([value, words]) a choice instead of a line, and more any attributes besides. Resolves to
 * {name: trimmed text}, or to null where the dialog was left.
 */
export function ask(title, button, fields, words = "") {
  return new Promise((resolve) => {
    count += 1;
    const id = `ask-${count}`;
    const inputs = fields.map((field) => input(field, `${id}-${field.name}`));
    let said = null;
    const dialog = el(
      "dialog",
      {
        "aria-labelledby": id,
        close: () => {
          dialog.remove();
          resolve(said);
        },
      },
      el(
        "form",
        {
          method: "dialog",
          submit: (event) => {
            const read = Object.fromEntries(fields.map((field, i) => [field.name, inputs[i].value.trim()]));
            const empty = fields.findIndex((field) => field.required && !read[field.name]);
            if (empty >= 0) {
              event.preventDefault();
              inputs[empty].focus();
            } else said = read;
          },
        },
        el("h2", { id }, title),
        words ? el("p.sub", {}, words) : null,
        ...fields.map((field, i) =>
          el("label.field", { for: inputs[i].id }, el("span.sub", {}, field.label), inputs[i]),
        ),
        el(
          "div.row",
          {},
          el("button.main", {}, button),
          el("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        ),
      ),
    );
    document.body.prepend(dialog);
    dialog.showModal();
    inputs[0]?.focus();
    inputs[0]?.select?.();
  });
}

function input({ name, value = "", required = false, max = 500, options = null, more = {} }, id) {
  if (!options) return el("input", { id, name, required, maxlength: max, value, ...more });
  const node = el(
    "select",
    { id, name },
    ...options.map(([key, words]) => el("option", { value: key }, words)),
  );
  if (value) node.value = value;
  return node;
}

// The actions: operator requests with the token in a header, and the dead letters.

import { $, createElement, formatNumber, formatTime, pluralize } from "./elements.js";

const TOKEN_KEY = "importer-token";

const showResult = (text) => { $("action-result").textContent = text; };
const showError = (error) => showResult(`Failed: ${error.message.replace(/\.$/, "")}.`);

async function fetchJson(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers, credentials: "omit" });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `the producer returned status ${response.status}`);
  return body;
}

export async function post(path, body, success) {
  try {
    await fetchJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    showResult(success);
    return true;
  } catch (error) {
    showError(error);
    return false;
  }
}

// Resolves to what the operator entered, or to null where the dialog was cancelled.
function confirmAction(title, text, { withReason }) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-reason-line").hidden = !withReason;
  $("confirm-reason").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const close = () => resolve(dialog.returnValue === "confirm" ? { reason: $("confirm-reason").value } : null);
    dialog.addEventListener("close", close, { once: true });
  });
}

export async function rewindService(name, ordinal) {
  const text = `Its ordinal goes from ${ordinal} to 0, and everything is imported again.`;
  const confirmed = await confirmAction(`Rewind ${name}?`, text, { withReason: true });
  if (confirmed) await post(`api/rewind/${name}`, { to: 0, reason: confirmed.reason }, `${name} rewound to ordinal 0.`);
}

const ACTIONS = {
  run: () => post("api/run", { services: [] }, "Run requested."),
  resume: () => post("api/resume", {}, "Import resumed."),
  undo: () => post("api/rewind-undo", {}, "Rewind undone."),
  pause: async () => {
    const confirmed = await confirmAction("Pause the import?", "The batch in flight is settled first.", { withReason: true });
    if (confirmed) await post("api/pause", { reason: confirmed.reason }, "Import paused.");
  },
  "dead-letters": () => listDeadLetters(),
};

async function listDeadLetters(prefix = "") {
  try {
    const { total, deadLetters } = await fetchJson("api/dead-letters");
    $("dead-letters-section").hidden = false;
    $("dead-letters").tBodies[0].replaceChildren(...deadLetters.map(createDeadLetterRow));
    const limited = deadLetters.length < total ? `, showing the first ${formatNumber(deadLetters.length)}` : "";
    showResult(prefix + (total ? `${pluralize(total, "dead letter")}${limited}.` : "There are no dead letters."));
  } catch (error) {
    showError(error);
  }
}

function createDeadLetterRow(deadLetter) {
  const createButton = (text, onClick) => {
    const button = createElement("button", { type: "button", "aria-label": `${text} ${deadLetter.id}` }, text);
    button.addEventListener("click", onClick);
    return button;
  };
  const { subject, reason, error } = deadLetter;
  const requested = "Retry requested: the entity is sent again if SISU still has this version.";
  return createElement(
    "tr", {},
    createElement("th", { scope: "row" }, deadLetter.id),
    createElement("td", { "data-label": "service" }, deadLetter.service),
    createElement("td", { class: "failure", "data-label": "reason" }, error ? `${reason}: ${error}` : reason),
    createElement("td", { "data-label": "first failure" }, formatTime(deadLetter.firstFailedAt ?? deadLetter.failedAt)),
    createElement("td", { "data-label": "last failure" }, formatTime(deadLetter.failedAt)),
    createElement("td", { class: "number", "data-label": "failures" }, String(deadLetter.count)),
    createElement("td", {},
      createButton("Show", () => showDeadLetter(subject)),
      createButton("Retry", () => post("api/dead-letters/retry", { subjects: [subject] }, requested)),
      createButton("Drop", () => dropDeadLetter(subject))),
  );
}

async function dropDeadLetter(subject) {
  const text = "It is deleted permanently. The entity is imported again only when it changes.";
  const confirmed = await confirmAction("Drop this dead letter?", text, { withReason: false });
  const success = "Dead letter deleted.";
  if (confirmed && await post("api/dead-letters/drop", { subjects: [subject] }, success)) await listDeadLetters(`${success} `);
}

async function showDeadLetter(subject) {
  try {
    const deadLetter = await fetchJson(`api/dead-letters/show?subject=${encodeURIComponent(subject)}`);
    $("dead-letter-text").textContent = JSON.stringify(deadLetter, null, 2);
    $("dead-letter").showModal();
    $("dead-letter").addEventListener("close", () => { $("dead-letter-text").textContent = ""; }, { once: true });
  } catch (error) {
    showError(error);
  }
}

// --- start ----------------------------------------------------------------------------------------------------------

export function connectActions() {
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => ACTIONS[button.dataset.action]());
  }
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN_KEY, $("token").value);
    $("token").value = "";
    showResult("Token saved until this tab is closed.");
  });
  $("clear-token").addEventListener("click", () => {
    sessionStorage.removeItem(TOKEN_KEY);
    showResult("Token cleared.");
  });
}

// The dashboard: renders the snapshots that /api/events sends. Actions are in `actions.js`.

import { connectActions, post, rewindService } from "./actions.js";
import { $, createBarChart, createElement, formatNumber, formatTime, pluralize, setText, useTimeZone } from "./elements.js";

const RECONNECT_MILLISECONDS = 3000;

let snapshot = null;

function render(newest) {
  snapshot = newest;
  useTimeZone(snapshot.timezone);
  renderInstance(snapshot.instance);
  renderDiagnosis(snapshot.diagnosis);
  renderRun();
  renderServices();
  renderRuns(snapshot.runs);
}

function renderInstance(instance) {
  const name = instance ? `importer-api ${instance}` : "importer-api";
  if (document.title !== name) document.title = name;
  setText($("name"), name);
}

function renderDiagnosis(diagnosis) {
  const kind = diagnosis.healthy ? "healthy" : "problem";
  if ($("diagnosis").className !== kind) $("diagnosis").className = kind;
  setText($("message"), diagnosis.message);
  setText($("hint"), diagnosis.hint);
}

const activeState = () => snapshot.producers.map((process) => process.producer).find((state) => state && state.phase !== "standing_by");

function renderRun() {
  const { throughput, producers, collectors, stanBridges, services } = snapshot;
  const state = activeState();
  const parts = [];
  if (state?.run) {
    parts.push(`${state.run.runId} (${state.run.trigger})`);
    if (state.service) parts.push(`service ${state.serviceNumber} of ${state.run.services}: ${state.service}`);
    if (throughput) parts.push(`${formatNumber(throughput.entities)} entities`);
    if (throughput?.entitiesPerSecond) parts.push(`${formatNumber(Math.round(throughput.entitiesPerSecond))} entities/s`);
    if (throughput?.batchEndsAt) parts.push(`batch ETA ${formatTime(throughput.batchEndsAt)}`);
  } else if (state?.nextRunAt) {
    parts.push(`No run is in progress; the next run starts at ${formatTime(state.nextRunAt)}`);
  } else {
    parts.push("No run is in progress.");
  }
  $("run").textContent = parts.join(" · ");
  const service = services.find((each) => each.name === state?.batch?.service);
  $("batch").hidden = !(state?.batch && service);
  if (state?.batch && service) {
    $("batch-bar").max = Math.max(1, service.scheduled);
    $("batch-bar").value = service.updated;
    const resent = state.batch.resends ? `, resent ${state.batch.resends}×` : "";
    $("batch-text").textContent =
      `${formatNumber(service.updated)} of ${formatNumber(service.scheduled)} settled, ${pluralize(service.outstandingChunks, "chunk")} outstanding${resent}`;
  }
  const running = producers.map((process) => `producer ${process.host}:${process.pid} ${(process.producer?.phase ?? "").replaceAll("_", " ")}`);
  const versions = new Set([...producers, ...collectors].map((process) => `${process.version} (${process.build})`));
  $("processes").textContent = [
    ...(running.length ? running : ["no producer running"]),
    `${pluralize(collectors.length, "collector")} running`,
    ...stanBridges.map((process) => `stan_bridge ${process.host}:${process.pid} ${(process.stanBridge?.phase ?? "").replaceAll("_", " ")}`),
    ...(versions.size ? [`version ${[...versions].sort().join(", ")}`] : []),
  ].join(" · ");
}

function renderServices() {
  const { services } = snapshot;
  const body = $("services").tBodies[0];
  const state = activeState();
  if (body.rows.length !== services.length) body.replaceChildren(...services.map(createServiceRow));
  services.forEach((service, index) => {
    const row = body.rows[index];
    row.classList.toggle("current", state?.service === service.name);
    const [ordinal, batch, rate, history, success, failure, deadLetters] = [...row.cells].slice(1);
    setText(ordinal, service.ordinal === null ? "–" : String(service.ordinal));
    renderBatch(batch, service, state?.batch?.service === service.name);
    setText(rate, service.entitiesPerSecond === null ? "" : formatNumber(Math.round(service.entitiesPerSecond)));
    renderHistory(history, service);
    setText(success, formatTime(service.lastSuccessAt));
    setText(failure, service.lastFailureAt ? `${formatTime(service.lastFailureAt)} ${service.lastFailure ?? ""}` : "");
    setText(deadLetters, service.deadLetters === null ? "?" : service.deadLetters ? formatNumber(service.deadLetters) : "");
  });
}

function createServiceRow({ name }) {
  const rewind = createElement("button", { type: "button", "aria-label": `Rewind ${name}` }, "Rewind");
  const run = createElement("button", { type: "button", "aria-label": `Run ${name} now` }, "Run");
  rewind.addEventListener("click", () => rewindService(name, snapshot.services.find((service) => service.name === name).ordinal ?? 0));
  run.addEventListener("click", () => post("api/run", { services: [name] }, `Run of ${name} requested.`));
  return createElement(
    "tr", {},
    createElement("th", { scope: "row" }, name),
    createElement("td", { class: "number", "data-label": "ordinal" }),
    createElement("td", { "data-label": "batch" }),
    createElement("td", { class: "number", "data-label": "entities/s" }),
    createElement("td", { "data-label": "last runs" }),
    createElement("td", { "data-label": "last success" }),
    createElement("td", { class: "failure", "data-label": "last failure" }),
    createElement("td", { class: "number", "data-label": "dead letters" }),
    createElement("td", {}, run, rewind),
  );
}

function renderBatch(cell, service, inFlight) {
  if (!inFlight) {
    if (cell.firstChild) cell.replaceChildren();
    return;
  }
  if (!cell.firstChild) cell.append(createElement("progress", { "aria-label": `batch of ${service.name}` }));
  cell.firstChild.max = Math.max(1, service.scheduled);
  cell.firstChild.value = service.updated;
}

function renderHistory(cell, service) {
  const values = service.recentEntities.slice(-30);
  const rendered = values.join(",");
  if (cell.dataset.rendered === rendered) return;
  cell.dataset.rendered = rendered;
  const label = `entities in the last ${values.length} runs: ${rendered}`;
  cell.replaceChildren(...(values.some(Boolean) ? [createBarChart(values, 90, 18, label)] : []));
}

function renderRuns(runs) {
  const longest = Math.max(1, ...runs.map(durationSeconds));
  const rendered = JSON.stringify(runs.map((run) => run.runId));
  if ($("runs").dataset.rendered === rendered) return;
  $("runs").dataset.rendered = rendered;
  $("runs").replaceChildren(...runs.map((run) => {
    const entities = run.outcomes.reduce((sum, outcome) => sum + outcome.entities, 0);
    const failed = run.outcomes.filter((outcome) => outcome.result !== "settled").map((outcome) => outcome.service);
    const result = run.complete ? "complete" : run.complete === false ? "incomplete" : "interrupted";
    const text = `${result}${failed.length ? `: ${failed.join(", ")}` : ""}, ${formatNumber(entities)} entities in ${Math.round(durationSeconds(run))} s`;
    const bar = createBarChart([1], 100, 8, text);
    bar.setAttribute("preserveAspectRatio", "none");
    bar.firstChild.setAttribute("width", Math.max(0.5, (100 * durationSeconds(run)) / longest));
    return createElement(
      "li", { class: run.complete ? "complete" : "incomplete" },
      createElement("span", {}, `${formatTime(run.startedAt)} (${run.trigger})`),
      createElement("div", {}, bar, createElement("span", { class: "muted" }, text)),
    );
  }));
}

const durationSeconds = (run) => (run.endedAt ? (new Date(run.endedAt) - new Date(run.startedAt)) / 1000 : 0);

// --- start ----------------------------------------------------------------------------------------------------------

connectActions();
follow();

function follow() {
  const events = new EventSource("api/events");
  events.onmessage = (event) => {
    $("connection").textContent = "live";
    render(JSON.parse(event.data));
  };
  events.onerror = () => {
    $("connection").textContent = "disconnected, reconnecting…";
    // After an error response, like a proxy's 502, the browser does not retry by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, RECONNECT_MILLISECONDS);
  };
}

// The page: draws what /api/events tells, and sends what an operator wishes for, with the token in a header.
// Nothing that comes from the server is ever made into HTML: textContent and attributes only.

const $ = (id) => document.getElementById(id);
const TOKEN = "importer-token";
const SVG = "http://www.w3.org/2000/svg";
let status = null;

// --- drawing --------------------------------------------------------------------------------------------------------

const number = (value) => (value === null || value === undefined ? "" : value.toLocaleString("en").replaceAll(",", " "));

function when(text) {
  if (!text) return "";
  // In the importer's time zone, as the verdict, the command line and the log tell it, wherever the page is read.
  const zone = { timeZone: status?.timezone ?? undefined };
  const moment = new Date(text);
  const sameDay = moment.toLocaleDateString("en-GB", zone) === new Date().toLocaleDateString("en-GB", zone);
  return sameDay ? moment.toLocaleTimeString("en-GB", zone) : moment.toLocaleString("en-GB", zone);
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function bars(values, width, height, label) {
  const svg = document.createElementNS(SVG, "svg");
  const most = Math.max(1, ...values);
  const step = width / Math.max(values.length, 1);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, role: "img" })) {
    svg.setAttribute(name, value);
  }
  svg.setAttribute("aria-label", label);
  values.forEach((value, place) => {
    const tall = value ? Math.max(1, (value / most) * height) : 0;
    const bar = document.createElementNS(SVG, "rect");
    const at = { x: place * step, y: height - tall, width: Math.max(1, step - 1), height: tall };
    for (const [name, number_] of Object.entries(at)) bar.setAttribute(name, number_);
    svg.append(bar);
  });
  return svg;
}

function draw(next) {
  status = next;
  drawVerdict(next);
  drawRun(next);
  drawServices(next);
  drawRuns(next.runs);
}

function drawVerdict({ verdict }) {
  const section = $("verdict");
  const kind = verdict.well ? "well" : "bad";
  if (section.className !== kind) section.className = kind;
  if ($("sentence").textContent !== verdict.sentence) $("sentence").textContent = verdict.sentence;
  if ($("advice").textContent !== verdict.advice) $("advice").textContent = verdict.advice;
}

const activeState = (next) => next.producers.map((beat) => beat.producer).find((state) => state && state.phase !== "standing_by");

function drawRun(next) {
  const state = activeState(next);
  const words = [];
  if (state?.run) {
    words.push(`${state.run.runId} (${state.run.trigger})`);
    if (state.service) words.push(`service ${state.serviceNumber} of ${state.run.services}: ${state.service}`);
    if (next.pace) words.push(`${number(next.pace.entities)} entities`);
    if (next.pace?.entitiesPerSecond) words.push(`${number(Math.round(next.pace.entitiesPerSecond))} a second`);
    if (next.pace?.batchEndsAt) words.push(`this batch until about ${when(next.pace.batchEndsAt)}`);
  } else if (state?.nextRunAt) {
    words.push(`No run is in progress; the next one begins at ${when(state.nextRunAt)}`);
  } else {
    words.push("No run is in progress.");
  }
  $("run").textContent = words.join(" · ");
  const service = next.services.find((each) => each.name === state?.batch?.service);
  $("batch").hidden = !(state?.batch && service);
  if (state?.batch && service) {
    $("batch-bar").max = Math.max(1, service.scheduled);
    $("batch-bar").value = service.updated;
    const again = state.batch.resends ? `, sent again ${state.batch.resends} times` : "";
    $("batch-text").textContent =
      `${number(service.updated)} of ${number(service.scheduled)} settled, ${service.outstandingChunks} chunk${service.outstandingChunks === 1 ? "" : "s"} outstanding${again}`;
  }
  const producers = next.producers.map((beat) => `producer ${beat.host}:${beat.pid} ${(beat.producer?.phase ?? "").replaceAll("_", " ")}`);
  const collectors = `${next.collectors.length} collector${next.collectors.length === 1 ? "" : "s"} alive`;
  $("processes").textContent = [...(producers.length ? producers : ["no producer alive"]), collectors].join(" · ");
}

function drawServices(next) {
  const body = $("services").tBodies[0];
  const state = activeState(next);
  if (body.rows.length !== next.services.length) body.replaceChildren(...next.services.map(serviceRow));
  next.services.forEach((service, place) => {
    const row = body.rows[place];
    const current = state?.service === service.name;
    row.classList.toggle("current", current);
    const [ordinal, batch, rate, plot, success, failure, dead] = [...row.cells].slice(1);
    set(ordinal, service.ordinal === null ? "–" : String(service.ordinal));
    drawBatch(batch, service, state?.batch?.service === service.name);
    set(rate, service.entitiesPerSecond === null ? "" : number(Math.round(service.entitiesPerSecond)));
    drawPlot(plot, service);
    set(success, when(service.lastSuccessAt));
    set(failure, service.lastFailureAt ? `${when(service.lastFailureAt)} ${service.lastFailure ?? ""}` : "");
    set(dead, service.deadLetters === null ? "?" : service.deadLetters ? number(service.deadLetters) : "");
  });
}

function set(cell, text) {
  if (cell.textContent !== text) cell.textContent = text;
}

function serviceRow(service) {
  const rewind = element("button", { type: "button", "aria-label": `Rewind ${service.name}` }, "Rewind");
  const run = element("button", { type: "button", "aria-label": `Run ${service.name} now` }, "Run");
  rewind.addEventListener("click", () => askRewind(service.name));
  run.addEventListener("click", () => act("/api/run", { services: [service.name] }, `a run of ${service.name} is asked for`));
  return element(
    "tr", {},
    element("th", { scope: "row" }, service.name),
    element("td", { class: "number", "data-label": "ordinal" }),
    element("td", { "data-label": "batch" }),
    element("td", { class: "number", "data-label": "entities a second" }),
    element("td", { "data-label": "last runs" }),
    element("td", { "data-label": "last success" }),
    element("td", { class: "failure", "data-label": "last failure" }),
    element("td", { class: "number", "data-label": "dead letters" }),
    element("td", {}, run, rewind),
  );
}

function drawBatch(cell, service, inFlight) {
  if (!inFlight) {
    if (cell.firstChild) cell.replaceChildren();
    return;
  }
  if (!cell.firstChild) cell.append(element("progress", { "aria-label": `batch of ${service.name}` }));
  cell.firstChild.max = Math.max(1, service.scheduled);
  cell.firstChild.value = service.updated;
}

function drawPlot(cell, service) {
  const values = service.recentEntities.slice(-30);
  const drawn = values.join(",");
  if (cell.dataset.drawn === drawn) return;
  cell.dataset.drawn = drawn;
  cell.replaceChildren(...(values.some(Boolean) ? [bars(values, 90, 18, `entities in the last ${values.length} runs: ${drawn}`)] : []));
}

function drawRuns(runs) {
  const longest = Math.max(1, ...runs.map(seconds));
  const drawn = JSON.stringify(runs.map((run) => run.runId));
  if ($("runs").dataset.drawn === drawn) return;
  $("runs").dataset.drawn = drawn;
  $("runs").replaceChildren(...runs.map((run) => {
    const entities = run.outcomes.reduce((sum, outcome) => sum + outcome.entities, 0);
    const failed = run.outcomes.filter((outcome) => outcome.result !== "settled").map((outcome) => outcome.service);
    const result = run.complete ? "complete" : run.complete === false ? "incomplete" : "interrupted";
    const text = `${result}${failed.length ? `: ${failed.join(", ")}` : ""}, ${number(entities)} entities in ${Math.round(seconds(run))} s`;
    const line = bars([1], 100, 8, text);
    line.setAttribute("preserveAspectRatio", "none");
    line.firstChild.setAttribute("width", Math.max(0.5, (100 * seconds(run)) / longest));
    return element(
      "li", { class: run.complete ? "complete" : "incomplete" },
      element("span", {}, `${when(run.startedAt)} (${run.trigger})`),
      element("div", {}, line, element("span", { class: "quiet" }, text)),
    );
  }));
}

const seconds = (run) => (run.endedAt ? (new Date(run.endedAt) - new Date(run.startedAt)) / 1000 : 0);

// --- acting ---------------------------------------------------------------------------------------------------------

const say = (text) => { $("said").textContent = text; };

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers, credentials: "omit" });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `the producer answers ${answer.status}`);
  return body;
}

async function act(path, body, done) {
  try {
    await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    say(`Done: ${done}.`);
    return true;
  } catch (error) {
    say(`Refused: ${error.message}.`);
    return false;
  }
}

function confirmWith(title, text, withWhy) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-why-line").hidden = !withWhy;
  $("ask-why").value = "";
  $("ask").returnValue = "";
  $("ask").showModal();
  return new Promise((resolve) => {
    $("ask").addEventListener("close", () => resolve($("ask").returnValue === "yes" ? { why: $("ask-why").value } : null), { once: true });
  });
}

async function askRewind(name) {
  const ordinal = status?.services.find((service) => service.name === name)?.ordinal ?? 0;
  const answer = await confirmWith(`Rewind ${name}?`, `Its ordinal goes from ${ordinal} to 0: everything is imported anew.`, true);
  if (answer) await act(`/api/rewind/${name}`, { to: 0, why: answer.why }, `${name} goes back to 0`);
}

const ACTIONS = {
  run: () => act("/api/run", { services: [] }, "a run is asked for"),
  resume: () => act("/api/resume", {}, "the import goes on"),
  undo: () => act("/api/rewind-undo", {}, "the last rewind is taken back"),
  pause: async () => {
    const answer = await confirmWith("Pause the import?", "The batch in flight is settled first.", true);
    if (answer) await act("/api/pause", { why: answer.why }, "paused");
  },
  letters: () => drawLetters(),
};

async function drawLetters() {
  try {
    const found = await ask("/api/dead-letters");
    $("letters-section").hidden = false;
    const { total, letters } = found;
    $("letters").tBodies[0].replaceChildren(...letters.map(letterRow));
    const shown = letters.length < total ? `, the first ${number(letters.length)} of them are shown` : "";
    say(total ? `${number(total)} dead letter${total === 1 ? "" : "s"}${shown}.` : "There are no dead letters.");
  } catch (error) {
    say(`Refused: ${error.message}.`);
  }
}

function letterRow(letter) {
  const button = (text, work) => {
    const made = element("button", { type: "button", "aria-label": `${text} ${letter.id}` }, text);
    made.addEventListener("click", work);
    return made;
  };
  const subjects = [letter.subject];
  return element(
    "tr", {},
    element("th", { scope: "row" }, letter.id),
    element("td", { "data-label": "service" }, letter.service),
    element("td", { class: "failure", "data-label": "reason" }, letter.error ? `${letter.reason}: ${letter.error}` : letter.reason),
    element("td", { "data-label": "first" }, when(letter.firstFailedAt ?? letter.failedAt)),
    element("td", { "data-label": "last" }, when(letter.failedAt)),
    element("td", { class: "number", "data-label": "times" }, String(letter.count)),
    element("td", {},
      button("Show", () => showLetter(letter.subject)),
      button("Retry", () => act("/api/dead-letters/retry", { subjects }, "it is sent again if SISU still has this version")),
      button("Drop", async () => {
        if (await confirmWith("Drop this letter?", "The entity comes again only when it changes.", false)
          && await act("/api/dead-letters/drop", { subjects }, "dropped")) drawLetters();
      })),
  );
}

async function showLetter(subject) {
  try {
    const letter = await ask(`/api/dead-letters/letter?subject=${encodeURIComponent(subject)}`);
    $("letter-text").textContent = JSON.stringify(letter, null, 2);
    $("letter").showModal();
    $("letter").addEventListener("close", () => { $("letter-text").textContent = ""; }, { once: true });
  } catch (error) {
    say(`Refused: ${error.message}.`);
  }
}

// --- at the start ---------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => ACTIONS[button.dataset.action]());
}
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value);
  $("token").value = "";
  say("The token is kept until this tab is closed.");
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  say("The token is forgotten.");
});

function connect() {
  const events = new EventSource("/api/events");
  events.onmessage = (event) => {
    $("link").textContent = "live";
    draw(JSON.parse(event.data));
  };
  events.onerror = () => { $("link").textContent = "no answer; trying again…"; };
}

connect();

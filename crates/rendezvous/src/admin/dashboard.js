// The dashboard: asks the API how things are, and listens to events for when to ask again.
// The secret is typed once and kept for this tab (sessionStorage); it goes out in a header only.

const KEPT = "peercam-admin-secret";
const MOST_EVENTS = 100;
// Events come in bursts; how things are is asked no more often than this (ms).
const PAUSE = 500;
// Without events, things are asked this often (ms).
const IDLE = 10_000;
// Before the events are asked for again after they broke (ms).
const RETRY = 2_000;
const ROOMS = 200;

const $ = (id) => document.getElementById(id);

let secret = sessionStorage.getItem(KEPT);
let listening = null;
let asked = 0;
let timer = 0;
let rooms_shown = ROOMS;

class Refused extends Error {}

/** One request; its JSON, or nothing where there is none. */
async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { authorization: `Bearer ${secret}`, ...options.headers } });
  if (response.status === 401) throw new Refused();
  const body = response.headers.get("content-type")?.startsWith("application/json") ? await response.json() : null;
  if (!response.ok) throw new Error(body?.message ?? `the server answers ${response.status}`);
  return body;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function state(text, bad = false) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", bad);
}

function button(label, question, path) {
  const made = element("button", { className: "quiet", textContent: label });
  made.addEventListener("click", async () => {
    if (!confirm(question)) return;
    made.disabled = true;
    try {
      await ask(path, { method: "DELETE" });
    } catch (error) {
      fail(error);
    }
    soon();
  });
  return made;
}

function show_room({ room, camera, viewers }) {
  const base = `/api/v1/rooms/${encodeURIComponent(room)}`;
  const row = element("div", { className: "row" },
    element("span", { className: camera ? "dot on" : "dot", title: camera ? "camera is here" : "no camera" }),
    element("strong", { className: "name", textContent: room }),
    element("span", { className: "soft", textContent: camera ? `${camera.sessions} of ${viewers.length} watching` : `${viewers.length} waiting` }));
  if (camera) row.append(button("Kick camera", `Close the connection of the camera in ${room}?`, `${base}/camera`));
  const item = element("li", {}, row);
  for (const { viewer, session, token } of viewers) {
    item.append(element("div", { className: "row" },
      element("span", { className: session === null ? "dot" : "dot on" }),
      element("span", { className: "name", textContent: `viewer ${viewer}` }),
      element("span", { className: "soft", textContent: token ? `token ${token}` : "" }),
      button("Kick", `End the stream of viewer ${viewer} in ${room}?`, `${base}/viewers/${viewer}`)));
  }
  return item;
}

function show_claim({ room, key }) {
  return element("li", {}, element("div", { className: "row" },
    element("strong", { className: "name", textContent: room }),
    element("span", { className: "soft", textContent: key }),
    button("Give up", `Give ${room} to the next camera that asks for it?`, `/api/v1/claims/${encodeURIComponent(room)}`)));
}

function show_event({ time, type, room, viewer, session, code }) {
  const words = [type, room, viewer === undefined ? "" : `viewer ${viewer}`, session === undefined ? "" : `session ${session}`, code ?? ""];
  $("events").prepend(element("li", {},
    element("time", { textContent: new Date(time).toLocaleTimeString(), dateTime: new Date(time).toISOString() }),
    element("span", { textContent: words.filter(Boolean).join(" · ") })));
  while ($("events").children.length > MOST_EVENTS) $("events").lastElementChild.remove();
}

async function refresh() {
  clearTimeout(timer);
  timer = 0;
  asked = Date.now();
  try {
    const [status, { rooms, next }, { claims }] = await Promise.all([
      ask("/api/v1/status"), ask(`/api/v1/rooms?limit=${rooms_shown}`), ask(`/api/v1/claims?limit=${ROOMS}`),
    ]);
    $("figures").replaceChildren(...["cameras", "viewers", "sessions", "rooms", "websockets"].map((name) =>
      element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: status[name] }))));
    $("rooms").replaceChildren(...rooms.map(show_room));
    $("nobody").hidden = rooms.length > 0;
    $("more").hidden = next === null;
    $("claims").replaceChildren(...claims.map(show_claim));
    $("unclaimed").hidden = claims.length > 0;
    $("drain").disabled = status.draining;
    state(status.draining ? "draining: cameras are moving away" : `version ${status.version}, up since ${new Date(status.started).toLocaleString()}`, status.draining);
  } catch (error) {
    fail(error);
  }
  if (!timer && secret) timer = setTimeout(refresh, IDLE);
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, asked + PAUSE - Date.now()));
}

function fail(error) {
  if (error instanceof Refused) return leave("That is not the secret.");
  state(`no answer from the server (${error.message}); trying again`, true);
}

/** Listens to events until `signal` says stop. By fetch, since EventSource sends no headers. */
async function listen(signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      const headers = { authorization: `Bearer ${secret}`, ...(last === null ? {} : { "last-event-id": last }) };
      const response = await fetch("/api/v1/events", { headers, signal });
      if (response.status === 401) return leave("That is not the secret.");
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) last = hear(block) ?? last;
      }
    } catch (error) {
      if (signal.aborted) return;
      fail(error);
    }
    await new Promise((done) => setTimeout(done, RETRY));
  }
}

/** One event of the stream; its id, if it has one. */
function hear(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  if (!fields.data) return null;
  if (fields.event !== "missed") show_event(JSON.parse(fields.data));
  soon();
  return fields.id ?? null;
}

function enter() {
  $("login").hidden = true;
  $("board").hidden = false;
  state("asking the server");
  listening = new AbortController();
  refresh();
  listen(listening.signal);
}

function leave(reason = "") {
  sessionStorage.removeItem(KEPT);
  secret = null;
  listening?.abort();
  clearTimeout(timer);
  timer = 0;
  $("board").hidden = true;
  $("login").hidden = false;
  $("refused").textContent = reason;
  for (const id of ["rooms", "claims", "events", "figures"]) $(id).replaceChildren();
  $("secret").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  secret = $("secret").value.trim();
  $("secret").value = "";
  sessionStorage.setItem(KEPT, secret);
  $("refused").textContent = "";
  enter();
});
$("leave").addEventListener("click", () => leave());
$("more").addEventListener("click", () => {
  rooms_shown = 1000;
  refresh();
});
$("drain").addEventListener("click", async () => {
  if (!confirm("End the server? Cameras move to another one first; the program ends then.")) return;
  try {
    await ask("/api/v1/drain", { method: "POST" });
  } catch (error) {
    fail(error);
  }
  soon();
});

if (secret) enter();
else leave();

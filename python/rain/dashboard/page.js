// ---- what runs now: events of the stream (feed.py says what is in them) move data and tables

const STATES = ["waiting", "ready", "running", "finished", "failed", "cancelled", "aborted"];
const SPANS = 20000;   // that are kept
const SAMPLES = 5000;  // of how many tasks run
const WINDOW = [5e6, 30e6];  // us that are followed: as much as there is, within these
const FRAME = 50;      // ms between two drawings while following
const byId = name => document.getElementById(name);
data.states = STATES;

let now = {};           // the last value of each key
let zero = 0;           // seconds since the epoch at 0 us
let ahead = 0;          // what the governor's clock is ahead of this one's, in seconds
let lines = [];         // of the timeline, by number: {label, lane, row}
let spans = 0, failures = 0, following = true, ended = false, speeds = [];
tickText = us => {  // the time of day, as exactly as the ticks are apart
  const time = new Date((zero + us / 1e6) * 1000), seen = to - from;
  const digits = seen > 9e6 ? 0 : seen > 9e5 ? 1 : 3;
  const text = time.toLocaleTimeString([], {hourCycle: "h23"});
  return digits ? text + (time.getMilliseconds() / 1000).toFixed(digits).slice(1) : text;
};

// ---- texts

const number = n => n.toLocaleString("en");
function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < 4) { bytes /= 1000; ++unit; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}
const since = time => {
  const s = Math.max(now.time - time, 0);
  return s < 90 ? `${s.toFixed(0)} s` : s < 5400 ? `${(s / 60).toFixed(0)} min`
    : `${(s / 3600).toFixed(1)} h`;
};
const sum = counts => STATES.reduce((all, state) => all + (counts[state] || 0), 0);
const done = counts => STATES.slice(3).reduce((all, state) => all + (counts[state] || 0), 0);
const others = counts => STATES.filter(s => s !== "finished" && counts[s])
  .map(s => `${number(counts[s])} ${s}`).join(", ");
function set(name, text) {
  const place = byId(name);
  if (place.textContent !== text) place.textContent = text;
}

// Cells are texts, or {text, kind, before}; `left`: columns with words.
function fillTable(name, head, rows, left, none) {
  const table = byId(name);
  if (!table.tHead) {
    const tr = table.createTHead().insertRow();
    head.forEach((text, i) => {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = text;
      if (left.includes(i)) th.className = "left";
      tr.append(th);
    });
    table.createTBody();
  }
  const body = table.tBodies[0];
  while (body.rows.length > Math.max(rows.length, 1)) body.deleteRow(-1);
  if (rows.length === 0) rows = [[{text: none, kind: "none"}]];
  rows.forEach((row, r) => {
    const tr = body.rows[r] || body.insertRow();
    while (tr.cells.length > row.length) tr.deleteCell(-1);
    row.forEach((cell, c) => {
      const td = tr.cells[c] || tr.insertCell();
      const {text, kind = "", group} = typeof cell === "object" ? cell : {text: cell};
      const shown = `${kind}\n${group}\n${text}`;
      if (td.shown === shown) return;  // most cells don't change
      td.shown = shown;
      td.className = left.includes(c) ? `left ${kind}` : kind;
      td.replaceChildren(...(group === undefined ? [text] : [swatch(group), text]));
    });
  });
}

function fillBar(name, parts) {
  const bar = byId(name), whole = parts.reduce((all, [, n]) => all + n, 0);
  parts.forEach(([colour, n], i) => {
    const part = bar.children[i] || bar.appendChild(document.createElement("i"));
    part.style.background = `var(--${colour})`;
    part.style.width = `${whole ? 100 * n / whole : 0}%`;
  });
}

// ---- what comes

function forget() {
  data.groups.length = data.rows.length = 0;
  data.errors = {};
  busy = {times: [], counts: [], most: 0};
  lines = [];
  speeds = [];
  spans = failures = 0;
  byId("failed").replaceChildren();
  byId("legend").replaceChildren();
  byId("failures").hidden = true;
}

function take(change) {
  Object.assign(now, change);
  ahead = change.time - Date.now() / 1000;
  for (const name of change.groups || []) data.groups.push(name);
  if (change.groups) legend();
  for (const [label, lane] of change.rows || []) addLine(label, lane);
  for (const failure of change.failures || []) addFailure(failure);
  for (const run of change.runs || []) addRun(run);
  if (change.at_work) setAtWork(change.at_work);
  sample(change.time);
  while (spans > SPANS) dropOldest();
  showCards();
  if (change.names) showNames();
  if (change.lacking) set("lacking", change.lacking.map(line =>
    `${number(line.tasks)} task${line.tasks === 1 ? " waits" : "s wait"} for ${line.lacks} now.`)
    .join(" "));
  if (change.governors) { showGovernors(); showExecutors(); }
  if (change.sessions) showSessions();
  if (change.blobs) showBlobs();
  set("left-out", now.left_out ? `${number(now.left_out)} short tasks are not in the timeline.` : "");
  if (!following) redraw();
}

function addLine(label, lane) {
  const row = {name: label, lane, begin: [], length: [], group: [], state: [], id: []};
  lines.push(row);
  data.rows.push(row);
  const rank = row => (row.name.endsWith("buildin") ? 0 : 1);  // stable: else by their begin
  const first = new Map();
  lines.forEach((row, i) => { if (!first.has(row.name)) first.set(row.name, i); });
  data.rows.sort((a, b) => rank(a) - rank(b) || first.get(a.name) - first.get(b.name)
    || a.lane - b.lane);
}

function addRun([line, group, state, id, begin, length]) {
  const row = lines[line], last = row.begin.length - 1;
  if (last >= 0 && begin < row.begin[last]) begin = row.begin[last];  // sorted by begin
  row.begin.push(begin);
  row.length.push(length);
  row.group.push(group);
  row.state.push(state);
  row.id.push(id);
  ++spans;
}

// A quarter of those of the row that has most.
function dropOldest() {
  const row = lines.reduce((a, b) => a.begin.length >= b.begin.length ? a : b);
  const count = Math.ceil(row.begin.length / 4);
  for (const list of [row.begin, row.length, row.group, row.state, row.id]) list.splice(0, count);
  spans -= count;
}

function setAtWork(calls) {
  for (const row of lines) row.now = undefined;
  for (const [line, group, id, begin] of calls) lines[line].now = {group, id, begin};
}

function sample(time) {
  const count = now.at_work.length, ended = done(now.tasks);
  busy.times.push((time - zero) * 1e6);
  busy.counts.push(count);
  if (busy.times.length > SAMPLES) { busy.times.shift(); busy.counts.shift(); }
  busy.most = busy.counts.reduce((a, b) => Math.max(a, b), 0);
  speeds.push([time, ended]);
  while (speeds.length > 2 && speeds[1][0] < time - 5) speeds.shift();
}

function addFailure(failure) {
  const rows = failure.text.trimEnd().split("\n");
  const own = rows.filter(row => row && row[0] !== " " && row !== "Task failed in executor");
  const headline = rows[0].startsWith("Traceback ") ? own[own.length - 1] : rows[0];
  data.errors[failure.id] = headline;
  const details = document.createElement("details"), summary = document.createElement("summary");
  details.className = "failure";
  const name = document.createElement("b"), facts = document.createElement("small");
  name.textContent = failure.name;
  const time = new Date(failure.time * 1000).toLocaleTimeString();
  const attempts = failure.attempts === 1 ? "1 attempt" : `${failure.attempts} attempts`;
  facts.textContent = ` ${failure.id} · ${failure.executor} · ${time} · ${attempts}`;
  const line = document.createElement("div"), pre = document.createElement("pre");
  line.className = "headline";
  line.textContent = headline;
  pre.textContent = failure.text;
  summary.append(name, facts, line);
  details.append(summary, pre);
  byId("failed").prepend(details);
  while (byId("failed").children.length > 100) byId("failed").lastChild.remove();
  ++failures;
  byId("failures").hidden = false;
}

// ---- tables

function showCards() {
  const counts = now.tasks, all = sum(counts);
  set("n-tasks", `${number(done(counts))} / ${number(all)}`);
  set("t-tasks", others(counts) || (all ? "all finished" : "none so far"));
  fillBar("b-tasks", [["c2", counts.finished], ["bad", counts.failed],
    ["other", counts.cancelled + counts.aborted], ["accent", counts.running],
    ["spawn", counts.ready], ["life", counts.waiting]]);
  const cpus = now.governors.reduce((n, g) => n + g.cpus, 0);
  set("n-running", number(now.at_work.length));
  set("t-running", `on ${cpus} ${cpus === 1 ? "CPU" : "CPUs"}, ${number(counts.ready)} ready`);
  const [first, last] = [speeds[0], speeds[speeds.length - 1]];
  const passed = last[0] - first[0];
  set("n-speed", passed > 0 ? `${number(Math.round((last[1] - first[1]) / passed))} / s` : "–");
  set("t-speed", "tasks that ended, last 5 s");
  const total = key => now.governors.reduce((n, g) => n + (g.store[key] || 0), 0);
  const budget = total("budget_bytes"), used = total("regions_bytes"), disk = total("spilled_bytes");
  set("n-store", size(used));
  set("t-store", `of ${size(budget)}${disk ? `, ${size(disk)} on disk` : ""}`);
  fillBar("b-store", [["accent", used], ["life", Math.max(budget - used, 0)]]);
  const failed = counts.failed || failures;
  set("n-failures", failed > failures ? `${number(failed)}, the latest ${number(failures)} here`
    : number(failures));
}

function showNames() {
  const rows = now.names.map(([name, counts]) => [
    {text: name, group: Math.max(data.groups.indexOf(name), -1) < 0 ? 99 : data.groups.indexOf(name)},
    number(sum(counts)),
    ...STATES.slice(0, 4).map(state => number(counts[state])),
    {text: number(counts.failed), kind: counts.failed ? "bad" : ""},
    number(counts.cancelled + counts.aborted),
  ]);
  fillTable("tasks", ["task", "all", "waiting", "ready", "running", "finished", "failed",
    "cancelled"], rows, [0], "no tasks so far");
  const more = now.n_names - now.names.length;
  set("n-names", more > 0 ? `and ${number(more)} other names` : "");
}

function showGovernors() {
  fillTable("governors", ["governor", "address", "pid", "CPUs", "executors", "store", "on disk",
    "machine", "loop lag", "up"], now.governors.map(g => [
    g.name, g.address || (now.head.engine === "embedded" ? "in the client" : ""), String(g.pid), String(g.cpus),
    String(g.executors.reduce((n, e) => n + e.processes, 0)),
    `${size(g.store.regions_bytes)} of ${size(g.store.budget_bytes)}`,
    size(g.store.spilled_bytes), machine(g.machine), `${(g.lag * 1e3).toFixed(2)} ms`, since(g.began)]),
    [0, 1], "none is connected");
}

function machine(usage) {
  if (!usage) return "";
  const cpu = usage.cpu === null ? "" : `CPU ${Math.round(usage.cpu)} %, `;
  return `${cpu}memory ${Math.round(usage.memory)} %`;
}

function showExecutors() {
  const types = new Map();
  for (const governor of now.governors) {
    for (const executor of governor.executors) {
      const sum = types.get(executor.type)
        || {language: executor.language, processes: 0, starting: 0, running: 0, calls: 0, pids: []};
      for (const key of ["processes", "starting", "running", "calls"]) sum[key] += executor[key];
      sum.pids.push(...executor.pids);
      types.set(executor.type, sum);
    }
  }
  const rows = [...types].map(([type, t]) => [
    type, t.language, type === "buildin" ? "in the governor" : String(t.processes),
    t.starting ? String(t.starting) : "", number(t.running), number(t.calls - t.running),
    {text: t.pids.slice(0, 12).join(", ") + (t.pids.length > 12 ? ", …" : ""), kind: "wide"}]);
  fillTable("executors", ["type", "language", "processes", "starting", "running", "queued there",
    "pids"], rows, [0, 1, 6], "none");
}

function showSessions() {
  const rows = now.sessions.map(s => {
    const counts = s.tasks || {};
    return [String(s.id), s.name, s.client || "", number(done(counts)), number(sum(counts)),
      {text: s.failed ? "failed" : others(counts) || "–", kind: s.failed ? "bad" : ""}];
  });
  fillTable("sessions", ["session", "name", "client", "ended", "tasks", "state"], rows, [1, 2, 5],
    "none is open");
}

function showBlobs() {
  const rows = now.blobs.lines.map(([id, label, task, bytes, place, holders]) => [
    id, label, task, size(bytes), place, {text: holders, kind: "wide"}]);
  fillTable("blobs", ["object", "label", "of task", "size", "place", "held by"], rows,
    [1, 2, 4, 5], "none");
  const {count, bytes} = now.blobs, shown = now.blobs.lines.length;
  set("n-blobs", count ? `${number(count)}, ${size(bytes)}`
    + (count > shown ? `, the ${shown} largest here` : "") : "");
}

// ---- the timeline follows

moved = () => follow(false);
function follow(on) {
  following = on;
  byId("live").setAttribute("aria-pressed", String(on));
}
byId("live").onclick = () => follow(true);
byId("all").onclick = () => {
  const begins = lines.filter(row => row.begin.length).map(row => row.begin[0]);
  show(begins.length ? Math.min(...begins) : 0, whole);
};

let drawnAt = 0;
function frame(time) {
  if (!ended && zero) whole = Math.max((Date.now() / 1000 + ahead - zero) * 1e6, 1);
  if (following && zero && time - drawnAt >= FRAME) {
    drawnAt = time;
    to = whole;
    from = to - Math.min(Math.max(to, WINDOW[0]), WINDOW[1]);
    draw();
  }
  requestAnimationFrame(frame);
}

// ---- the stream

function tell(state, text) {
  byId("state").className = state;
  set("subtitle", text);
}
function connect() {
  const stream = new EventSource("/rain/stream");
  const head = () => {
    const {engine, version, began} = now.head;
    const start = new Date(began * 1000).toLocaleString();
    tell("live", `${engine} engine · version ${version} · since ${start}`);
  };
  stream.addEventListener("all", event => {
    const all = JSON.parse(event.data);
    forget();
    now = {};
    zero = all.zero;
    take(all);
    head();
  });
  stream.addEventListener("change", event => take(JSON.parse(event.data)));
  stream.addEventListener("end", () => {
    ended = true;
    stream.close();
    tell("ended", "it has ended; this is how it was");
  });
  stream.onerror = () => { if (!ended) tell("", "the connection is lost, trying again …"); };
}

readColours();
draw();
connect();
requestAnimationFrame(frame);

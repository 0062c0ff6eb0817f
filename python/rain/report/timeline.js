// Draws a timeline on the canvases `axis` and `lanes`: a row for each call that an executor runs at
// once. Shared by the page of an event log and the one of what runs now. The page makes `data`
// before this, and sets `whole`, `from`, `to` and `busy`; times are microseconds:
//   data.groups  names of tasks
//   data.states  names of states
//   data.errors  id of a task -> one line
//   data.rows    {name, lane, begin[], length[], group[], state[], id[], life?, now?}, spans by
//                begin; life: [start, ready, end] of the executor; now: {group, begin, id}
const COLOURS = 8, LABEL = 150, ROW = 20, BAR = 14, AXIS = 78, CHART = 44, FAILED = "failed";
const axis = document.getElementById("axis"), lanes = document.getElementById("lanes");
const tip = document.getElementById("tip"), view = document.getElementById("view");
let whole = 1, from = 0, to = 1, highlighted = null, colours = {}, pending = false;
let busy = {times: [], counts: [], most: 0};  // how many tasks ran from each time on
let tickText = us => seconds(Math.round(us));
let moved = () => {};  // the reader chose what to see

const colour = group => group < COLOURS ? `var(--c${group})` : "var(--other)";
function swatch(group) {
  const square = document.createElement("span");
  square.className = "swatch";
  square.style.background = colour(group);
  return square;
}

function legend() {
  const place = document.getElementById("legend");
  data.groups.slice(0, 30).forEach((name, group) => {
    if (group < place.children.length) return;  // it is there
    const button = document.createElement("button");
    button.append(swatch(group), name);
    button.title = name;
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      highlighted = highlighted === group ? null : group;
      for (const other of place.children) {
        other.setAttribute("aria-pressed", String(other === button && highlighted !== null));
      }
      redraw();
    };
    place.append(button);
  });
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = name => style.getPropertyValue(`--${name}`).trim();
  const names = ["text", "faint", "line", "bad", "life", "spawn", "other", "accent", "panel"];
  const read = {};
  for (const name of names) read[name] = colours(name);
  read.groups = [...Array(COLOURS).keys()].map(i => colours(`c${i}`));
  colours = read;
}

function prepare(canvas, height) {
  axis.style.width = `${view.clientWidth}px`;  // also beside a scroll bar
  const width = view.clientWidth, scale = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  const pixels = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
    [canvas.width, canvas.height] = pixels;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  return [context, width];
}

const seconds = us => us === 0 ? "0 s" : us < 1e3 ? `${us} us` : us < 1e6 ? `${+(us / 1e3).toPrecision(4)} ms`
  : `${+(us / 1e6).toPrecision(5)} s`;

function step(width) {  // between ticks: 1, 2 or 5 times a power of ten
  const least = (to - from) / Math.max(width / 90, 1), power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map(n => n * power).find(n => n >= least);
}

// Index of the first item of a sorted list that is greater than x.
function after(list, x) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] > x) high = middle; else low = middle + 1;
  }
  return low;
}

function draw() {
  pending = false;
  drawAxis();
  drawLanes();
}
function redraw() {
  if (!pending) { pending = true; requestAnimationFrame(draw); }
}

function drawAxis() {
  const [context, width] = prepare(axis, AXIS);
  const x = us => LABEL + (us - from) / (to - from) * (width - LABEL);
  // Mean number of running tasks in each pixel's time.
  context.fillStyle = colours.faint;
  context.fillText(`running, at most ${busy.most}`, 0, CHART / 2);
  context.fillStyle = colours.accent;
  context.globalAlpha = .45;
  let i = Math.max(after(busy.times, from) - 1, 0);
  for (let pixel = LABEL; pixel < width; ++pixel) {
    const begin = from + (pixel - LABEL) / (width - LABEL) * (to - from);
    const end = begin + (to - from) / (width - LABEL);
    while (i + 1 < busy.times.length && busy.times[i + 1] <= begin) ++i;
    let sum = 0;
    for (let k = i; k < busy.times.length && busy.times[k] < end; ++k) {
      const until = k + 1 < busy.times.length ? busy.times[k + 1] : end;
      sum += busy.counts[k] * Math.max(Math.min(until, end) - Math.max(busy.times[k], begin), 0);
    }
    const height = busy.most ? sum / (end - begin) / busy.most * (CHART - 6) : 0;
    context.fillRect(pixel, CHART - height, 1, height);
  }
  context.globalAlpha = 1;
  const between = step(width - LABEL);
  context.textAlign = "center";
  let used = -Infinity;  // up to where there is text
  for (let tick = Math.ceil(from / between) * between; tick <= to; tick += between) {
    const place = Math.round(x(tick)) + .5;
    context.fillStyle = colours.line;
    context.fillRect(place, CHART, 1, AXIS - CHART);
    context.fillStyle = colours.faint;
    const text = tickText(tick), half = context.measureText(text).width / 2;
    const middle = Math.min(Math.max(place, LABEL + half), width - half);
    if (middle - half < used) continue;
    used = middle + half + 8;
    context.fillText(text, middle, CHART + 14);
  }
  context.textAlign = "left";
  context.fillStyle = colours.line;
  context.fillRect(LABEL, CHART, width - LABEL, 1);
}

function drawLanes() {
  const [context, width] = prepare(lanes, Math.max(data.rows.length, 1) * ROW + 4);
  const per = (width - LABEL) / (to - from), x = us => LABEL + (us - from) * per;
  const between = step(width - LABEL);
  context.fillStyle = colours.line;
  for (let tick = Math.ceil(from / between) * between; tick <= to; tick += between) {
    context.globalAlpha = .6;
    context.fillRect(Math.round(x(tick)), 0, 1, data.rows.length * ROW);
  }
  context.globalAlpha = 1;
  data.rows.forEach((row, number) => {
    const top = number * ROW + (ROW - BAR) / 2;
    if (row.lane === 0) {
      context.fillStyle = colours.text;
      context.fillText(fit(context, row.name, LABEL - 12), 0, top + BAR / 2);
    } else {
      context.fillStyle = colours.faint;
      context.fillText(`call ${row.lane + 1}`, 14, top + BAR / 2);
    }
    context.save();
    context.beginPath();
    context.rect(LABEL, top, width - LABEL, BAR);
    context.clip();
    if (row.life) {
      const [started, ready, ended] = row.life.map(x);
      context.fillStyle = colours.life;
      context.fillRect(ready, top, ended - ready, BAR);
      if (row.lane === 0) {
        context.fillStyle = colours.spawn;
        context.fillRect(started, top + 4, ready - started, BAR - 8);
      }
    }
    const paint = (group, left, right, state, alpha) => {
      const bad = data.states[state] === FAILED;
      context.globalAlpha = highlighted === null || highlighted === group ? alpha : .12;
      context.fillStyle = bad ? colours.bad
        : group < COLOURS ? colours.groups[group] : colours.other;
      const gap = right - left > 4 ? 1 : 0;  // so that neighbours can be told apart
      context.fillRect(left, top, bad ? Math.max(right - left - gap, 3) : right - left - gap, BAR);
      if (right - left > 60) {
        context.fillStyle = colours.panel;
        context.fillText(
          fit(context, data.groups[group], right - left - 10), Math.max(left, LABEL) + 5,
          top + BAR / 2 + .5);
      }
    };
    let drawn = -1;  // up to which pixel: of many tasks in one pixel the first is drawn
    for (let i = firstIn(row); i < row.begin.length && row.begin[i] < to; ++i) {
      const group = row.group[i], bad = data.states[row.state[i]] === FAILED;
      const left = x(row.begin[i]), right = Math.max(left + row.length[i] * per, left + 1);
      if (right <= drawn && group !== highlighted && !bad) continue;
      drawn = Math.ceil(right);
      paint(group, left, right, row.state[i], 1);
    }
    if (row.now && row.now.begin < to) paint(row.now.group, x(row.now.begin), x(whole), -1, .6);
    context.restore();
    context.globalAlpha = 1;
  });
}

// Tasks of a row don't overlap: that before the first one that begins later may still run.
const firstIn = row => Math.max(after(row.begin, from) - 1, 0);

function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = Math.floor(text.length * width / context.measureText(text).width);
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) --length;
  return length > 1 ? `${text.slice(0, length)}…` : "";
}

// ---- moving

function show(begin, end) {
  const length = Math.min(Math.max(end - begin, 2), whole);
  from = Math.min(Math.max(begin, 0), whole - length);
  to = from + length;
  moved();
  hide();
  redraw();
}
function zoom(factor, at = (from + to) / 2) {
  show(at - (at - from) * factor, at + (to - at) * factor);
}
const timeAt = event => {
  const box = lanes.getBoundingClientRect();
  return from + (event.clientX - box.left - LABEL) / (box.width - LABEL) * (to - from);
};
let held = null;
lanes.onpointerdown = event => {
  held = {x: event.clientX, from, to};
  lanes.setPointerCapture(event.pointerId);
  lanes.classList.add("drag");
};
lanes.onpointerup = lanes.onpointercancel = () => { held = null; lanes.classList.remove("drag"); };
lanes.onpointermove = event => {
  if (held === null) { point(event); return; }
  const width = lanes.getBoundingClientRect().width - LABEL;
  const moved = (event.clientX - held.x) / width * (held.to - held.from);
  show(held.from - moved, held.to - moved);
};
lanes.onpointerleave = hide;
lanes.ondblclick = event => zoom(.4, timeAt(event));
for (const canvas of [lanes, axis]) {
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;  // the page scrolls
    event.preventDefault();
    zoom(Math.exp(Math.max(Math.min(event.deltaY, 100), -100) / 250), timeAt(event));
  }, {passive: false});
}
lanes.onkeydown = event => {
  const part = (to - from) / 8;
  const moves = {
    "+": () => zoom(.6), "=": () => zoom(.6), "-": () => zoom(1 / .6), "0": () => show(0, whole),
    ArrowLeft: () => show(from - part, to - part), ArrowRight: () => show(from + part, to + part),
  };
  if (event.ctrlKey || event.metaKey || !(event.key in moves)) return;
  event.preventDefault();
  moves[event.key]();
};
document.getElementById("in").onclick = () => zoom(.5);
document.getElementById("out").onclick = () => zoom(2);
document.getElementById("all").onclick = () => show(0, whole);

// ---- what the pointer is on

function hide() { tip.hidden = true; }
function point(event) {
  const box = lanes.getBoundingClientRect(), time = timeAt(event);
  const row = data.rows[Math.floor((event.clientY - box.top) / ROW)];
  const near = 2 * (to - from) / box.width;  // two pixels
  if (!row || event.clientX - box.left < LABEL) { hide(); return; }
  let i = after(row.begin, time) - 1;
  if (i < 0 || row.begin[i] + row.length[i] + near < time) ++i;
  if (i < row.begin.length && row.begin[i] <= time + near) {
    const id = row.id[i], state = data.states[row.state[i]];
    tell(event, data.groups[row.group[i]], [
      `${id} on ${row.name}, ${state}`,
      `${seconds(row.length[i])} at ${seconds(row.begin[i])}`], data.errors[id]);
  } else if (row.now && time >= row.now.begin - near && time <= whole + near) {
    tell(event, data.groups[row.now.group], [
      `${row.now.id} on ${row.name}, running`, `since ${seconds(whole - row.now.begin)}`]);
  } else if (row.life && time >= row.life[0] && time < row.life[1]) {
    tell(event, row.name, [`starts up: ${seconds(row.life[1] - row.life[0])}`]);
  } else {
    hide();
  }
}
function tell(event, title, lines, error) {
  const bold = document.createElement("b");
  bold.textContent = title;
  const parts = [bold, ...lines.map(line => {
    const part = document.createElement("div");
    part.textContent = line;
    return part;
  })];
  if (error) {
    const part = document.createElement("div");
    part.className = "headline";
    part.textContent = error;
    parts.push(part);
  }
  tip.replaceChildren(...parts);
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - size.width - 8)}px`;
  const below = event.clientY + 16;
  tip.style.top = `${below + size.height > innerHeight ? event.clientY - size.height - 10 : below}px`;
}

addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  redraw();
});

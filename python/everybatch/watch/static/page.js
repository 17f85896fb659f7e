/* The page of `everybatch watch`: asks once a second for the list of runs, and for the curves of those that are chosen as
far as the charts show them. All that comes from files is put in as text. */

import { createChart } from "./chart.js";

const $ = (id) => document.getElementById(id);
const EVERY = 1000; // milliseconds from an answer to the next question
const MOST_CHOSEN = 8;
const MOST_CLASSES = 10;
const CHARTS = {
  loss: { title: "Loss", unit: "number" },
  accuracy: { title: "Accuracy", unit: "fraction" },
  classes: { title: "Test accuracy of each class", unit: "fraction" },
  seconds: { title: "Seconds", unit: "seconds" },
  lr: { title: "Learning rate", unit: "number", height: 180 },
};
const AXES = { step: "mini-batches", epoch: "epochs", seconds: "seconds" };
// Colour and dashes of what is measured: as in everybatch's own pictures where there is one run.
const PARTS = { train: [0, 0], validation: [2, 1], test: [1, 0], step: [0, 0], measurement: [1, 1], "learning rate": [0, 0] };
const DASH_OF_PART = { test: 0, validation: 1, train: 2, step: 0, measurement: 1, "learning rate": 0 };
const SIGNS = { running: "●", lost: "✕", finished: "✓", stopped: "■", interrupted: "■", diverged: "✕", failed: "✕", unreadable: "✕", unknown: "…" };

const chosen = new Map(); // names of runs, each with a number that decides its colour
const known = new Map(); // what the page has of a run already: by name, the server's mark and the content
let classes = null; // places of the classes that are shown; null: the first ones
let chooses = true; // until someone chose, the newest run is
let views = {}, shared = { from: null, to: null }, timer = 0, busy = false, again = false, told = null, settingView = false;

// ---- what is remembered in the address

function remember() {
  const kept = new URLSearchParams();
  for (const name of chosen.keys()) kept.append("run", name);
  for (const id of ["axis", "smooth"]) if ($(id).selectedIndex) kept.set(id, $(id).value);
  if ($("log").checked) kept.set("log", "1");
  if (!$("bands").checked) kept.set("bands", "0");
  history.replaceState(null, "", `#${kept}`);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of kept.getAll("run").slice(0, MOST_CHOSEN)) choose(name);
  if (chosen.size) chooses = false;
  for (const id of ["axis", "smooth"]) if ([...$(id).options].some((one) => one.value === kept.get(id))) $(id).value = kept.get(id);
  $("log").checked = kept.get("log") === "1";
  $("bands").checked = kept.get("bands") !== "0";
}

function choose(name) {
  const taken = new Set(chosen.values());
  let number = 0;
  while (taken.has(number)) number++;
  chosen.set(name, number);
}

// ---- charts

const charts = {};
for (const section of document.querySelectorAll("[data-chart]")) {
  const name = section.dataset.chart, place = document.createElement("div");
  section.prepend(place);
  charts[name] = createChart(place, { ...CHARTS[name], onView: (view) => seen(name, view) });
}

function seen(name, view) {
  views[name] = view;
  if (!settingView) {
    settingView = true; // all charts show the same window
    shared = { from: view.from, to: view.to };
    for (const [other, chart] of Object.entries(charts)) {
      const its = chart.view();
      if (other !== name && (its.from !== view.from || its.to !== view.to)) chart.show(view.from, view.to);
    }
    settingView = false;
  }
  soon();
}

function apply() {
  const axis = $("axis").value;
  for (const [name, chart] of Object.entries(charts)) {
    const both = { xLabel: AXES[axis], bands: $("bands").checked, log: $("log").checked && (name === "loss" || name === "seconds") };
    chart.set({ ...both, smooth: Number($("smooth").value) * shownWidth(name) });
  }
}

function shownWidth(name) {
  const { from, to } = charts[name].view();
  return from === null ? farthest() : to - from;
}

const farthest = () => Math.max(0, ...[...chosen.keys()].map((name) => known.get(name)?.end || 0));

// A trial is known by its settings.
function labelOf(name) {
  for (const sweep of told.sweeps) for (const trial of sweep.best) if (trial.name === name && trial.settings) return trial.settings;
  return name || told.folder;
}

function drawCharts() {
  const single = chosen.size === 1;
  for (const [name, chart] of Object.entries(charts)) {
    const series = [];
    for (const [run, number] of chosen) {
      (known.get(run)?.charts[name] || []).forEach((curve, place) => {
        const byClass = name === "classes";
        const [color, dash] = byClass
          ? [place, single ? Math.floor(place / 7) : number]
          : single ? PARTS[curve.name] || [place, 0] : [number, DASH_OF_PART[curve.name] || 0];
        series.push({ ...curve, run: single ? "" : labelOf(run), color, dash, smooth: true });
      });
    }
    const section = document.querySelector(`[data-chart="${name}"]`);
    section.hidden = !series.length && [...chosen.keys()].some((run) => known.has(run)); // runs of earlier versions lack some
    chart.update(series, { extent: [0, farthest()] });
  }
  apply();
}

// The head tells where the arrays are; see _packed.py.
function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true), start = 4 + size;
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const array = (place, kind) => place && new kind(buffer, start + place[0], place[1]);
  for (const run of head.runs) {
    for (const curves of Object.values(run.charts || {})) {
      for (const curve of curves) {
        for (const key of ["y", "low", "high", "error", "bandLow", "bandHigh"]) curve[key] = array(curve[key], Float32Array);
        curve.x = array(curve.x, Float64Array);
      }
    }
  }
  return head.runs;
}

// ---- questions to the server

function soon() {
  if (busy) { again = true; return; }
  clearTimeout(timer);
  timer = setTimeout(tick, 30);
}

async function tick() {
  clearTimeout(timer);
  busy = true;
  again = false;
  try {
    if (!document.hidden) {
      const answer = await fetch("api/runs");
      if (!answer.ok) throw new Error((await answer.text()).trim());
      told = await answer.json();
      showLists();
      await askForCurves();
    }
    $("trouble").hidden = true;
  } catch (error) {
    const gone = error instanceof TypeError;
    $("trouble").textContent = gone
      ? "The server does not answer: everybatch watch has ended, or cannot be reached. What is shown is what was known last."
      : `The server says: ${error.message}`;
    $("trouble").hidden = false;
  }
  busy = false;
  timer = setTimeout(tick, again ? 30 : EVERY);
}

async function askForCurves() {
  const shown = Object.entries(views).filter(([name]) => charts[name]);
  if (!chosen.size || !shown.length) { drawCharts(); return; }
  const count = Math.max(0, ...[...chosen.keys()].map((name) => known.get(name)?.classes.length || 0));
  const fit = Math.max(1, Math.floor(MOST_CLASSES / chosen.size)); // more curves than that nobody tells apart
  const places = classes ?? Array.from({ length: Math.min(count || fit, fit) }, (_, i) => i);
  const answer = await fetch("api/curves", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      runs: [...chosen.keys()].map((name) => ({ name, known: known.get(name)?.known ?? null })),
      x: $("axis").value,
      charts: shown.map(([chart, view]) => ({ chart, columns: view.columns, ...shared })),
      classes: places,
    }),
  });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  let changed = false;
  for (const run of unpack(await answer.arrayBuffer())) {
    if (run.same) continue;
    changed = true;
    if (run.gone) { chosen.delete(run.name); known.delete(run.name); remember(); } else known.set(run.name, run);
  }
  if (changed) { drawCharts(); showClasses(places); }
}

// ---- lists

const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(2)}%`);
const count = (value) => value.toLocaleString("en");

function duration(seconds) {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${String(minutes % 60).padStart(2, "0")} min` : `${minutes} min`;
}

function make(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One element for each entry, kept while the entry is there, so that what has the focus keeps it.
function list(parent, entries, build, refresh) {
  const there = new Map([...parent.children].map((one) => [one.dataset.key, one]));
  entries.forEach((entry, place) => {
    let element = there.get(entry.name);
    if (!element) {
      element = build(entry);
      element.dataset.key = entry.name;
    }
    there.delete(entry.name);
    if (parent.children[place] !== element) parent.insertBefore(element, parent.children[place] || null);
    refresh(element, entry);
  });
  for (const gone of there.values()) gone.remove();
}

function showLists() {
  const order = (run) => (run.state === "running" ? 0 : 1);
  const runs = [...told.runs].sort((a, b) => order(a) - order(b) || (b.started || "").localeCompare(a.started || "") || a.name.localeCompare(b.name));
  if (chooses && runs.length && !chosen.size) { choose(runs[0].name); remember(); }
  set($("folder"), told.folder);
  document.title = `${told.folder}: everybatch watch`;
  const going = runs.filter((run) => run.state === "running").length, lost = runs.filter((run) => run.state === "lost").length;
  const parts = [`${count(runs.length)} run${runs.length === 1 ? "" : "s"}`, `${going} running`];
  if (lost) parts.push(`${lost} lost`);
  if (told.sweeps.length) parts.push(`${told.sweeps.length} sweep${told.sweeps.length === 1 ? "" : "s"}`);
  if (!told.complete) parts.push("more than can be listed");
  set($("counts"), parts.join(", "));
  $("runs-part").hidden = !runs.length;
  $("sweeps-part").hidden = !told.sweeps.length;
  $("nothing").hidden = Boolean(runs.length || told.sweeps.length);
  $("filter").hidden = runs.length + told.sweeps.length < 6;
  $("controls").hidden = $("charts").hidden = !chosen.size;
  list($("runs"), runs, buildRun, refreshRun);
  list($("sweeps"), told.sweeps, buildSweep, refreshSweep);
  filter();
  showStates(runs);
}

function checkbox(name, label) {
  const box = make("input");
  box.type = "checkbox";
  box.addEventListener("change", () => {
    chooses = false;
    if (box.checked && chosen.size >= MOST_CHOSEN) { box.checked = false; return; }
    if (box.checked) choose(name); else { chosen.delete(name); known.delete(name); }
    remember();
    showLists();
    drawCharts();
    soon();
  });
  label.prepend(box);
  return box;
}

function buildRun(run) {
  const item = make("li"), label = make("label");
  item.append(label);
  checkbox(run.name, label);
  const bar = make("progress");
  bar.setAttribute("aria-label", "progress");
  label.append(make("span", "name"), make("span", "state"), bar, make("span", "numbers"), make("span", "what"));
  return item;
}

function refreshRun(item, run) {
  const [, name, state, bar, numbers, what] = item.firstChild.children;
  const box = item.querySelector("input");
  box.checked = chosen.has(run.name);
  box.disabled = !box.checked && chosen.size >= MOST_CHOSEN;
  item.classList.toggle("chosen", box.checked);
  set(name, run.name || told.folder);
  set(state, `${SIGNS[run.state] || "■"} ${run.state}`);
  state.className = `state ${run.state}`;
  const hasRun = run.steps !== undefined;
  bar.hidden = !hasRun;
  if (hasRun) {
    bar.max = Math.max(1, run.total);
    bar.value = run.steps;
    const best = run.best ? `, best ${percent(run.best.accuracy)}` : "";
    set(numbers, `step ${count(run.steps)} of ${count(run.total)}; accuracy ${percent(run.last.test_accuracy)}${best}`);
    set(what, `${run.network} on ${run.dataset}${run.left !== null && run.left !== undefined ? `; ${duration(run.left)} left` : ""}`);
  } else {
    set(numbers, run.message || "not read yet");
    set(what, "");
  }
}

function buildSweep() {
  const item = make("li"), bar = make("progress"), best = make("details");
  bar.setAttribute("aria-label", "trials done");
  best.append(make("summary", "", "best trials"), make("ul"));
  item.append(make("div", "name"), bar, make("div", "numbers"), make("div", "what"), best);
  return item;
}

function refreshSweep(item, sweep) {
  const [name, bar, numbers, what, best] = item.children;
  set(name, sweep.name || told.folder);
  const missing = sweep.counts.missing || 0;
  bar.max = Math.max(1, sweep.total);
  bar.value = sweep.total - missing;
  const parts = [`${count(sweep.total - missing)} of ${count(sweep.total)} trials done`];
  if (sweep.running) parts.push(`${count(sweep.running)} being trained`);
  for (const [state, number] of Object.entries(sweep.counts)) if (!["missing", "finished"].includes(state)) parts.push(`${count(number)} ${state}`);
  if (sweep.best.length) parts.push(`best ${sweep.by} ${percent(sweep.best[0].accuracy)}`);
  set(numbers, parts.join(", "));
  set(what, sweep.message || (sweep.resume ? `nobody trains the rest: ${sweep.resume}` : ""));
  best.hidden = !sweep.best.length;
  list(best.querySelector("ul"), sweep.best, buildTrial, refreshTrial);
}

function buildTrial(trial) {
  const item = make("li"), label = make("label");
  item.append(label);
  checkbox(trial.name, label);
  label.append(make("span", ""), make("span", "state"));
  return item;
}

function refreshTrial(item, trial) {
  const [box, name, accuracy] = item.firstChild.children;
  box.checked = chosen.has(trial.name);
  box.disabled = !box.checked && chosen.size >= MOST_CHOSEN;
  item.classList.toggle("chosen", box.checked);
  set(name, trial.settings || trial.name);
  set(accuracy, percent(trial.accuracy));
}

function filter() {
  const words = $("filter").hidden ? [] : $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of [...$("runs").children, ...$("sweeps").children]) {
    const text = item.textContent.toLowerCase();
    item.hidden = !words.every((word) => text.includes(word));
  }
}

// ---- how the chosen runs are

function showStates(runs) {
  const shown = runs.filter((run) => chosen.has(run.name) && run.steps !== undefined);
  list($("states"), shown, () => make("p"), (line, run) => {
    line.className = run.state;
    const [sentence, after] = sentences(run);
    const text = `${run.path} ${sentence}`;
    if (line.dataset.text === text) return;
    line.dataset.text = text;
    line.replaceChildren(make("strong", "", run.path), ` ${sentence}`);
    if (after) {
      const copy = make("button", "copy", "copy");
      copy.type = "button";
      const code = make("code", "", after);
      copy.addEventListener("click", () => copied(code, copy));
      line.append(" Go on with ", code, copy);
    }
    // A line that changes each second would be read out without end.
    line.setAttribute("aria-live", run.state === "running" ? "off" : "polite");
  });
}

function sentences(run) {
  const at = `step ${count(run.steps)} of ${count(run.total)}`, more = run.message ? `: ${run.message}` : "";
  const result = run.best ? ` Test accuracy: last ${percent(run.last.test_accuracy)}, best ${percent(run.best.accuracy)} at step ${count(run.best.step)}.` : "";
  switch (run.state) {
    case "running": {
      const pace = run.step_seconds === null ? "" : `, ${(1000 * run.step_seconds).toPrecision(3)} ms a step`;
      return [`is running: ${at}${pace}${run.left === null ? "" : `, ${duration(run.left)} left`}.${result}`, ""];
    }
    case "lost":
      if (run.message) return [`is lost at ${at}${more}.${result}`, ""];
      return [`is lost: its process ended at ${at}. What was measured until then is all here.${result}`, run.resume];
    case "finished":
      return [`is finished: ${count(run.steps)} steps in ${duration(run.seconds)}.${result}`, ""];
    default:
      return [`is ${run.state} at ${at}${more}.${result}`, run.resume || ""];
  }
}

async function copied(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(code); // where a page may not copy, it can be done by hand
  }
}

// ---- classes

function showClasses(places) {
  const names = [...chosen.keys()].map((name) => known.get(name)?.classes || []).reduce((a, b) => (b.length > a.length ? b : a), []);
  $("classes").hidden = names.length < 2;
  const key = JSON.stringify(names);
  const boxes = $("class-list");
  if (boxes.dataset.names !== key) {
    boxes.dataset.names = key;
    boxes.replaceChildren(...names.map((name, place) => {
      const label = make("label"), box = make("input");
      box.type = "checkbox";
      box.value = place;
      box.addEventListener("change", () => {
        classes = [...boxes.querySelectorAll("input:checked")].map((one) => Number(one.value));
        if (classes.length > MOST_CLASSES) { box.checked = false; classes = classes.filter((one) => one !== place); }
        soon();
      });
      label.append(box, ` ${name}`);
      return label;
    }));
  }
  for (const box of boxes.querySelectorAll("input")) box.checked = places.includes(Number(box.value));
  const narrow = [...chosen.keys()].some((name) => known.get(name)?.narrow);
  set($("classes").firstElementChild, narrow ? "classes (of a run that is too large, none are shown)" : "choose classes");
}

// ---- begin

for (const id of ["smooth", "log", "bands"]) $(id).addEventListener("change", () => { remember(); apply(); });
$("axis").addEventListener("change", () => {
  remember();
  for (const chart of Object.values(charts)) chart.show(null, null);
  soon();
});
$("filter").addEventListener("input", filter);
$("controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
recall();
tick();

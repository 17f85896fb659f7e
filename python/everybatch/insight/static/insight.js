/* The page of one run: what happened to every test image at every measurement. Everything is in it; nothing is fetched.

One state, `now`, and `show`, which draws what depends on what changed. Names are put in as text, never as markup. */

const told = JSON.parse(document.getElementById("content").textContent);
const $ = (id) => document.getElementById(id);
const COUNT = told.labels.length, MOMENTS = told.steps.length, CLASSES = told.classes.length;
const MOST = 60; // tiles at first, and with each "more"
const HUES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f3c8d", "#8c6d31", "#a5aa99", "#e02b6a"];
const FEW = 16; // classes whose matrix is drawn
const PACE = 120; // milliseconds between measurements when played, at least
const dark = matchMedia("(prefers-color-scheme: dark)");
const places = new Map(told.numbers.map((number, place) => [number, place]));
const now = { moment: MOMENTS - 1, image: null, tab: "lost", cell: null, tiles: MOST, fall: null, playing: 0 };

let byImage, byMoment, lossCodes = null; // classes (images × moments), (moments × images); losses (images × moments)
let facts; // of images: see `account`
let order, rows; // images as they were learned for good; those of them that the raster shows, from above
let curve, lossCurve;

// ---- what there is

async function unpack(text, wide) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = await new Response(stream).arrayBuffer();
  return wide ? new Uint16Array(whole) : new Uint8Array(whole);
}

function turned(from, rows, columns) {
  const to = new from.constructor(from.length), block = 64;
  for (let top = 0; top < rows; top += block) for (let left = 0; left < columns; left += block) {
    for (let i = top; i < Math.min(rows, top + block); i++) for (let j = left; j < Math.min(columns, left + block); j++) to[j * rows + i] = from[i * columns + j];
  }
  return to;
}

// Of each image: the first moment at which it was right, the first of those that lasted to the end (MOMENTS: none), how
// often it was lost, and at how many moments it was right.
function account() {
  const first = new Int32Array(COUNT).fill(MOMENTS), good = new Int32Array(COUNT), lost = new Int32Array(COUNT), right = new Int32Array(COUNT);
  for (let i = 0; i < COUNT; i++) {
    const label = told.labels[i], start = i * MOMENTS;
    let before = false;
    for (let t = 0; t < MOMENTS; t++) {
      const is = byImage[start + t] === label;
      if (is) { right[i]++; if (first[i] === MOMENTS) first[i] = t; } else { good[i] = t + 1; if (before) lost[i]++; }
      before = is;
    }
  }
  return { first, good, lost, right };
}

const isRight = (i, t) => byMoment[t * COUNT + i] === told.labels[i];

function changed(t) {
  const lost = [], gained = [];
  if (t > 0) for (let i = 0; i < COUNT; i++) {
    const before = isRight(i, t - 1), after = isRight(i, t);
    if (before !== after) (after ? gained : lost).push(i);
  }
  return { lost, gained };
}

function matrix(t) {
  const counts = new Int32Array(CLASSES * CLASSES);
  for (let i = 0; i < COUNT; i++) counts[told.labels[i] * CLASSES + byMoment[t * COUNT + i]]++;
  return counts;
}

function listed() {
  const all = [];
  const keep = (test) => { for (let i = 0; i < COUNT; i++) if (test(i)) all.push(i); };
  const tab = now.tab;
  if (tab === "lost" || tab === "gained") return changed(now.moment)[tab];
  if (tab === "cell" && now.cell) keep((i) => told.labels[i] === now.cell[0] && byMoment[now.moment * COUNT + i] === now.cell[1]);
  if (tab === "wrong") keep((i) => !isRight(i, now.moment));
  if (tab === "never") { keep((i) => facts.good[i] === MOMENTS); all.sort((a, b) => facts.right[a] - facts.right[b] || a - b); }
  if (tab === "forgotten") { keep((i) => facts.lost[i] > 0); all.sort((a, b) => facts.lost[b] - facts.lost[a] || a - b); }
  return all;
}

// ---- words

const whole = (number) => number.toLocaleString("en-US");
const percent = (value) => (value === null ? "no number" : `${(100 * value).toFixed(2)}%`);
const step = (t) => (t >= MOMENTS ? "never" : `step ${whole(told.steps[t])}`);
const plural = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
const decoded = (code) => (code === 255 ? NaN : 2 ** (code / 11 - 14));
const hue = (kind) => HUES[kind % HUES.length];

function make(kind, text, about) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (about) made.className = about;
  return made;
}

function picture(sprites, place, scale) {
  const { width, height, columns, rows, sheets } = sprites, within = place % (columns * rows);
  const made = make("canvas", undefined, "picture"), context = made.getContext("2d");
  [made.width, made.height] = [width * scale, height * scale];
  context.imageSmoothingEnabled = false;
  const [left, top] = [(within % columns) * width, Math.floor(within / columns) * height];
  context.drawImage(sheets[Math.floor(place / (columns * rows))], left, top, width, height, 0, 0, made.width, made.height);
  return made;
}

async function opened(sprites) {
  sprites.sheets = await Promise.all(sprites.pictures.map(async (source) => {
    const sheet = new Image();
    sheet.src = source;
    await sheet.decode();
    return createImageBitmap(sheet);
  }));
  sprites.pictures = null;
}

// ---- drawing

function show(changes) {
  const before = { ...now };
  Object.assign(now, changes);
  const moved = now.moment !== before.moment;
  if (moved) {
    $("slider").value = now.moment;
    curve.set({ mark: told.steps[now.moment] });
    lossCurve.set({ mark: told.steps[now.moment] });
    showNow();
    showMatrix();
  }
  if (now.tab !== before.tab || now.cell !== before.cell) now.tiles = MOST;
  if (moved || now.tab !== before.tab || now.cell !== before.cell || now.tiles !== before.tiles || now.image !== before.image) showTiles();
  if (moved || now.image !== before.image) { showOne(); markRaster(); }
  if (now.fall !== before.fall) showBatches();
}

function showNow() {
  const t = now.moment, { lost, gained } = changed(t);
  $("slider").setAttribute("aria-valuetext", `${step(t)}, ${percent(told.accuracy[t])} right`);
  const parts = [make("b", step(t)), ` of ${whole(told.steps[MOMENTS - 1])}: ${percent(told.accuracy[t])} right, loss ${told.loss[t] === null ? "no number" : told.loss[t].toPrecision(4)}`];
  if (t > 0) parts.push("; since ", `${step(t - 1)}: `, make("span", `${whole(lost.length)} lost`, "lost"), ", ", make("span", `${whole(gained.length)} gained`, "gained"));
  $("now").replaceChildren(...parts);
}

function showMatrix() {
  const counts = matrix(now.moment), before = now.moment > 0 ? matrix(now.moment - 1) : counts;
  const box = $("confusion");
  if (CLASSES > FEW) {
    const cells = [];
    for (let a = 0; a < CLASSES; a++) for (let b = 0; b < CLASSES; b++) if (a !== b && counts[a * CLASSES + b]) cells.push([a, b]);
    cells.sort(([a, b], [c, d]) => counts[c * CLASSES + d] - counts[a * CLASSES + b] || a - c || b - d);
    const list = make("ol");
    for (const [a, b] of cells.slice(0, 30)) {
      const item = make("li"), button = make("button", `${told.classes[a]} taken for ${told.classes[b]}: ${plural(counts[a * CLASSES + b], "image")}`);
      button.addEventListener("click", () => show({ tab: "cell", cell: [a, b] }));
      item.append(button);
      list.append(item);
    }
    box.replaceChildren(list);
    return;
  }
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.cell : null;
  const table = make("table"), head = make("tr");
  const corner = make("th", "true \\ taken for");
  corner.scope = "col";
  head.append(corner);
  for (const name of told.classes) { const cell = make("th", name); cell.scope = "col"; cell.title = name; head.append(cell); }
  table.append(head);
  for (let a = 0; a < CLASSES; a++) {
    const row = make("tr"), name = make("th", told.classes[a]);
    name.scope = "row";
    name.title = told.classes[a];
    row.append(name);
    let sum = 0;
    for (let b = 0; b < CLASSES; b++) sum += counts[a * CLASSES + b];
    for (let b = 0; b < CLASSES; b++) {
      const here = counts[a * CLASSES + b], by = here - before[a * CLASSES + b], cell = make("td"), button = make("button", whole(here));
      button.dataset.cell = `${a} ${b}`;
      button.title = `${told.classes[a]} taken for ${told.classes[b]}: ${plural(here, "image")}${by ? ` (${by > 0 ? "+" : "−"}${whole(Math.abs(by))} since the measurement before)` : ""}`;
      button.setAttribute("aria-label", button.title);
      if (!here) button.style.color = "var(--dim)";
      const share = sum ? here / sum : 0, strength = Math.round(100 * Math.min(0.75, a === b ? 0.35 * share : here ? 0.12 + 1.6 * Math.sqrt(share) : 0));
      button.style.background = `color-mix(in srgb, var(${a === b ? "--gained" : "--lost"}) ${strength}%, transparent)`;
      button.addEventListener("click", () => show({ tab: "cell", cell: [a, b] }));
      cell.append(button);
      row.append(cell);
    }
    table.append(row);
  }
  box.replaceChildren(table);
  if (focused) box.querySelector(`[data-cell="${focused}"]`)?.focus();
}

const SAYS = {
  lost: (n) => `${plural(n, "image")} right at the measurement before and wrong at this one`,
  gained: (n) => `${plural(n, "image")} wrong at the measurement before and right at this one`,
  wrong: (n) => `${plural(n, "image")} wrong at this measurement`,
  cell: (n) => (now.cell ? `${plural(n, "image")} of class ${told.classes[now.cell[0]]} taken for ${told.classes[now.cell[1]]} at this measurement` : "choose a cell of the matrix"),
  never: (n) => `${plural(n, "image")} wrong at the last measurement shown, those that were right least often first`,
  forgotten: (n) => `${plural(n, "image")} lost at least once, most often lost first (from one measurement shown to the next)`,
};

function showTiles() {
  const all = listed(), focused = $("tiles").contains(document.activeElement) ? document.activeElement.dataset.image : null;
  for (const button of $("tabs").children) button.setAttribute("aria-pressed", String(button.dataset.tab === now.tab));
  $("listed").textContent = `${SAYS[now.tab](all.length)}.`;
  $("tiles").replaceChildren(...all.slice(0, now.tiles).map((i) => {
    const taken = byMoment[now.moment * COUNT + i], label = told.labels[i];
    const tile = make("button", undefined, `tile${i === now.image ? " chosen" : ""}`);
    tile.dataset.image = i;
    const what = make("span", taken === label ? told.classes[label] : `${told.classes[label]} → ${told.classes[taken]}`, taken === label ? "" : "lost");
    tile.append(picture(told.images, i, scaleTo(told.images, 48)), make("span", `#${told.numbers[i]}`), what);
    if (now.tab === "forgotten") tile.append(make("span", `lost ${facts.lost[i]}×`));
    if (now.tab === "never") tile.append(make("span", `right ${Math.round((100 * facts.right[i]) / MOMENTS)}%`));
    tile.title = `test image ${told.numbers[i]}, labelled ${told.classes[label]}, taken for ${told.classes[taken]}`;
    tile.addEventListener("click", () => show({ image: i }));
    return tile;
  }));
  $("more").hidden = all.length <= now.tiles;
  $("more").textContent = `show more of ${whole(all.length)}`;
  if (focused) $("tiles").querySelector(`[data-image="${focused}"]`)?.focus();
}

const scaleTo = (sprites, side) => Math.max(1, Math.round(side / Math.max(sprites.width, sprites.height)));

function showOne() {
  const i = now.image;
  $("one").hidden = i === null;
  $("no-image").hidden = i !== null;
  if (i === null) return;
  $("number").value = told.numbers[i];
  $("large").replaceChildren(picture(told.images, i, scaleTo(told.images, 140)));
  const taken = byMoment[now.moment * COUNT + i], seen = new Map();
  for (let t = 0; t < MOMENTS; t++) { const kind = byImage[i * MOMENTS + t]; seen.set(kind, (seen.get(kind) || 0) + 1); }
  const lines = [
    `Test image ${told.numbers[i]}, labelled ${told.classes[told.labels[i]]}.`,
    `At ${step(now.moment)} taken for ${told.classes[taken]}${lossCodes ? `, loss ${decoded(lossCodes[i * MOMENTS + now.moment]).toPrecision(2)}` : ""}.`,
    `First right: ${step(facts.first[i])}. Right from then to the end: ${step(facts.good[i])}. Lost ${plural(facts.lost[i], "time")}; right at ${Math.round((100 * facts.right[i]) / MOMENTS)}% of the measurements shown.`,
  ];
  $("about").replaceChildren(...lines.map((text) => make("p", text)));
  const kinds = [...seen].sort((a, b) => b[1] - a[1]);
  $("legend").replaceChildren(...kinds.slice(0, 8).map(([kind, count]) => {
    const item = make("span"), key = make("span", undefined, "key");
    key.style.background = kind === told.labels[i] ? "var(--right)" : hue(kind);
    item.append(key, `${told.classes[kind]}${kind === told.labels[i] ? " (its label)" : ""}: ${Math.round((100 * count) / MOMENTS)}%`);
    return item;
  }));
  drawStrip();
  $("losses").hidden = !lossCodes;
  if (lossCodes) {
    const y = Array.from(lossCodes.subarray(i * MOMENTS, (i + 1) * MOMENTS), decoded);
    lossCurve.update([{ name: `loss of image ${told.numbers[i]}`, run: "", color: 0, dash: 0, x: told.steps, y, low: null, high: null, error: null, smooth: false }]);
  }
}

function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, wide = Math.max(1, Math.round(canvas.clientWidth * ratio)), high = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
  return canvas.getContext("2d");
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawStrip() {
  if (now.image === null) return;
  const canvas = $("strip"), context = sized(canvas), { width, height } = canvas, start = now.image * MOMENTS, calm = colour("--right");
  for (let t = 0; t < MOMENTS; t++) {
    const kind = byImage[start + t], left = Math.floor((t * width) / MOMENTS), right = Math.ceil(((t + 1) * width) / MOMENTS);
    context.fillStyle = kind === told.labels[now.image] ? calm : hue(kind);
    context.fillRect(left, 0, right - left, height);
  }
  context.fillStyle = colour("--ink");
  context.fillRect(((now.moment + 0.5) * width) / MOMENTS - 1, 0, 2, height);
}

// Every pixel is the share of right ones among the images and measurements that fall on it.
function drawRaster() {
  const canvas = $("cells"), context = sized(canvas), wide = Math.min(canvas.width, MOMENTS), high = Math.min(canvas.height, rows.length);
  if (!canvas.clientWidth) return;
  const wrong = new Float32Array(wide * high), all = new Float32Array(wide * high);
  const columns = Int32Array.from({ length: MOMENTS }, (_, t) => Math.floor((t * wide) / MOMENTS));
  for (let place = 0; place < rows.length; place++) {
    const i = rows[place], label = told.labels[i], row = Math.floor((place * high) / rows.length) * wide;
    for (let t = 0; t < MOMENTS; t++) {
      const at = row + columns[t];
      all[at]++;
      if (byImage[i * MOMENTS + t] !== label) wrong[at]++;
    }
  }
  const [calm, bad] = ["--right", "--wrong"].map((name) => colour(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)));
  const small = new OffscreenCanvas(wide, high), paint = small.getContext("2d"), pixels = paint.createImageData(wide, high);
  for (let at = 0; at < wide * high; at++) {
    const share = Math.sqrt(wrong[at] / all[at]); // so that few among many are seen
    for (let part = 0; part < 3; part++) pixels.data[4 * at + part] = calm[part] + (bad[part] - calm[part]) * share;
    pixels.data[4 * at + 3] = 255;
  }
  paint.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function chooseRows() {
  rows = order.slice($("rows").value === "all" ? 0 : COUNT - Math.max(1, Math.round(COUNT / 10)));
}

function markRaster() {
  const canvas = $("marks"), context = sized(canvas), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colour("--ink");
  context.fillRect(((now.moment + 0.5) * width) / MOMENTS - 1, 0, 2, height);
  const row = rows.indexOf(now.image);
  if (row >= 0) context.fillRect(0, ((row + 0.5) * height) / rows.length - 1, width, 2);
}

function showFalls() {
  $("falls").replaceChildren(...told.falls.map((fall, number) => {
    const item = make("li"), button = make("button");
    const z = fall.z === null ? "" : ` (${fall.z.toFixed(1)} standard errors)`;
    button.append(make("b", `after step ${whole(fall.step)}`), ` lost ${whole(fall.lost)}, gained ${whole(fall.gained)}${z}`);
    button.addEventListener("click", () => {
      const at = told.steps.findIndex((one) => one >= fall.step);
      show({ fall: number, moment: at < 0 ? MOMENTS - 1 : at, tab: "lost" });
    });
    item.append(button);
    return item;
  }));
  if (!told.falls.length) $("falls").append(make("li", "None: the accuracy never fell after the first tenth of the run."));
}

function showBatches() {
  for (const [number, item] of [...$("falls").children].entries()) item.firstChild.setAttribute?.("aria-pressed", String(number === now.fall));
  const fall = told.falls[now.fall], box = $("batches");
  if (!fall) return;
  const left = fall.step - fall.before - fall.batches.length;
  box.replaceChildren(make("p", `${fall.step === fall.before + 1 ? `Between the measurements lies step ${whole(fall.before)}` : `Between the measurements lie the steps ${whole(fall.before)} to ${whole(fall.step - 1)}`}${!left ? "" : fall.batches.length ? `; these are the last ${fall.batches.length} of them` : "; which images were in their batches was not recorded"}. Steps are numbered from 0, as for run.batch_indices and insight.replay. That a batch came before a fall does not show that it caused it.`, "note"));
  for (const batch of [...fall.batches].reverse()) {
    const more = batch.images.length < batch.size ? `, the first ${batch.images.length} of them` : "";
    box.append(make("h3", `The batch of step ${whole(batch.step)}: ${plural(batch.size, "image")}${more}`));
    const tiles = make("div", undefined, "tiles");
    for (const place of batch.images) {
      const tile = make("div", undefined, "tile");
      tile.append(picture(told.trained.images, place, scaleTo(told.trained.images, 32)), make("span", told.classes[told.trained.labels[place]]));
      tile.title = `training image ${told.trained.numbers[place]}, labelled ${told.classes[told.trained.labels[place]]}`;
      tiles.append(tile);
    }
    box.append(tiles);
  }
}

// ---- beginning

function momentOf(x) {
  let best = 0;
  for (let t = 1; t < MOMENTS; t++) if (Math.abs(told.steps[t] - x) < Math.abs(told.steps[best] - x)) best = t;
  return best;
}

function within(element, event, count) {
  const box = element.getBoundingClientRect();
  return [Math.min(MOMENTS - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * MOMENTS))), Math.min(count - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * count)))];
}

function play(on) {
  clearTimeout(now.playing);
  now.playing = 0;
  $("play").textContent = on ? "❚❚ stop" : "▶ play";
  if (!on) return;
  if (now.moment === MOMENTS - 1) show({ moment: 0 });
  const next = () => {
    show({ moment: now.moment + 1 });
    if (now.moment < MOMENTS - 1) now.playing = setTimeout(next, PACE); else play(false);
  };
  now.playing = setTimeout(next, PACE);
}

function listen() {
  $("slider").addEventListener("input", () => show({ moment: Number($("slider").value) }));
  $("play").addEventListener("click", () => play(!now.playing));
  for (const button of $("tabs").children) button.addEventListener("click", () => show({ tab: button.dataset.tab }));
  $("more").addEventListener("click", () => show({ tiles: now.tiles + MOST }));
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const image = places.get(Number($("number").value));
    $("no-such").hidden = image !== undefined;
    if (image !== undefined) show({ image });
  });
  $("raster").addEventListener("click", (event) => {
    const [moment, place] = within($("raster"), event, rows.length);
    show({ moment, image: rows[place] });
  });
  $("raster").addEventListener("pointermove", (event) => {
    const [moment, place] = within($("raster"), event, rows.length), i = rows[place];
    $("raster").title = `test image ${told.numbers[i]}, ${step(moment)}: ${told.classes[told.labels[i]]} taken for ${told.classes[byMoment[moment * COUNT + i]]}`;
  });
  $("strip").addEventListener("click", (event) => show({ moment: within($("strip"), event, 1)[0] }));
  $("strip").addEventListener("pointermove", (event) => {
    const [moment] = within($("strip"), event, 1);
    $("strip").title = `${step(moment)}: taken for ${told.classes[byMoment[moment * COUNT + now.image]]}`;
  });
  $("rows").addEventListener("change", () => {
    chooseRows();
    drawRaster();
    markRaster();
  });
  const again = () => { drawRaster(); markRaster(); drawStrip(); };
  new ResizeObserver(again).observe($("raster"));
  dark.addEventListener("change", again);
}

async function begin() {
  await Promise.all([told.images, told.trained.images].map(opened));
  byImage = await unpack(told.predictions, told.wide);
  if (told.losses) lossCodes = await unpack(told.losses, false);
  byMoment = turned(byImage, COUNT, MOMENTS);
  facts = account();
  order = Array.from({ length: COUNT }, (_, i) => i).sort((a, b) => facts.good[a] - facts.good[b] || facts.right[b] - facts.right[a] || a - b);
  chooseRows();
  $("slider").max = MOMENTS - 1;
  curve = createChart($("curve"), { title: "Test error", unit: "fraction", log: true, height: 240, mark: told.steps[now.moment], onPick: (x) => show({ moment: momentOf(x) }) });
  const line = (name, y, color) => ({ name, run: "", color, dash: color, x: told.steps, y: y.map((value) => (value === null ? NaN : value)), low: null, high: null, error: null, smooth: false });
  curve.update([line("wrong", told.accuracy.map((value) => (value === null ? null : 1 - value)), 0)]);
  lossCurve = createChart($("losses"), { title: "", log: true, height: 150, mark: told.steps[now.moment], onPick: (x) => show({ moment: momentOf(x) }) });
  $("first-step").textContent = step(0);
  $("last-step").textContent = step(MOMENTS - 1);
  listen();
  showFalls();
  showNow();
  showMatrix();
  showTiles();
  drawRaster();
  show({ image: hardest() });
  $("slider").value = now.moment;
  document.body.dataset.ready = "yes";
}

// The image to begin with: the one that was lost most often.
function hardest() {
  let best = 0;
  for (let i = 1; i < COUNT; i++) if (facts.lost[i] > facts.lost[best]) best = i;
  return best;
}

begin().catch((error) => {
  $("now").textContent = `This page needs a browser of 2023 or later: ${error}`;
  throw error;
});

"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const film = JSON.parse($("film").textContent);
  const bytes = Uint8Array.from(atob(film.matrices), (c) => c.charCodeAt(0));
  const cells = film.wide ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  const size = film.kept.length, last = film.steps.length - 1;
  const names = film.kept.map((number) => film.names[number]);
  const number = new Intl.NumberFormat("en");
  const percent = (part, digits = 2) => `${(100 * part).toFixed(digits)}%`;
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  let frame = last, timer = 0, over = null, colours;

  // ---- colours, which follow the light or dark of the page -------------------------------------------

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    const stops = get("--ramp").split(",").map((hex) => hex.trim().match(/\w\w/g).map((pair) => parseInt(pair, 16)));
    const ramp = (share) => {
      const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
      const mixed = stops[low].map((value, i) => Math.round(value + (at - low) * (stops[low + 1][i] - value)));
      return `rgb(${mixed.join(",")})`;
    };
    colours = { ramp, ink: get("--ink"), dim: get("--dim"), line: get("--line"), link: get("--link"), mark: get("--mark"),
      diagonal: get("--diagonal"), flip: Number(get("--flip")), low: get("--low"), high: get("--high") };
  }

  function canvas(id) {
    const element = $(id), box = element.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    element.width = Math.round(box.width * scale);
    element.height = Math.round(box.height * scale);
    const pen = element.getContext("2d");
    pen.scale(scale, scale);
    return { pen, width: box.width, height: box.height };
  }

  // ---- the matrix ------------------------------------------------------------------------------------

  const count = (at, row, column) => cells[(at * size + row) * size + column];
  let grid = { left: 0, top: 0, side: 1 };

  function drawMatrix() {
    const { pen, width, height } = canvas("matrix");
    const fontSize = size > 40 ? 9 : size > 20 ? 10 : 12;
    pen.font = `${fontSize}px system-ui, sans-serif`;
    const shown = names.map((name) => short(name, 12));
    const widest = Math.max(...shown.map((name) => pen.measureText(name).width));
    const left = widest + 30, upright = widest + 4 < (width - left - 4) / size;
    const bottom = (upright ? 12 : widest) + 34;
    const side = Math.max(1, Math.min(width - left - 4, height - bottom - 4) / size);
    grid = { left, top: 4, side };
    const most = film.images.reduce((a, b) => Math.max(a, b), 1);
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        const value = count(frame, row, column), x = left + column * side, y = 4 + row * side;
        const share = Math.pow(value / Math.max(film.images[row], 1), 0.4);
        pen.fillStyle = row === column ? colours.diagonal : colours.ramp(share);
        pen.fillRect(x, y, side + 0.5, side + 0.5);
      }
    }
    const digits = Math.max(String(most).length, 2), text = Math.min(13, side * 0.9 / (0.62 * digits), side * 0.6);
    if (text >= 6) {
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.font = `${text}px system-ui, sans-serif`;
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
          const value = count(frame, row, column);
          if (!value) continue;
          const share = Math.pow(value / Math.max(film.images[row], 1), 0.4);
          pen.fillStyle = row !== column && share > colours.flip ? colours.high : colours.low;
          pen.fillText(String(value), left + (column + 0.5) * side, 4 + (row + 0.5) * side);
        }
      }
    }
    if (size <= 40) {
      pen.strokeStyle = colours.line;
      pen.lineWidth = 0.5;
      for (let k = 0; k <= size; k++) {
        pen.strokeRect(left, 4 + k * side, size * side, 0);
        pen.strokeRect(left + k * side, 4, 0, size * side);
      }
    }
    pen.fillStyle = colours.ink;
    pen.font = `${fontSize}px system-ui, sans-serif`;
    const each = Math.max(1, Math.ceil((fontSize + 1) / side));
    shown.forEach((name, k) => {
      if (k % each) return;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillText(name, left - 5, 4 + (k + 0.5) * side);
      pen.save();
      pen.translate(left + (k + 0.5) * side, 4 + size * side + 6);
      if (!upright) {
        pen.rotate(-Math.PI / 2);
      } else {
        pen.textAlign = "center";
        pen.textBaseline = "top";
      }
      pen.fillText(name, 0, 0);
      pen.restore();
    });
    pen.fillStyle = colours.dim;
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.fillText("predicted class", left + (size * side) / 2, Math.min(height - 4, 4 + size * side + bottom - 8));
    pen.save();
    pen.translate(11, 4 + (size * side) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("true class", 0, 0);
    pen.restore();
    if (over) {
      pen.strokeStyle = colours.link;
      pen.lineWidth = 2;
      pen.strokeRect(left + over[1] * side, 4 + over[0] * side, side, side);
    }
  }

  function tellCell() {
    if (!over) {
      $("cell").textContent = "Colours: the part of a class that is taken for another. Point at a cell.";
      return;
    }
    const [row, column] = over, value = count(frame, row, column), of = film.images[row];
    const what = row === column ? `${names[row]} recognised` : `${names[row]} taken for ${names[column]}`;
    $("cell").textContent = `${what}: ${number.format(value)} of ${number.format(of)} images` +
      (of ? ` (${percent(value / of)})` : "");
  }

  // ---- accuracy, flows, alarms -----------------------------------------------------------------------

  let across = () => 0, stepAt = () => 0;

  function drawCurve() {
    const { pen, width, height } = canvas("curve");
    const [steps, values] = film.curve, left = 44, right = width - 8, top = 8, bottom = height - 20;
    const first = steps[0], span = Math.max(steps[steps.length - 1] - first, 1);
    const late = values.slice(Math.floor(values.length / 5));
    let low = Math.min(...late), high = Math.max(...late);
    if (high - low < 0.004) { low -= 0.002; high += 0.002; }
    low = Math.max(0, low - 0.06 * (high - low));
    high = Math.min(1, high + 0.06 * (high - low));
    across = (step) => left + ((right - left) * (step - first)) / span;
    stepAt = (x) => first + (span * (x - left)) / (right - left);
    const up = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const value of [low, (low + high) / 2, high]) {
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(left, up(value));
      pen.lineTo(right, up(value));
      pen.stroke();
      pen.fillStyle = colours.dim;
      pen.fillText(percent(value, 1), left - 5, up(value));
    }
    pen.save();
    pen.beginPath();
    pen.rect(left, top - 4, right - left + 8, bottom - top + 8);
    pen.clip();
    pen.strokeStyle = colours.link;
    pen.lineWidth = 1.4;
    pen.lineJoin = "round";
    pen.beginPath();
    steps.forEach((step, k) => pen.lineTo(across(step), up(values[k])));
    pen.stroke();
    pen.restore();
    pen.fillStyle = colours.mark;
    for (const [step] of film.alarms) pen.fillRect(across(step) - 0.75, bottom, 1.5, 6);
    const x = across(film.steps[frame]), y = Math.min(bottom, Math.max(top, up(film.accuracy[frame])));
    pen.strokeStyle = colours.dim;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, top);
    pen.lineTo(x, bottom);
    pen.stroke();
    pen.fillStyle = colours.mark;
    pen.beginPath();
    pen.arc(x, y, 4.5, 0, 7);
    pen.fill();
    pen.fillStyle = colours.dim;
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    pen.fillText(number.format(first), left, height - 4);
    pen.textAlign = "right";
    pen.fillText(`${number.format(first + span)} mini-batches`, right, height - 4);
  }

  function tellFlows() {
    const body = $("flows").querySelector("tbody");
    $("since").textContent = frame ? `Largest flows since step ${number.format(film.steps[frame - 1])}` : "Largest flows";
    body.replaceChildren(...film.flows[frame].map(([label, source, target, images]) => {
      const row = document.createElement("tr");
      const sign = target === label ? "+" : source === label ? "−" : "";
      row.className = target === label ? "gained" : source === label ? "lost" : "";
      for (const text of [film.names[label], film.names[source], film.names[target], sign + number.format(images)]) {
        row.appendChild(document.createElement("td")).textContent = text;
      }
      return row;
    }));
  }

  function tellAlarm() {
    const since = frame ? film.steps[frame - 1] : -1, now = film.steps[frame];
    const rung = film.alarms.filter(([step]) => step > since && step <= now);
    const texts = rung.slice(0, 2).map(([step, which, fall, errors]) =>
      `Step ${number.format(step)}: class ${film.names[which]} fell alone by ${(100 * fall).toFixed(1)} points ` +
      `(${errors.toFixed(1)} standard errors).`);
    if (rung.length > 2) texts.push(`And ${rung.length - 2} more.`);
    const all = film.alarms.length;
    $("alarm").textContent = texts.join(" ") || (all ? `Orange marks: a class fell alone by more than ${film.threshold} ` +
      `standard errors from a measurement to the next, ${all === 1 ? "once" : `${all} times`} in all.` : "No class fell alone.");
    $("alarm").classList.toggle("on", rung.length > 0);
  }

  // ---- frames ----------------------------------------------------------------------------------------

  function draw() {
    drawMatrix();
    drawCurve();
    tellCell();
  }

  function show(next) {
    frame = Math.min(Math.max(next, 0), last);
    $("slider").value = String(frame);
    $("slider").setAttribute("aria-valuetext", `step ${film.steps[frame]}`);
    $("now").textContent = `step ${number.format(film.steps[frame])} · ${percent(film.accuracy[frame])} right`;
    tellFlows();
    tellAlarm();
    draw();
  }

  function play(on) {
    clearInterval(timer);
    timer = 0;
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(on));
    if (!on) return;
    if (frame === last) show(0);
    timer = setInterval(() => (frame < last ? show(frame + 1) : play(false)), Math.max(40, Math.min(500, 12000 / (last + 1))));
  }

  $("slider").max = String(last);
  $("slider").addEventListener("input", (event) => { play(false); show(Number(event.target.value)); });
  $("play").addEventListener("click", () => play(!timer));
  document.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: frame - 1, ArrowRight: frame + 1, Home: 0, End: last };
    if (event.key === " " && event.target.id !== "play") play(!timer);
    else if (event.key in moves) { play(false); show(moves[event.key]); }
    else return;
    event.preventDefault();
  });
  $("curve").addEventListener("click", (event) => {
    const step = stepAt(event.offsetX);
    let best = 0;
    film.steps.forEach((each, k) => { if (Math.abs(each - step) < Math.abs(film.steps[best] - step)) best = k; });
    play(false);
    show(best);
  });
  $("matrix").addEventListener("pointermove", (event) => {
    const column = Math.floor((event.offsetX - grid.left) / grid.side), row = Math.floor((event.offsetY - grid.top) / grid.side);
    over = row >= 0 && column >= 0 && row < size && column < size ? [row, column] : null;
    drawMatrix();
    tellCell();
  });
  $("matrix").addEventListener("pointerleave", () => { over = null; drawMatrix(); tellCell(); });
  $("note").textContent = film.note;
  const again = () => { readColours(); draw(); };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  new ResizeObserver(draw).observe($("matrix"));
  readColours();
  show(last);
})();

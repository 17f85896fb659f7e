/* A chart of curves that grow: drawn on a canvas, needing nothing else, for the page of `everybatch watch` and for notebooks.

const chart = createChart(element, options);      // fills the element, which decides the width
  options.title      text above the chart; ""
  options.unit       "number" (default), "fraction" (written in percent, within 0 and 1) or "seconds"
  options.xLabel     text below the chart; "mini-batches"
  options.height     of the drawing in CSS pixels; 260
  options.log        a logarithmic y axis; false
  options.smooth     width, in units of x, of the centred mean drawn above the raw values; 0: none
  options.bands      whether bands of two standard errors are drawn; true
  options.theme      "auto" (prefers-color-scheme; default), "light" or "dark"
  options.onView     function ({from, to, columns}): what is to be seen changed. `from` and `to` are numbers, or null
                     where everything is shown; `columns` is the width in pixels. Whoever has more data than pixels sends
                     that window with `update`.
  options.mark       an x at which a line stands across the chart; null
  options.onPick     function (x): a value was chosen by a click, or by Enter at the cursor
chart.update(series, {extent})                     // the whole content, as often as there is something new
  series             a list of
    name, run        texts: what it is ("test"), and of which run ("runs/a"; "" where there is only one)
    color, dash      whole numbers from 0: colours and markers; dashes. Equal numbers look alike.
    x, y             arrays of numbers; x rises. null or NaN in y: a gap. Where a pixel column holds several values y is their mean
    low, high        arrays, or null: the least and the greatest value of each pixel column
    error            array or null: the standard error of each value (the largest in a column)
    bandLow, bandHigh  arrays or null: the ends of the band, if not y - 2 error and y + 2 error
    smooth           whether it is smoothed when smoothing is on
  extent             [first, last] x of all there is, where `series` holds a window only; else that of the series
chart.set({log, smooth, bands, theme, title, unit, xLabel, mark})   // any of them
chart.view()                                       // {from, to, columns}, as onView gets it
chart.show(from, to)                               // shows a window; null, null: everything
chart.toPNG({width, height, theme})                // a data: URL, with title and names in the picture; options: all may be left out
chart.destroy()

Mouse: drag zooms in, a double click shows everything, hovering tells the values, a click on a name hides its curve.
Keys: ← → move the window, + − zoom, 0 shows everything, Shift with ← → moves the cursor from value to value (with Page Up
and Page Down ten at a time), Home and End put it at the ends, Esc takes it away. Values at the cursor are read out: of each
curve that has begun and not ended there the one that is nearest, with its x where that is another one.
Names are put in as text, never as markup. */

const COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"],
  dark: ["#4aa8ea", "#ff8540", "#22c497", "#e59ac4", "#9ad6fa", "#f5bb3d", "#f0f0f0"],
};
const INKS = {
  light: { ground: "#ffffff", raised: "#ffffff", ink: "#262626", dim: "#5f6368", line: "#e3e5e8", axis: "#9aa0a6", focus: "#0072b2" },
  dark: { ground: "#17191c", raised: "#25292e", ink: "#e8e8e8", dim: "#a9afb6", line: "#30343a", axis: "#6b7178", focus: "#6cb8e6" },
};
const DASHES = [[], [8, 3], [2, 2.5], [9, 3, 2, 3]];
const MARKERS = [
  (c, r) => c.arc(0, 0, r, 0, 7),
  (c, r) => c.rect(-r * 0.88, -r * 0.88, r * 1.76, r * 1.76),
  (c, r) => polygon(c, r * 1.15, [[0, -1], [0.95, 0.8], [-0.95, 0.8]]),
  (c, r) => polygon(c, r * 1.25, [[0, -1], [1, 0], [0, 1], [-1, 0]]),
  (c, r) => polygon(c, r * 1.15, [[0, 1], [0.95, -0.8], [-0.95, -0.8]]),
  (c, r) => polygon(c, r * 1.1, [[-.35, -1], [.35, -1], [.35, -.35], [1, -.35], [1, .35], [.35, .35], [.35, 1], [-.35, 1], [-.35, .35], [-1, .35], [-1, -.35], [-.35, -.35]]),
  (c, r) => polygon(c, r * 1.2, [[0, -1], [.3, -.3], [1, 0], [.3, .3], [0, 1], [-.3, .3], [-1, 0], [-.3, -.3]]),
];
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const MARGIN = { left: 62, right: 14, top: 10, bottom: 40 };
const FEW = 30; // points that are so few that each gets a marker
const MOST_TOLD = 12; // values beside the cursor
const APART = 110; // pixels from one marker to the next otherwise

export function createChart(element, options = {}) {
  const settings = {
    title: "", unit: "number", xLabel: "mini-batches", height: 260, log: false, smooth: 0, bands: true, theme: "auto",
    onView: null, mark: null, onPick: null, ...options,
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set(); // names of curves that are switched off
  let series = [], extent = null, view = null, cursor = null, byKeys = false, drag = null, frame = 0, width = 0;
  let told = null, legendKey = "";

  // ---- elements

  const root = make("div", { position: "relative", fontFamily: FONT, fontSize: "13px", lineHeight: "1.4", minWidth: "0" });
  const head = make("div", { display: "flex", flexWrap: "wrap", gap: "2px 14px", alignItems: "baseline", margin: "0 0 4px", maxHeight: "150px", overflow: "auto" });
  const title = make("div", { fontWeight: "600", fontSize: "15px", marginRight: "6px" });
  const legend = make("div", { display: "contents" });
  const frameBox = make("div", { position: "relative", touchAction: "pan-y", borderRadius: "4px", outline: "none" });
  const canvas = make("canvas", { display: "block", width: "100%", cursor: "crosshair" });
  const tip = make("div", {
    position: "absolute", pointerEvents: "none", top: "8px", padding: "6px 9px", borderRadius: "6px", borderStyle: "solid",
    borderWidth: "1px", fontSize: "12.5px", whiteSpace: "nowrap", display: "none", zIndex: "2", fontVariantNumeric: "tabular-nums",
    boxShadow: "0 2px 8px rgba(0,0,0,.18)", maxWidth: "70%", overflow: "hidden",
  });
  const spoken = make("div", {
    position: "absolute", width: "1px", height: "1px", overflow: "hidden", clipPath: "inset(50%)",
  });
  spoken.setAttribute("aria-live", "polite");
  spoken.className = "everybatch-spoken";
  tip.className = "everybatch-tip";
  tip.setAttribute("aria-hidden", "true"); // `spoken` tells the same
  frameBox.tabIndex = 0;
  frameBox.className = "everybatch-chart";
  frameBox.setAttribute("role", "application");
  frameBox.setAttribute("aria-roledescription", "chart");
  head.append(title, legend);
  frameBox.append(canvas, tip);
  root.append(head, frameBox, spoken);
  element.append(root);

  // ---- what is shown

  const theme = () => (settings.theme === "auto" ? (dark.matches ? "dark" : "light") : settings.theme);
  const shown = () => series.filter((one) => !hidden.has(keyOf(one)));
  const everything = () => {
    if (extent) return extent;
    let first = Infinity, last = -Infinity;
    for (const { x } of series) {
      if (x.length) { first = Math.min(first, x[0]); last = Math.max(last, x[x.length - 1]); }
    }
    return first <= last ? [first, last] : [0, 1];
  };
  const range = () => {
    const [first, last] = view || everything();
    return last > first ? [first, last] : [first - 0.5, first + 0.5];
  };

  function seen() {
    return { from: view && view[0], to: view && view[1], columns: Math.max(1, Math.round(width - MARGIN.left - MARGIN.right)) };
  }

  function tell() {
    if (!settings.onView || !width) return;
    const now = seen(), key = JSON.stringify(now);
    if (key !== told) { told = key; settings.onView(now); }
  }

  function show(from, to) {
    const [first, last] = everything();
    if (from === null || to === null || (from <= first && to >= last)) view = null;
    else {
      const least = Math.min(last - first, 2); // no closer than three values or so
      let size = Math.min(Math.max(to - from, least), last - first);
      let start = Math.min(Math.max((from + to - size) / 2, first), last - size);
      view = size >= last - first ? null : [start, start + size];
    }
    tell();
    redraw();
  }

  // ---- drawing

  function redraw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint(); });
  }

  function paint() {
    const ink = INKS[theme()];
    root.style.color = ink.ink;
    title.textContent = settings.title;
    title.style.display = settings.title ? "" : "none";
    Object.assign(tip.style, { background: ink.raised, borderColor: ink.axis, color: ink.ink });
    frameBox.style.boxShadow = frameBox.matches(":focus-visible") ? `0 0 0 2px ${ink.focus}` : "none";
    frameBox.setAttribute("aria-label", summary());
    drawLegend();
    const box = Math.floor(frameBox.clientWidth), ratio = window.devicePixelRatio || 1;
    if (box !== width) { width = box; tell(); }
    if (!width) return;
    const height = settings.height;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const plot = drawPlot(context, width, height, theme());
    if (drag && Math.abs(drag.to - drag.from) > 2) {
      context.fillStyle = ink.focus;
      context.globalAlpha = 0.18;
      context.fillRect(Math.min(drag.from, drag.to), MARGIN.top, Math.abs(drag.to - drag.from), height - MARGIN.top - MARGIN.bottom);
      context.globalAlpha = 1;
    }
    drawMark(context, plot, ink);
    drawCursor(context, plot, ink);
  }

  function drawMark(context, plot, ink) {
    if (settings.mark === null || settings.mark < plot.from || settings.mark > plot.to) return;
    const x = Math.round(plot.px(settings.mark)) + 0.5;
    context.strokeStyle = ink.focus;
    context.lineWidth = 2;
    line(context, [[x, plot.area.top - 4], [x, plot.area.bottom]]);
    context.lineWidth = 1;
  }

  function drawPlot(context, wide, high, mode) {
    const ink = INKS[mode], palette = COLOURS[mode];
    const area = { left: MARGIN.left, right: wide - MARGIN.right, top: MARGIN.top, bottom: high - MARGIN.bottom };
    const [from, to] = range(), lines = shown();
    const [low, top] = heights(lines, from, to);
    const up = settings.log ? Math.log10 : (value) => value;
    const [ground, roof] = [up(low), up(top)];
    const px = (x) => area.left + ((x - from) / (to - from)) * (area.right - area.left);
    const py = (y) => area.bottom - ((up(y) - ground) / (roof - ground)) * (area.bottom - area.top);
    context.font = `12px ${FONT}`;
    context.lineJoin = "round";
    context.textBaseline = "middle";
    context.lineWidth = 1;
    const rows = settings.log ? decades(low, top) : ticks(low, top, Math.max(3, (area.bottom - area.top) / 32));
    context.textAlign = "right";
    for (const value of rows) {
      const y = Math.round(py(value)) + 0.5;
      if (y < area.top - 1 || y > area.bottom + 1) continue;
      context.strokeStyle = ink.line;
      line(context, [[area.left, y], [area.right, y]]);
      context.fillStyle = ink.dim;
      context.fillText(written(value, settings.unit, rows), area.left - 8, y);
    }
    context.textAlign = "center";
    const columns = ticks(from, to, Math.max(2, (area.right - area.left) / 95));
    for (const value of columns) {
      const x = px(value);
      if (x < area.left - 0.5 || x > area.right + 0.5) continue;
      context.strokeStyle = ink.axis;
      line(context, [[Math.round(x) + 0.5, area.bottom], [Math.round(x) + 0.5, area.bottom + 4]]);
      context.fillStyle = ink.dim;
      context.fillText(plain(value), Math.min(x, wide - MARGIN.right - context.measureText(plain(value)).width / 2 + 10), area.bottom + 14);
    }
    context.strokeStyle = ink.axis;
    line(context, [[area.left + 0.5, area.top], [area.left + 0.5, area.bottom + 0.5], [area.right, area.bottom + 0.5]]);
    context.fillStyle = ink.dim;
    context.fillText(settings.xLabel, (area.left + area.right) / 2, area.bottom + 31);
    if (!lines.some((one) => one.y.some(known))) {
      context.font = `14px ${FONT}`;
      context.fillText(series.length && !lines.length ? "all curves are hidden" : "no values yet", (area.left + area.right) / 2, (area.top + area.bottom) / 2);
    }
    context.save();
    context.beginPath();
    context.rect(area.left, area.top - 4, area.right - area.left + (view ? 0 : 5), area.bottom - area.top + 8);
    context.clip();
    if (settings.bands) for (const one of lines) drawBand(context, one, palette, px, py);
    const smoothed = new Map();
    for (const one of lines) {
      const isSmooth = settings.smooth > 0 && one.smooth;
      context.strokeStyle = palette[one.color % palette.length];
      context.globalAlpha = isSmooth ? 0.4 : 1;
      context.lineWidth = isSmooth ? 1 : 1.7;
      context.setLineDash(isSmooth || crowded(one, px) ? [] : DASHES[one.dash % DASHES.length]);
      drawValues(context, one, px, py);
      if (isSmooth) smoothed.set(one, { ...one, y: smooth(one, settings.smooth), low: null, high: null });
    }
    context.globalAlpha = 1;
    lines.forEach((one, number) => {
      const curve = smoothed.get(one) || one;
      context.strokeStyle = palette[one.color % palette.length];
      if (smoothed.has(one)) {
        // A ground behind it, so that it stands out from raw values of the same colour.
        for (const [stroke, size] of [[ink.ground, 4.6], [palette[one.color % palette.length], 2.4]]) {
          context.strokeStyle = stroke;
          context.lineWidth = size;
          context.setLineDash(size > 4 ? [] : DASHES[one.dash % DASHES.length]);
          context.globalAlpha = size > 4 ? 0.7 : 1;
          drawValues(context, curve, px, py);
        }
      }
      context.setLineDash([]);
      drawMarkers(context, curve, number, lines.length, px, py, palette[one.color % palette.length], ink.ground);
    });
    context.restore();
    context.setLineDash([]);
    return { area, px, py, from, to, lines, palette };
  }

  function heights(lines, from, to) {
    let low = Infinity, high = -Infinity;
    const least = settings.log ? Number.MIN_VALUE : -Infinity;
    const take = (value) => {
      if (!known(value) || value < least) return;
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const one of lines) {
      const [first, last] = within(one.x, from, to);
      const band = settings.bands ? bandOf(one) : null;
      for (let i = first; i < last; i++) {
        take(one.low ? one.low[i] : one.y[i]);
        take(one.high ? one.high[i] : one.y[i]);
        if (band) { take(band.low(i)); take(band.high(i)); }
      }
    }
    if (low > high) return settings.log ? [0.1, 1] : [0, 1];
    if (settings.log) {
      const room = high > low ? (high / low) ** 0.04 : 1.5;
      return [low / room, high * room];
    }
    const room = high > low ? (high - low) * 0.05 : Math.abs(high) * 0.1 || 0.5;
    let [bottom, top] = [low - room, high + room];
    if (low >= 0) bottom = Math.max(0, bottom);
    if (settings.unit === "fraction" && high <= 1) top = Math.min(1.004, top);
    return [bottom, top];
  }

  function bandOf(one) {
    if (one.bandLow && one.bandHigh) return { low: (i) => one.bandLow[i], high: (i) => one.bandHigh[i] };
    if (!one.error || !one.error.some((value) => value > 0)) return null;
    const most = settings.unit === "fraction" ? 1 : Infinity;
    const off = (i, sign) => (known(one.y[i]) ? Math.min(most, Math.max(0, one.y[i] + sign * 2 * (one.error[i] || 0))) : NaN);
    return { low: (i) => off(i, -1), high: (i) => off(i, 1) };
  }

  function drawBand(context, one, palette, px, py) {
    const band = bandOf(one);
    if (!band) return;
    context.fillStyle = palette[one.color % palette.length];
    context.globalAlpha = theme() === "dark" ? 0.3 : 0.22;
    const floor = settings.log ? 1e-12 : -Infinity;
    let start = 0;
    for (let i = 0; i <= one.x.length; i++) {
      if (i < one.x.length && known(band.low(i)) && known(band.high(i))) continue;
      if (i > start) {
        context.beginPath();
        for (let j = start; j < i; j++) context.lineTo(px(one.x[j]), py(Math.max(floor, band.high(j))));
        for (let j = i - 1; j >= start; j--) context.lineTo(px(one.x[j]), py(Math.max(floor, band.low(j))));
        context.fill();
      }
      start = i + 1;
    }
    context.globalAlpha = 1;
  }

  // A column that holds several values is drawn as a stroke from the least to the greatest, which is how the line through
  // all of them would look.
  function drawValues(context, one, px, py) {
    const usable = (value) => known(value) && (!settings.log || value > 0);
    context.beginPath();
    let open = false;
    for (let i = 0; i < one.x.length; i++) {
      const x = px(one.x[i]);
      if (one.low && one.high && usable(one.low[i]) && usable(one.high[i]) && one.low[i] < one.high[i]) {
        // Nearer end first, so that neighbours join without a stroke across the column.
        const flip = open && i && known(one.y[i - 1]) && one.y[i - 1] > one.y[i];
        const [a, b] = flip ? [one.high[i], one.low[i]] : [one.low[i], one.high[i]];
        if (open) context.lineTo(x, py(a)); else context.moveTo(x, py(a));
        context.lineTo(x, py(b));
        open = true;
      } else if (usable(one.y[i])) {
        if (open) context.lineTo(x, py(one.y[i])); else context.moveTo(x, py(one.y[i]));
        open = true;
      } else open = false;
    }
    context.stroke();
  }

  function drawMarkers(context, one, number, count, px, py, colour, ground) {
    const [first, last] = within(one.x, ...range());
    const all = last - first <= FEW;
    let next = -Infinity;
    const shift = all ? 0 : (APART * number) / Math.max(1, count);
    const shape = MARKERS[one.color % MARKERS.length];
    for (let i = first; i < last; i++) {
      const x = px(one.x[i]);
      if (next === -Infinity) next = px(range()[0]) + 12 + shift;
      if (!known(one.y[i]) || (settings.log && one.y[i] <= 0) || (!all && x < next)) continue;
      next = x + APART;
      context.save();
      context.translate(x, py(one.y[i]));
      context.beginPath();
      shape(context, all ? 3.4 : 4.2);
      context.fillStyle = colour;
      context.strokeStyle = ground;
      context.lineWidth = 1.6;
      context.stroke();
      context.fill();
      context.restore();
    }
  }

  function drawCursor(context, plot, ink) {
    if (cursor === null || !plot.lines.length || cursor < plot.from || cursor > plot.to) {
      tip.style.display = "none";
      return;
    }
    const rows = readings(plot.lines);
    if (!rows.length) { tip.style.display = "none"; return; }
    const x = plot.px(cursor);
    context.strokeStyle = ink.dim;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    line(context, [[Math.round(x) + 0.5, plot.area.top], [Math.round(x) + 0.5, plot.area.bottom]]);
    context.setLineDash([]);
    tip.replaceChildren();
    const where = make("div", { color: ink.dim, marginBottom: "2px" });
    where.textContent = place(cursor);
    tip.append(where);
    rows.forEach(({ one, i, text, more }, number) => {
      const y = plot.py(one.y[i]);
      if (y >= plot.area.top - 4 && y <= plot.area.bottom + 4) {
        context.beginPath();
        context.arc(plot.px(one.x[i]), y, 4, 0, 7);
        context.fillStyle = plot.palette[one.color % plot.palette.length];
        context.strokeStyle = ink.ground;
        context.lineWidth = 1.5;
        context.fill();
        context.stroke();
      }
      const row = make("div", { display: "flex", gap: "8px", alignItems: "center" });
      const name = make("span", { overflow: "hidden", textOverflow: "ellipsis", maxWidth: "22em" });
      name.textContent = keyOf(one);
      const value = make("b", { marginLeft: "auto", paddingLeft: "10px" });
      value.textContent = text;
      const rest = make("span", { color: ink.dim });
      rest.textContent = more;
      row.append(sample(one, plot.palette), name, value, rest);
      if (number < MOST_TOLD) tip.append(row);
    });
    if (rows.length > MOST_TOLD) {
      const left = make("div", { color: ink.dim });
      left.textContent = `and ${rows.length - MOST_TOLD} more`;
      tip.append(left);
    }
    tip.style.display = "block";
    const room = width - tip.offsetWidth;
    const left = x + 14 + tip.offsetWidth < width ? x + 14 : x - 14 - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(room, left))}px`;
  }

  // ---- values in words

  function readings(lines) {
    const rows = [];
    for (const one of lines) {
      const i = nearest(one.x, cursor);
      // Before its first value and after its last one a curve has none.
      if (i < 0 || cursor < one.x[0] || cursor > one.x[one.x.length - 1] || !known(one.y[i])) continue;
      const text = exact(one.y[i], settings.unit);
      const parts = [];
      if (isElsewhere(one, i)) parts.push(`at ${rounded(one.x[i])}`);
      if (one.error && one.error[i] > 0) parts.push(`± ${spread(2 * one.error[i], settings.unit)}`);
      if (one.low && one.high && one.low[i] < one.high[i]) {
        parts.push(`${exact(one.low[i], settings.unit)} to ${exact(one.high[i], settings.unit)}`);
      }
      rows.push({ one, i, text, more: parts.join(", ") });
    }
    return rows;
  }

  // A column of several values is as wide as two pixels, and stands for all of them.
  function isElsewhere(one, i) {
    const [from, to] = range(), column = one.low ? (2 * (to - from)) / seen().columns : 0;
    return Math.abs(one.x[i] - cursor) > column && rounded(one.x[i]) !== rounded(cursor);
  }

  const rounded = (x) => plain(x >= 100 ? Math.round(x) : Number(x.toPrecision(4)));
  const place = (x) => `${settings.xLabel}: ${rounded(x)}`;

  function speak() {
    const rows = cursor === null ? [] : readings(shown());
    spoken.textContent = rows.length
      ? `${place(cursor)}. ${rows.map(({ one, text, more }) => `${keyOf(one)} ${text}${more ? ` (${more})` : ""}`).join("; ")}`
      : "";
  }

  function summary() {
    const parts = series.slice(0, 12).map((one) => {
      for (let i = one.y.length - 1; i >= 0; i--) if (known(one.y[i])) return `${keyOf(one)} ${exact(one.y[i], settings.unit)}`;
      return `${keyOf(one)} no values yet`;
    });
    return `${settings.title || "chart"}. Last values: ${parts.join("; ") || "none yet"}. ${KEYS}`;
  }

  function drawLegend() {
    const mode = theme(), palette = COLOURS[mode], ink = INKS[mode];
    const banded = settings.bands && series.some((one) => bandOf(one));
    const key = JSON.stringify([mode, banded, series.map((one) => [keyOf(one), one.color, one.dash, hidden.has(keyOf(one))])]);
    if (key === legendKey) return;
    legendKey = key;
    const focused = [...legend.children].indexOf(document.activeElement);
    legend.replaceChildren();
    for (const one of series) {
      const name = keyOf(one), off = hidden.has(name);
      const button = make("button", {
        display: "inline-flex", gap: "6px", alignItems: "center", border: "0", background: "none", padding: "1px 2px", font: "inherit",
        cursor: "pointer", color: off ? ink.dim : ink.ink, textDecoration: off ? "line-through" : "none", maxWidth: "100%",
      });
      button.type = "button";
      button.setAttribute("aria-pressed", String(!off));
      button.title = off ? "show this curve" : "hide this curve";
      const text = make("span", { overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" });
      text.textContent = name;
      const icon = sample(one, palette);
      icon.style.opacity = off ? "0.35" : "1";
      button.append(icon, text);
      button.addEventListener("click", () => {
        if (!hidden.delete(name)) hidden.add(name);
        redraw();
      });
      legend.append(button);
    }
    if (focused >= 0) legend.children[focused]?.focus();
    if (banded) {
      const note = make("span", { display: "inline-flex", gap: "6px", alignItems: "center", color: ink.dim });
      const patch = make("span", { width: "18px", height: "10px", background: ink.axis, opacity: "0.45", borderRadius: "2px" });
      note.append(patch, "± 2 standard errors");
      legend.append(note);
    }
  }

  function sample(one, palette) {
    const icon = make("canvas", { width: "30px", height: "12px", flex: "none" });
    icon.width = 60;
    icon.height = 24;
    const context = icon.getContext("2d");
    context.scale(2, 2);
    drawSample(context, one, palette);
    return icon;
  }

  // ---- keys and mouse

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [from, to] = range(), size = to - from, middle = cursor !== null && cursor > from && cursor < to ? cursor : (from + to) / 2;
    const zoomed = (factor) => show(middle - (middle - from) * factor, middle + (to - middle) * factor);
    const pan = (sign) => {
      if (!view) return;
      const [first, last] = everything();
      const by = Math.min(Math.max(sign * size * 0.2, first - from), last - to);
      show(from + by, to + by);
    };
    const actions = {
      ArrowLeft: () => (event.shiftKey ? step(-1) : pan(-1)),
      ArrowRight: () => (event.shiftKey ? step(1) : pan(1)),
      PageUp: () => step(-10),
      PageDown: () => step(10),
      Home: () => step(-Infinity),
      End: () => step(Infinity),
      "+": () => zoomed(0.5),
      "=": () => zoomed(0.5),
      "-": () => zoomed(2),
      "−": () => zoomed(2),
      0: () => show(null, null),
      Escape: () => { cursor = null; speak(); redraw(); },
      Enter: () => pick(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has keys of its own
    actions[event.key]();
  }

  function step(by) {
    const [from, to] = range();
    const places = [...new Set(shown().flatMap((one) => { const [a, b] = within(one.x, from, to); return Array.from(one.x).slice(a, b); }))].sort((a, b) => a - b);
    if (!places.length) return;
    const now = cursor === null ? (by < 0 ? places.length : -1) : nearest(places, cursor);
    cursor = places[Math.max(0, Math.min(places.length - 1, now + by))];
    byKeys = true;
    speak();
    redraw();
  }

  function pick() {
    if (settings.onPick && cursor !== null) settings.onPick(cursor);
  }

  const xAt = (pixel) => {
    const [from, to] = range();
    return from + ((pixel - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * (to - from);
  };
  const pixelOf = (event) => Math.max(MARGIN.left, Math.min(width - MARGIN.right, event.clientX - canvas.getBoundingClientRect().left));

  const listeners = [
    [frameBox, "keydown", key],
    [frameBox, "focus", redraw],
    [frameBox, "blur", () => { if (byKeys) { cursor = null; byKeys = false; } redraw(); }],
    [canvas, "pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { from: pixelOf(event), to: pixelOf(event) };
      try { canvas.setPointerCapture(event.pointerId); } catch { /* the pointer is gone already */ }
    }],
    [canvas, "pointermove", (event) => {
      if (drag) drag.to = pixelOf(event);
      const lines = shown(), at = xAt(pixelOf(event));
      let best = null;
      for (const { x } of lines) {
        const i = nearest(x, at);
        if (i >= 0 && (best === null || Math.abs(x[i] - at) < Math.abs(best - at))) best = x[i];
      }
      cursor = best;
      byKeys = false;
      redraw();
    }],
    [canvas, "pointerup", () => {
      const done = drag;
      drag = null;
      if (done && Math.abs(done.to - done.from) > 5) show(xAt(Math.min(done.from, done.to)), xAt(Math.max(done.from, done.to)));
      else if (done) pick();
      redraw();
    }],
    [canvas, "pointercancel", () => { drag = null; redraw(); }],
    [canvas, "pointerleave", () => { if (!byKeys) cursor = null; redraw(); }],
    [canvas, "dblclick", () => show(null, null)],
    [dark, "change", redraw],
  ];
  for (const [target, name, action] of listeners) target.addEventListener(name, action);
  const observer = new ResizeObserver(redraw);
  observer.observe(frameBox);
  redraw();

  // ---- what others call

  return {
    update(data, more = {}) {
      series = data;
      extent = more.extent || null;
      if (view) {
        const [first, last] = everything();
        if (view[0] >= last || view[1] <= first) { view = null; tell(); }
      }
      redraw();
    },
    set(changes) { Object.assign(settings, changes); redraw(); },
    view: seen,
    show,
    toPNG(given = {}) {
      const wide = given.width || width || 640, mode = given.theme || theme(), ink = INKS[mode], palette = COLOURS[mode];
      const picture = document.createElement("canvas"), context = picture.getContext("2d");
      const entries = [];
      let [x, y] = [MARGIN.left, settings.title ? 44 : 18];
      context.font = `13px ${FONT}`;
      for (const one of shown()) {
        const size = 36 + context.measureText(keyOf(one)).width + 16;
        if (x + size > wide && x > MARGIN.left) [x, y] = [MARGIN.left, y + 20];
        entries.push([one, x, y]);
        x += size;
      }
      const above = entries.length ? y + 14 : settings.title ? 32 : 4;
      const high = (given.height || settings.height + above) - above;
      picture.width = wide * 2;
      picture.height = (high + above) * 2;
      context.scale(2, 2);
      context.fillStyle = ink.ground;
      context.fillRect(0, 0, wide, high + above);
      context.fillStyle = ink.ink;
      context.textBaseline = "middle";
      context.font = `600 15px ${FONT}`;
      context.fillText(settings.title, MARGIN.left, 18);
      context.font = `13px ${FONT}`;
      for (const [one, left, top] of entries) {
        context.save();
        context.translate(left, top - 6);
        drawSample(context, one, palette);
        context.restore();
        context.fillStyle = ink.ink;
        context.fillText(keyOf(one), left + 36, top);
      }
      context.translate(0, above);
      drawPlot(context, wide, high, mode);
      return picture.toDataURL("image/png");
    },
    destroy() {
      cancelAnimationFrame(frame);
      observer.disconnect();
      for (const [target, name, action] of listeners) target.removeEventListener(name, action);
      root.remove();
    },
  };
}

const KEYS =
  "Keys: arrows move the window, plus and minus zoom, 0 shows everything, Shift and arrows move the cursor from value to value.";

const keyOf = (one) => [one.run, one.name].filter(Boolean).join(": ");
const known = (value) => typeof value === "number" && Number.isFinite(value);

function make(kind, style) {
  const made = document.createElement(kind);
  Object.assign(made.style, style); // properties, which a strict Content-Security-Policy allows
  return made;
}

function line(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

function polygon(context, size, points) {
  points.forEach(([x, y], i) => (i ? context.lineTo(x * size, y * size) : context.moveTo(x * size, y * size)));
  context.closePath();
}

function drawSample(context, one, palette) {
  const colour = palette[one.color % palette.length];
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(DASHES[one.dash % DASHES.length]);
  line(context, [[0, 6], [30, 6]]);
  context.setLineDash([]);
  context.save();
  context.translate(15, 6);
  context.beginPath();
  MARKERS[one.color % MARKERS.length](context, 4);
  context.fill();
  context.restore();
}

// Dashes cannot be seen on a line that goes up and down from pixel to pixel.
function crowded(one, px) {
  return Boolean(one.low && one.high) && one.x.length > 1 && (px(one.x[one.x.length - 1]) - px(one.x[0])) / one.x.length < 3;
}

// The first place within from and to, and the one after the last.
function within(x, from, to) {
  let first = search(x, from), last = search(x, to);
  while (last < x.length && x[last] <= to) last++;
  return [first, last];
}

function search(x, value) {
  let low = 0, high = x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

function nearest(x, value) {
  if (!x.length) return -1;
  const i = search(x, value);
  if (i === 0) return 0;
  if (i === x.length) return i - 1;
  return value - x[i - 1] <= x[i] - value ? i - 1 : i;
}

// The mean of all values no further away than half the width, or than the end that is nearer: as many on either side,
// but for the very ends, where a few on one side are better than the last value alone.
function smooth(one, size) {
  const { x, y } = one, count = x.length, sums = new Float64Array(count + 1), counts = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) {
    sums[i + 1] = sums[i] + (known(y[i]) ? y[i] : 0);
    counts[i + 1] = counts[i] + (known(y[i]) ? 1 : 0);
  }
  return Array.from(x, (at, i) => {
    if (!known(y[i])) return NaN;
    const half = Math.max(size / 8, Math.min(size / 2, at - x[0], x[count - 1] - at));
    const [first, last] = within(x, at - half, at + half);
    return (sums[last] - sums[first]) / (counts[last] - counts[first]);
  });
}

function ticks(from, to, most) {
  const rough = (to - from) / most, size = 10 ** Math.floor(Math.log10(rough));
  const by = size * ([1, 2, 5].find((one) => one * size >= rough) || 10);
  const made = [];
  for (let i = Math.ceil(from / by - 1e-9); i * by <= to + by * 1e-9; i++) made.push(Number((i * by).toPrecision(12)));
  return made;
}

function decades(low, high) {
  const made = [], wide = Math.log10(high / low);
  if (wide < 0.5) return ticks(low, high, 5).filter((value) => value > 0);
  const every = Math.max(1, Math.round(wide / 6));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % every) continue;
    for (const one of wide < 3 ? [1, 2, 5] : [1]) {
      const value = Number((one * 10 ** power).toPrecision(6));
      if (value >= low && value <= high) made.push(value);
    }
  }
  return made;
}

const plain = (value) => (Math.abs(value) >= 1e-4 || !value ? value.toLocaleString("en", { maximumSignificantDigits: 12 }) : value.toExponential());

// A tick, with as many digits as it takes to tell it from the others.
function written(value, unit, all) {
  if (unit !== "fraction") return plain(value);
  const apart = all.length > 1 ? Math.abs(all[1] - all[0]) * 100 : 1;
  return value > 1 + 1e-9 ? "" : `${(100 * value).toFixed(Math.max(0, Math.min(6, Math.ceil(-Math.log10(apart) - 1e-9))))}%`;
}

function exact(value, unit) {
  if (unit === "fraction") return `${(100 * value).toFixed(2)}%`;
  const text = plain(Number(value.toPrecision(4)));
  return unit === "seconds" ? `${text} s` : text;
}

function spread(value, unit) {
  return unit === "fraction" ? `${Number((100 * value).toPrecision(2))} points` : plain(Number(value.toPrecision(2)));
}

/* The widget of `eb.train(..., live=True)`: charts of chart.js, which stands before this in one module, and what is told of
the run. The model's attribute "data" has
  title, status      texts
  charts             a list of {title, unit, log, smooth, curves}; of a curve x are float64, all other numbers float32. */

const STYLE = `
.everybatch-live { padding: 4px 2px 8px; }
.everybatch-live-head { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; margin-bottom: 8px; font: 14px system-ui, sans-serif; }
.everybatch-live-head b { font-size: 16px; }
.everybatch-live-charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 14px 20px; }
/* The picture that stays is the next output of the cell: there for when this chart is gone. */
.jp-OutputArea-child:has(.everybatch-live) + .jp-OutputArea-child { display: none; }
`;
const INK = { light: "#262626", dark: "#e8e8e8" };
const GROUND = { light: "#ffffff", dark: "#17191c" };

function render({ model, el }) {
  const style = document.createElement("style");
  style.textContent = STYLE;
  const root = document.createElement("div"), head = document.createElement("div"), grid = document.createElement("div");
  const title = document.createElement("b"), status = document.createElement("span");
  root.className = "everybatch-live";
  head.className = "everybatch-live-head";
  grid.className = "everybatch-live-charts";
  status.className = "everybatch-live-status";
  head.append(title, status);
  root.append(head, grid);
  el.append(style, root);
  const charts = [];

  function draw() {
    const data = model.get("data");
    title.textContent = data.title;
    status.textContent = data.status;
    data.charts.forEach((told, number) => {
      if (!charts[number]) {
        const place = document.createElement("div");
        place.style.minWidth = "0";
        if (number > 1) place.style.gridColumn = "1 / -1"; // below the other two, and as wide as both
        grid.append(place);
        charts[number] = createChart(place, { title: told.title, unit: told.unit, height: 240, theme: theme() });
      }
      charts[number].set({ log: told.log, smooth: told.smooth });
      charts[number].update(told.curves.map((one) => ({
        run: "", name: one.name, color: one.color, dash: one.dash, smooth: one.smooth, x: numbers(one.x, Float64Array),
        ...Object.fromEntries(["y", "low", "high", "error", "bandLow", "bandHigh"].map((name) => [name, numbers(one[name], Float32Array)])),
      })));
    });
  }

  function dress() {
    const now = theme();
    root.style.color = INK[now];
    for (const chart of charts) chart.set({ theme: now });
  }

  const observer = new MutationObserver(dress), dark = matchMedia("(prefers-color-scheme: dark)");
  observer.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind"] });
  dark.addEventListener("change", dress);
  model.on("change:data", draw);
  draw();
  dress();
  return () => {
    model.off("change:data", draw);
    observer.disconnect();
    dark.removeEventListener("change", dress);
    for (const chart of charts) chart.destroy();
  };
}

// What the notebook says of itself, else what the system prefers.
function theme() {
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
  if (jpThemeLight) return jpThemeLight === "true" ? "light" : "dark";
  if (vscodeThemeKind) return vscodeThemeKind.includes("light") ? "light" : "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function numbers(view, Kind) {
  if (!view) return null;
  const { buffer, byteOffset, byteLength } = view;
  return new Kind(buffer.slice(byteOffset, byteOffset + byteLength)); // at a place that fits
}

export default { render };

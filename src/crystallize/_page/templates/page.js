"use strict";

/* Bring the page to life. A page that updates itself calls this again, with only its new parts. */
const startPage = (parts = [document]) => {
  const all = (selector) => parts.flatMap((part) => [...(part.matches?.(selector) ? [part] : []), ...part.querySelectorAll(selector)]);
  const charts = JSON.parse(document.getElementById("data").textContent);
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const STROKES = ["", "6 4", "1.5 3", "6 3 1.5 3", "11 4"];
  const PAPER = { width: 680, height: 272 }; // pixels, between the margins of a page
  const TOGETHER = 8; // curves of which one label tells all at once

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* Plotly takes longer to start than the rest of the page, so it waits until a plot is zoomed or changed. */
  const startPlotly = () => {
    if (window.Plotly) return Promise.resolve();
    const source = document.getElementById("plotly");
    const script = document.createElement("script");
    if (!source.dataset.address) {
      script.textContent = source.textContent;
      document.head.append(script);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      script.src = source.dataset.address;
      script.onload = () => resolve();
      script.onerror = () => reject(new Error("plotly could not be loaded"));
      document.head.append(script);
    });
  };

  const paper = () => document.documentElement.classList.contains("paper");

  /* Curves. */

  const colour = (line) => style(`--c${line.colour}`);

  const sign = (line) => {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    drawn.setAttribute("viewBox", "0 0 26 10");
    drawn.setAttribute("aria-hidden", "true");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of Object.entries({
      d: "M0 5H26", stroke: `var(--c${line.colour})`, "stroke-width": 2.25,
      "stroke-dasharray": STROKES[line.dash],
    })) stroke.setAttribute(name, value);
    drawn.append(stroke);
    return drawn;
  };

  const number = (value) => String(Number(value.toPrecision(6))).replaceAll("-", "\u2212");

  /* The point of a line that is nearest to some place on the axis. */
  const nearest = (line, x) => {
    let found = -1;
    line.x.forEach((one, at) => {
      if (line.y[at] !== null && !(Math.abs(one - x) >= Math.abs(line.x[found] - x))) found = at;
    });
    return { line, x: line.x[found], y: line.y[found] };
  };

  const ends = (numbers) => numbers.reduce(
    ([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -Infinity],
  );
  const between = ([low, high], share) => low * (1 - share) + high * share;

  /* The averages of some numbers and their neighbours, as many on both sides as there are, up to `reach`. */
  const averaged = (numbers, reach) => {
    const sums = [0];
    for (const one of numbers) sums.push(sums.at(-1) + one);
    return numbers.map((_, at) => {
      const [first, last] = [Math.max(0, at - reach), Math.min(numbers.length, at + reach + 1)];
      return (sums[last] - sums[first]) / (last - first);
    });
  };

  /* A smooth curve through a line; the share of the line that is averaged is from 0 to 1. Averaged twice, it has no corners. */
  const smoothed = (line, share) => {
    const points = line.means.length ? line.means
      : line.x.map((x, at) => [x, line.y[at]]).filter(([, y]) => y !== null).sort(([one], [other]) => one - other);
    const reach = Math.ceil(share * points.length / 2);
    const y = averaged(averaged(points.map(([, one]) => one), reach), reach);
    return { x: points.map(([one]) => one), y };
  };

  class Chart {
    constructor(figure) {
      this.figure = figure;
      figure.chart = this;
      this.data = charts.filter((one) => one.axes.length)[figure.dataset.chart];
      this.canvas = figure.querySelector(".canvas");
      this.hidden = new Set();
      this.smoothing = figure.querySelector(".smooth");
      this.over = figure.querySelector(".over");
      this.over.addEventListener("change", () => { this.hidden.clear(); this.fill(); this.draw(); });
      for (const control of figure.querySelectorAll(".log-x, .log-y, .smooth")) {
        control.addEventListener("change", () => this.draw());
      }
      this.fill();
      this.stand();
    }

    get axis() { return this.data.axes[this.over.selectedIndex]; }

    /* What stands beneath the plot: a button a curve, and what is to be said of them. */
    fill() {
      const legend = this.figure.querySelector(".legend");
      legend.replaceChildren();
      if (this.smoothing) this.smoothing.parentElement.hidden = !this.axis.dense;
      this.figure.querySelector(".thinned").textContent = this.axis.notes.join(" ");
      if (this.axis.lines.length < 2) return;
      const title = document.createElement("span");
      title.textContent = this.axis.by;
      legend.append(title);
      this.axis.lines.forEach((line, at) => {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const text = document.createElement("bdi");
        text.textContent = line.name;
        button.append(sign(line), text);
        button.addEventListener("click", () => {
          const shown = this.hidden.delete(at) || !this.hidden.add(at);
          button.setAttribute("aria-pressed", String(shown));
          this.draw();
        });
        legend.append(button);
      });
    }

    /* Until plotly draws it, a plot stands still: it tells what is under the pointer, and which part is to be enlarged. */
    stand() {
      this.still = this.canvas.querySelector(".still");
      this.spike = this.still.querySelector("s");
      this.told = this.still.querySelector(".told");
      this.still.addEventListener("pointermove", (event) => this.tell(event));
      this.still.addEventListener("pointerleave", () => this.hush());
      this.still.addEventListener("pointerdown", (event) => { this.from = this.place(event); });
      this.still.addEventListener("click", (event) => {
        const part = [this.from ?? 0, this.place(event)].sort((one, other) => one - other);
        this.draw(part[1] - part[0] > 0.02 ? part.map((share) => this.along(share)) : undefined);
      });
    }

    get box() { return this.still.querySelector(".box").getBoundingClientRect(); }

    /* Where the pointer is, as a share of the axis. */
    place(event) { return Math.min(1, Math.max(0, (event.clientX - this.box.left) / this.box.width)); }

    along(share) {
      this.ends ??= ends(this.axis.lines.filter((line) => line.y.some((one) => one !== null)).flatMap((line) => line.x));
      return between(this.ends, share);
    }

    /* How high the pointer is, as a value. */
    up(event) {
      this.heights ??= ends(this.axis.lines.flatMap((line) => line.y.filter((one) => one !== null)));
      return between(this.heights, (this.box.bottom - event.clientY) / this.box.height);
    }

    tell(event) {
      const share = this.place(event);
      const at = this.along(share);
      const reach = (this.ends[1] / 2 - this.ends[0] / 2) / 20;
      const points = this.axis.lines.map((line) => nearest(line, at)).filter((one) => one.x !== undefined)
        .sort((one, other) => Math.abs(one.x - at) - Math.abs(other.x - at));
      const up = this.up(event);
      const near = points.filter((one) => Math.abs(one.x - points[0].x) <= reach)
        .sort((one, other) => Math.abs(one.y - up) - Math.abs(other.y - up)).slice(0, TOGETHER);
      const shown = this.axis.lines.map((line) => near.find((one) => one.line === line)).filter((one) => one);
      const over = document.createElement("p");
      over.textContent = `${this.over.selectedOptions[0].text} ${number(points[0].x)}`;
      this.told.replaceChildren(over, ...shown.map((one) => {
        const row = document.createElement("p");
        const name = document.createElement("bdi");
        name.textContent = this.axis.lines.length > 1 ? one.line.name : "";
        const value = document.createElement("span");
        value.textContent = number(one.y);
        row.append(sign(one.line), name, value);
        return row;
      }));
      const from = event.buttons && this.from !== undefined ? Math.min(this.from, share) : share;
      this.spike.style.left = `${100 * from}%`;
      this.spike.style.width = event.buttons && this.from !== undefined ? `${100 * Math.abs(share - this.from)}%` : "0";
      this.told.style.left = share < 0.5 ? `calc(${100 * share}% + ${60 - 58 * share}px)` : "";
      this.told.style.right = share < 0.5 ? "" : `calc(${100 * (1 - share)}% + ${22 - 58 * (1 - share)}px)`;
      this.spike.hidden = this.told.hidden = false;
    }

    hush() { this.spike.hidden = this.told.hidden = true; }

    /* The share of a line that is averaged at each of its points. A quarter of it is the most. */
    get share() { return this.smoothing && this.axis.dense ? (this.smoothing.value / 200) ** 2 : 0; }

    traces() {
      return this.axis.lines.flatMap((line, at) => {
        const common = { type: "scatter", visible: !this.hidden.has(at), marker: { color: colour(line), size: 4 } };
        const told = { name: line.escaped, hovertemplate: this.axis.lines.length <= TOGETHER ? "%{y:.6~g}" : "%{x}: %{y:.6~g}" };
        const stroke = { color: colour(line), width: 1.75, dash: DASHES[line.dash] };
        const curve = { ...common, ...told, mode: line.mode, x: line.x, y: line.y, line: stroke };
        if (this.share) {
          const faint = { ...curve, opacity: 0.25, hoverinfo: "skip", hovertemplate: null, line: { ...stroke, width: 1, dash: "solid" } };
          return [faint, { ...common, ...told, mode: "lines", ...smoothed(line, this.share), line: { ...stroke, width: 2 } }];
        }
        // Between two gaps there is no line to see.
        const lone = {
          ...common, mode: "markers", x: line.alone.map((one) => line.x[one]), y: line.alone.map((one) => line.y[one]),
          hoverinfo: "skip",
        };
        return line.alone.length ? [curve, lone] : [curve];
      });
    }

    layout(part) {
      const text = { family: style("--sans"), size: 12, color: style("--soft") };
      const common = {
        gridcolor: style("--line"), linecolor: style("--strong"), tickcolor: style("--strong"), showline: true,
        zeroline: false, ticks: "outside", ticklen: 4, automargin: true, tickfont: text,
      };
      const log = (name) => (this.figure.querySelector(name).checked ? "log" : "linear");
      return {
        autosize: !paper(), ...(paper() ? PAPER : {}), showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: text,
        margin: { l: 48, r: 10, t: 8, b: 40 }, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        hovermode: this.axis.lines.length <= TOGETHER ? "x unified" : "closest",
        hoverlabel: {
          bgcolor: style("--raised"), bordercolor: style("--strong"), font: { ...text, color: style("--text") }, namelength: 40,
        },
        xaxis: {
          ...common, ...(part ? { range: part } : {}), type: log(".log-x"), showgrid: false, nticks: 8, exponentformat: "none", separatethousands: true,
          title: { text: this.axis.title, font: text, standoff: 8 }, unifiedhovertitle: { text: `${this.axis.title} %{x}` },
          spikecolor: style("--strong"), spikethickness: -1, spikedash: "solid",
        },
        yaxis: { ...common, type: log(".log-y"), nticks: 6, exponentformat: "power" },
      };
    }

    /* With plotly, of which a part of the axis may be asked for. */
    draw(part) {
      return startPlotly().then(() => {
        this.still.remove();
        this.drawn = true;
        return this.redraw(part);
      });
    }

    redraw(part) {
      return Plotly.react(this.canvas, this.traces(), this.layout(part), { displayModeBar: false, responsive: true });
    }
  }

  for (const figure of all(".chart")) new Chart(figure);

  /* Lineage: a key that is pointed at or focused shows its card, and what has nothing to do with it fades. */
  for (const drawing of all(".lineage")) {
    const keys = [...drawing.querySelectorAll(".key")];
    const steps = [...drawing.querySelectorAll(".step")];
    let shown = null;
    const hide = () => {
      if (!shown) return;
      card(shown).hidden = true;
      shown.setAttribute("aria-expanded", "false");
      drawing.classList.remove("choosing");
      for (const one of [...keys, ...steps]) one.classList.remove("on", "kin");
      shown = null;
    };
    const card = (key) => document.getElementById(key.getAttribute("aria-controls"));
    const show = (key) => {
      if (key === shown) return;
      hide();
      shown = key;
      const numbers = (name) => (key.dataset[name] ? key.dataset[name].split(" ").map(Number) : []);
      key.classList.add("on");
      for (const at of numbers("kin")) keys[at]?.classList.add("kin");
      for (const at of numbers("steps")) steps[at]?.classList.add("on");
      drawing.classList.add("choosing");
      key.setAttribute("aria-expanded", "true");
      const own = card(key);
      own.hidden = false;
      const row = key.querySelector(".hit").getBoundingClientRect();
      const around = drawing.getBoundingClientRect();
      // Beside the drawing where there is room, else beneath the row.
      const beside = around.right - row.right > 200;
      own.style.maxWidth = beside ? `${around.right - row.right - 16}px` : "";
      own.style.left = beside ? `${row.right - around.left + 16}px` : `${Math.max(0, Math.min(24, around.width - own.offsetWidth))}px`;
      own.style.top = `${(beside ? row.top - 9 : row.bottom + 3) - around.top}px`;
    };
    for (const key of keys) {
      key.addEventListener("pointerenter", () => show(key));
      key.addEventListener("focus", () => show(key));
      key.addEventListener("click", () => show(key));
      key.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          if (shown === key) hide(); else show(key);
        }
      });
    }
    drawing.addEventListener("pointerleave", hide);
    drawing.addEventListener("focusout", (event) => { if (!drawing.contains(event.relatedTarget)) hide(); });
    drawing.hide = hide;
  }
  document.documentElement.dataset.ready = "";
  performance.mark("ready");
};

/* The listeners of the whole page, which are added once. */
(() => {
  const drawn = () => [...document.querySelectorAll(".chart")].map((figure) => figure.chart).filter((chart) => chart?.drawn);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn().forEach((chart) => chart.redraw()));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll(".lineage").forEach((drawing) => drawing.hide?.());
  });

  /* On paper everything is drawn, open, and light. */
  const closed = [];
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    for (const one of document.querySelectorAll("details:not([open])")) {
      closed.push(one);
      one.open = true;
    }
    drawn().forEach((chart) => chart.redraw());
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    for (const one of closed.splice(0)) one.open = false;
    drawn().forEach((chart) => chart.redraw());
  });
})();
startPage();

"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const STROKES = ["", "6 4", "1.5 3", "6 3 1.5 3", "11 4"];
  const PAPER = { width: 680, height: 272 }; // pixels, between the margins of a page
  const TOGETHER = 8; // curves of which one label tells all at once

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* It takes longer to start than all the rest, so it waits, as text, until the page can be used. */
  const startPlotly = () => {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  };

  const paper = () => document.documentElement.classList.contains("paper");

  /* Curves. Each is drawn when it is about to be seen. */

  const colour = (line) => style(`--c${line.colour % 6}`);
  const dash = (line) => (Math.floor(line.colour / 6) + line.dash) % 5;

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.data = charts.filter((one) => one.axes.length)[figure.dataset.chart];
      this.canvas = figure.querySelector(".canvas");
      this.hidden = new Set();
      this.over = figure.querySelector(".over");
      this.over.addEventListener("change", () => { this.hidden.clear(); this.fill(); this.draw(); });
      for (const name of [".log-x", ".log-y"]) {
        figure.querySelector(name).addEventListener("change", () => this.draw());
      }
      this.fill();
    }

    get axis() { return this.data.axes[this.over.selectedIndex]; }

    /* What stands beneath the plot: a button a curve, and what is to be said of them. */
    fill() {
      const legend = this.figure.querySelector(".legend");
      legend.replaceChildren();
      this.figure.querySelector(".thinned").textContent = this.axis.notes.join(" ");
      if (this.axis.lines.length < 2) return;
      const title = document.createElement("span");
      title.textContent = this.axis.by;
      legend.append(title);
      this.axis.lines.forEach((line, at) => {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const sign = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        sign.setAttribute("viewBox", "0 0 26 10");
        sign.setAttribute("aria-hidden", "true");
        const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
        for (const [name, value] of Object.entries({
          d: "M0 5H26", stroke: `var(--c${line.colour % 6})`, "stroke-width": 2.25,
          "stroke-dasharray": STROKES[dash(line)],
        })) stroke.setAttribute(name, value);
        sign.append(stroke);
        const text = document.createElement("bdi");
        text.textContent = line.name;
        button.append(sign, text);
        button.addEventListener("click", () => {
          const shown = this.hidden.delete(at) || !this.hidden.add(at);
          button.setAttribute("aria-pressed", String(shown));
          this.draw();
        });
        legend.append(button);
      });
    }

    traces() {
      return this.axis.lines.flatMap((line, at) => {
        const common = { type: "scatter", visible: !this.hidden.has(at), marker: { color: colour(line), size: 4 } };
        const curve = {
          ...common, mode: line.mode, x: line.x, y: line.y, name: line.escaped,
          hovertemplate: this.axis.lines.length <= TOGETHER ? "%{y:.6~g}" : "%{x}: %{y:.6~g}",
          line: { color: colour(line), width: 1.75, dash: DASHES[dash(line)] },
        };
        // Between two gaps there is no line to see.
        const lone = {
          ...common, mode: "markers", x: line.alone.map((one) => line.x[one]), y: line.alone.map((one) => line.y[one]),
          hoverinfo: "skip",
        };
        return line.alone.length ? [curve, lone] : [curve];
      });
    }

    layout() {
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
          ...common, type: log(".log-x"), showgrid: false, nticks: 8, exponentformat: "none", separatethousands: true,
          title: { text: this.axis.title, font: text, standoff: 8 }, unifiedhovertitle: { text: `${this.axis.title} %{x}` },
          spikecolor: style("--strong"), spikethickness: -1, spikedash: "solid",
        },
        yaxis: { ...common, type: log(".log-y"), nticks: 6, exponentformat: "power" },
      };
    }

    draw() {
      startPlotly();
      for (const one of this.canvas.querySelectorAll(".preview")) one.remove();
      this.drawn = true;
      return Plotly.react(this.canvas, this.traces(), this.layout(), { displayModeBar: false, responsive: true });
    }
  }

  const all = [...document.querySelectorAll(".chart")].map((figure) => new Chart(figure));
  const byCanvas = new Map(all.map((chart) => [chart.canvas, chart]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      byCanvas.get(entry.target).draw();
    }
  }, { rootMargin: "400px" });
  // Not before what there is to read can be read.
  const whenIdle = window.requestIdleCallback ?? ((act) => setTimeout(act, 50));
  requestAnimationFrame(() => whenIdle(() => {
    for (const chart of all) seen.observe(chart.canvas);
  }));
  dark.addEventListener("change", () => all.filter((chart) => chart.drawn).forEach((chart) => chart.draw()));

  /* On paper all is drawn, open, and light. */
  const closed = [];
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    for (const one of document.querySelectorAll("details:not([open])")) {
      closed.push(one);
      one.open = true;
    }
    for (const chart of all) chart.draw();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    for (const one of closed.splice(0)) one.open = false;
    for (const chart of all) chart.draw();
  });

  /* Lineage: a key that is pointed at or focused shows its card, and what has nothing to do with it fades. */
  for (const drawing of document.querySelectorAll(".lineage")) {
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
      const drawn = drawing.querySelector("svg").getBoundingClientRect();
      // Beside the drawing where there is room, else beneath the row.
      const beside = around.right - drawn.right > 260;
      own.style.maxWidth = beside ? `${around.right - drawn.right - 16}px` : "";
      own.style.left = beside ? `${drawn.right - around.left + 16}px` : `${Math.max(0, Math.min(24, around.width - own.offsetWidth))}px`;
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
    addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  }
  document.documentElement.dataset.ready = "";
  performance.mark("ready");
})();

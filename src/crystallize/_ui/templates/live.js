"use strict";

/* Update the page when its runs change: fetch it again, and replace the parts that differ. */
(() => {
  const shown = document.querySelector(".live");
  if (!shown?.dataset.events) return;

  /* The parts of a page that are replaced by themselves, by their names. */
  const partsOf = (page) => {
    const parts = new Map();
    const add = (name, part) => { if (part) parts.set(name, part); };
    add("head", page.querySelector("header"));
    add("data", page.getElementById("data"));
    for (const section of page.querySelectorAll("main section:not([aria-labelledby=curves])")) {
      add(section.getAttribute("aria-labelledby"), section);
    }
    for (const figure of page.querySelectorAll(".chart")) add(`chart ${figure.querySelector("h3").textContent}`, figure);
    return parts;
  };
  const textsOf = (parts) => new Map([...parts].map(([name, part]) => [name, part.outerHTML]));
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");
  // As the server sent it, since this script runs before those that bring the page to life. It is parsed when it is needed.
  const first = document.documentElement.outerHTML;
  let texts = null;

  /* Give a new part the state of the old one: open details, places of scrolling, controls, ticks and the focus. */
  const carry = (before, after) => {
    const pairs = (selector) => {
      const found = [...after.querySelectorAll(selector)];
      return [...before.querySelectorAll(selector)].map((old, at) => [old, found[at]]).filter(([, one]) => one);
    };
    for (const [old, one] of pairs("details")) one.open = old.open;
    for (const [old, one] of pairs(".controls select")) one.selectedIndex = Math.min(old.selectedIndex, one.length - 1);
    for (const [old, one] of pairs(".controls input")) [one.checked, one.value] = [old.checked, old.value];
    for (const old of before.querySelectorAll("input[name=run]")) {
      const one = after.querySelector(`input[name=run][value="${CSS.escape(old.value)}"]`);
      if (one) one.checked = old.checked;
    }
    const focusable = "a, button, input, select, summary, [tabindex]";
    const focused = [...before.querySelectorAll(focusable)].indexOf(document.activeElement);
    const name = document.activeElement?.value;
    const places = pairs(".scroll").map(([old, one]) => [one, old.scrollLeft, old.scrollTop]);
    before.replaceWith(after);
    for (const [one, left, top] of places) { one.scrollLeft = left; one.scrollTop = top; }
    if (focused < 0) return;
    const same = document.activeElement === before || name === undefined ? null
      : after.querySelector(`input[value="${CSS.escape(name)}"]`);
    (same ?? after.querySelectorAll(focusable)[focused])?.focus({ preventScroll: true });
  };

  /* A chart that was zoomed, or of which curves are hidden, stays so. */
  const carryChart = (before, after) => {
    const [old, chart] = [before.chart, after.chart];
    if (!old || !chart) return;
    const hidden = [...old.hidden].map((at) => old.axis.lines[at]?.name);
    chart.axis.lines.forEach((line, at) => {
      if (!hidden.includes(line.name)) return;
      chart.hidden.add(at);
      after.querySelectorAll(".legend button")[at]?.setAttribute("aria-pressed", "false");
    });
    const axis = old.drawn ? old.canvas.layout?.xaxis : null;
    if (old.drawn) chart.draw(axis && axis.autorange === false ? [...axis.range] : undefined);
  };

  /* The table of several runs, which scripts sort, and the plot of their inputs. */
  const carryRuns = (sorted) => {
    startRuns();
    document.querySelector(".result")?.dispatchEvent(new Event("change"));
    const heading = sorted && document.querySelector(".runs thead tr").cells[sorted.cellIndex];
    for (let times = 0; heading && times < 2 && heading.ariaSort !== sorted.ariaSort; times += 1) {
      heading.querySelector("button").click();
    }
  };

  const update = (page) => {
    const sorted = document.querySelector(".sorting") && document.querySelector("[aria-sort]:not([aria-sort=none])");
    const isMany = typeof startRuns !== "undefined";
    texts ??= textsOf(partsOf(parsed(first)));
    const [now, next] = [partsOf(document), partsOf(page)];
    const found = textsOf(next);
    document.title = page.title;
    if ([...now.keys()].join("\n") !== [...next.keys()].join("\n")) {
      // A metric or a section is new.
      carry(document.querySelector("main"), page.querySelector("main"));
      now.get("head").replaceWith(next.get("head"));
      if (next.has("data")) {
        now.get("data")?.replaceWith(next.get("data"));
        startPage([document.querySelector("main")]);
        if (isMany) carryRuns(sorted);
      }
    } else {
      let changed = [...next.keys()].filter((name) => found.get(name) !== texts.get(name));
      // The script for several runs is started for these together.
      if (isMany && changed.length) changed = [...new Set([...changed, "results", "inputs"])].filter((name) => next.has(name));
      const replaced = changed.map((name) => [name, now.get(name), next.get(name)]);
      for (const [, before, after] of replaced) carry(before, after);
      const live = replaced.filter(([name]) => name !== "head" && name !== "data");
      if (next.has("data") && live.length) {
        startPage(live.map(([, , after]) => after));
        for (const [, before, after] of live) if (before.matches(".chart")) carryChart(before, after);
        if (isMany) carryRuns(sorted);
      }
    }
    texts = found;
  };

  const say = (text, lost = false) => {
    const place = document.querySelector(".live");
    if (place.textContent === text) return;
    place.textContent = text;
    place.classList.toggle("lost", lost);
  };

  let busy = false;
  let waiting = false;
  const refresh = async () => {
    waiting = busy;
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) update(parsed(await answer.text()));
      say(answer.ok ? "live" : "these runs cannot be read any more; reload the page to see why", !answer.ok);
    } catch {
      say("the server has ended", true);
    }
    busy = false;
    if (waiting) refresh();
  };

  const events = new EventSource(shown.dataset.events);
  events.onopen = () => say("live");
  events.onmessage = refresh;
  events.onerror = () => say("the server has ended", true);
})();

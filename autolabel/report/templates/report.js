"use strict";
// Text from outside becomes text nodes; nothing here parses HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { categories, cards, edges } = data;
  const PAGE = 24;
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }
  function draw(name, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  const whole = new Intl.NumberFormat("en").format;
  const swatch = (color) =>
    draw("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" },
      draw("rect", { width: 10, height: 10, rx: 3, fill: color }));
  const meter = (value) =>
    draw("svg", { class: "meter", viewBox: "0 0 100 5", preserveAspectRatio: "none", "aria-hidden": "true" },
      draw("rect", { width: 100, height: 5 }), draw("rect", { width: 100 * value, height: 5 }));
  const plural = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;

  // Theme: what the system says, until the button says otherwise.
  const root = document.documentElement;
  const remembered = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* not from every disk */ } } };
  if (remembered.get()) root.dataset.theme = remembered.get();
  $("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remembered.set(root.dataset.theme);
  });

  // Gallery
  for (const select of [$("by-category"), $("chart-category")]) {
    categories.forEach((category, place) => select.append(make("option", { value: String(place), textContent: category.name })));
  }
  const filters = $("filters");
  const order = {
    doubt: (a, b) => (a.doubt?.rank ?? Number.MAX_SAFE_INTEGER) - (b.doubt?.rank ?? Number.MAX_SAFE_INTEGER) || a.image_id - b.image_id,
    id: (a, b) => a.image_id - b.image_id,
    instances: (a, b) => b.n_instances - a.n_instances || a.image_id - b.image_id,
  };
  let shown = [];
  let limit = PAGE;

  function matches(card) {
    const status = $("by-status").value;
    const category = $("by-category").value;
    const from = Number($("score-from").value);
    const to = Number($("score-to").value);
    if (status && card.status !== status) return false;
    if (!category && from === 0 && to === 1) return true;
    return card.instances.some((one) =>
      (!category || one.category === Number(category)) && one.score >= from && one.score <= to);
  }

  function summary(card) {
    const numbers = new Map();
    for (const one of card.instances) numbers.set(one.category, (numbers.get(one.category) ?? 0) + 1);
    const more = card.n_instances > card.instances.length ? "+" : "";
    const chips = [...numbers].map(([place, n]) => make("span", { className: "chip" },
      swatch(categories[place].color), make("bdi", { textContent: categories[place].name }), ` ${n}${more}`));
    const rest = chips.splice(4).length;
    if (rest) chips.push(make("span", { className: "chip faint", textContent: `and ${rest} more` }));
    return chips.length ? chips : [make("span", { className: "faint", textContent: "nothing found" })];
  }

  function cardElement(card, place) {
    const inside = card.picture
      ? make("img", { src: card.picture, loading: "lazy", decoding: "async", alt: "" })
      : make("span", { className: "problem", textContent: card.problem });
    if (card.picture) inside.addEventListener("error", () => inside.replaceWith(
      make("span", { className: "problem", textContent: "its picture is not beside this page" })));
    const priority = card.doubt?.priority;
    const doubt = card.doubt ? make("span", { className: "row" }, meter(priority), `doubt ${priority.toFixed(2)}`) : "";
    const button = make("button", { type: "button", className: "card" },
      make("span", { className: "picture" }, inside),
      make("span", { className: "text" },
        make("bdi", { className: "name", textContent: card.name, title: card.name }),
        make("span", { className: "chips" }, ...(card.status === "rejected" ? ["not looked at"] : summary(card))),
        make("span", { className: "row" },
          make("span", { textContent: card.status === "labelled" ? plural(card.n_instances, "instance") : card.status }), doubt)));
    button.addEventListener("click", () => open(place));
    return make("li", {}, button);
  }

  function show() {
    shown = cards.filter(matches).sort(order[$("sort").value]);
    $("score-from-shown").textContent = Number($("score-from").value).toFixed(2);
    $("score-to-shown").textContent = Number($("score-to").value).toFixed(2);
    $("shown").textContent = `${plural(shown.length, "image")}${shown.length < cards.length ? ` of ${whole(cards.length)}` : ""}`;
    $("cards").replaceChildren(...shown.slice(0, limit).map(cardElement));
    $("more").hidden = shown.length <= limit;
  }
  filters.addEventListener("input", () => { limit = PAGE; show(); });
  filters.addEventListener("reset", () => setTimeout(() => { limit = PAGE; show(); }));
  filters.addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", () => {
    const first = limit;
    limit += 2 * PAGE;
    show();
    $("cards").children[first]?.querySelector("button").focus();
  });

  // Viewer
  const viewer = $("viewer");
  let current = 0;

  function open(place) {
    current = place;
    const card = shown[place];
    $("viewer-title").textContent = card.name;
    $("viewer-place").textContent = `${whole(place + 1)} of ${whole(shown.length)}`;
    $("previous").disabled = place === 0;
    $("next").disabled = place === shown.length - 1;
    const frame = viewer.querySelector(".frame");
    const marks = card.size_wh ? draw("svg", { viewBox: `0 0 ${card.size_wh[0]} ${card.size_wh[1]}`, preserveAspectRatio: "none", "aria-hidden": "true" }) : "";
    frame.replaceChildren(...(card.picture
      ? [make("img", { src: card.picture, alt: `${card.name}, with ${plural(card.n_instances, "instance")} drawn on it` }), marks]
      : [make("p", { className: "problem", textContent: card.problem })]));
    // As large as the stage allows, but no pixel larger than two.
    const [width, height] = card.size_wh ?? [1, 1];
    frame.style.width = card.picture ? `min(100cqw, ${width / height} * 100cqh, ${2 * width}px)` : "";
    frame.style.aspectRatio = card.picture ? `${width} / ${height}` : "";
    viewer.querySelector(".side").replaceChildren(...side(card, marks));
    viewer.querySelector(".side").scrollTop = 0;
    if (!viewer.open) viewer.showModal();
  }

  function side(card, marks) {
    const facts = [["Image", `#${card.image_id}`], ["Status", card.status]];
    if (card.size_wh) facts.push(["Size", `${card.size_wh[0]} × ${card.size_wh[1]}`]);
    if (card.doubt) facts.push(["Doubt", `${card.doubt.priority.toFixed(2)}, rank ${whole(card.doubt.rank)}`]);
    const parts = [make("dl", { className: "facts" },
      ...facts.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]))];
    const reasons = Object.entries(card.doubt?.reasons ?? {}).sort((a, b) => b[1] - a[1]);
    if (reasons.length) {
      parts.push(make("h3", { textContent: "Why it is in doubt" }), make("ul", { className: "reasons" },
        ...reasons.map(([reason, value]) => make("li", {},
          make("span", { textContent: data.reasons[reason] }), meter(value), make("span", { textContent: value.toFixed(2) })))));
    }
    if (card.instances.length) {
      const more = card.n_instances > card.instances.length ? `, the best ${card.instances.length} listed` : "";
      parts.push(make("h3", { textContent: plural(card.n_instances, "instance") + more }),
        make("ul", { className: "found" }, ...card.instances.map((one) => make("li", {}, instance(one, marks)))));
    }
    return parts;
  }

  function instance(one, marks) {
    const [x, y, width, height] = one.box_xywh;
    const button = make("button", { type: "button" }, swatch(categories[one.category].color),
      make("bdi", { className: "what", textContent: categories[one.category].name }),
      make("span", { className: "score", textContent: one.score.toFixed(2) }),
      make("span", { className: "area", textContent: `${whole(one.area_px)} px` }));
    const point = () => marks && marks.replaceChildren(draw("rect", { x, y, width, height }));
    const leave = () => marks && marks.replaceChildren();
    for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, point);
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, leave);
    return button;
  }

  const step = (by) => shown[current + by] && open(current + by);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  viewer.addEventListener("close", () => $("cards").children[current]?.querySelector("button").focus());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  // Charts
  const sum = (rows) => rows.reduce((total, row) => total.map((n, bin) => n + row[bin]));
  const percent = (share) => `${share >= 0.01 ? Math.round(share * 100) : Number((share * 100).toPrecision(1))}%`;

  function bars(values, { under = [], names, ticks, limitAt, color, label }) {
    const [width, height, left, bottom, top] = [420, 190, 44, 24, 14];
    const stacked = values.map((value, bin) => value + (under[bin] ?? 0));
    const highest = Math.max(1, ...stacked);
    const step = (width - left) / values.length;
    const y = (value) => top + (height - top - bottom) * (1 - value / highest);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const value of new Set([0, Math.round(highest / 2), highest])) {
      svg.append(draw("line", { class: "axis", x1: left, x2: width, y1: y(value), y2: y(value) }),
        draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, compact(value)));
    }
    values.forEach((value, bin) => {
      const x = left + bin * step;
      const gap = Math.min(2, step * 0.2);
      const bar = (from, to, kind) => to > from && svg.append(draw("rect", { class: kind, x: x + gap / 2, width: step - gap,
        y: y(to), height: Math.max(y(from) - y(to), 0.75), rx: Math.min(2, step / 4) }));
      bar(0, value, "bar");
      bar(value, stacked[bin], "bar candidate");
      svg.append(draw("rect", { class: "hit", x, width: step, y: top, height: height - top - bottom }, draw("title", {},
        `${names[bin]}: ${whole(value)}${under.length ? `, and ${plural(under[bin], "candidate")}` : ""}`)));
    });
    if (color) svg.querySelectorAll(".bar").forEach((bar) => { bar.style.fill = color; });
    for (const [at, text] of ticks) {
      svg.append(draw("text", { x: left + at * step, y: height - 6, "text-anchor": at === 0 ? "start" : at >= values.length ? "end" : "middle" }, text));
    }
    if (limitAt !== undefined) {
      const x = left + limitAt * step;
      svg.append(draw("line", { class: "limit", x1: x, x2: x, y1: 4, y2: height - bottom }),
        draw("text", { class: "limit-text", x: x - 5, y: 11, "text-anchor": "end" }, "threshold"));
    }
    return svg;
  }
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format;

  function charts() {
    const chosen = $("chart-category").value;
    const of = (table) => (chosen === "" ? sum(table) : table[Number(chosen)]);
    const category = chosen === "" ? undefined : categories[Number(chosen)];
    const color = category?.color;
    const thresholds = new Set(categories.map((one) => one.threshold));
    const threshold = category?.threshold ?? (thresholds.size === 1 ? [...thresholds][0] : undefined);
    const nScores = edges.score.length - 1;
    const scoreNames = edges.score.slice(0, -1).map((edge, bin) => `${edge.toFixed(2)} to ${edges.score[bin + 1].toFixed(2)}`);
    $("score-note").textContent = "instances, and candidates in a paler tone";
    $("chart-scores").replaceChildren(bars(of(data.scores), {
      under: of(data.candidateScores), names: scoreNames, color, label: "Histogram of scores",
      ticks: [0, 0.25, 0.5, 0.75, 1].map((score) => [score * nScores, String(score)]),
      limitAt: threshold === undefined ? undefined : threshold * nScores,
    }));
    const nAreas = edges.area.length - 1;
    $("chart-areas").replaceChildren(bars(of(data.areas), {
      names: edges.area.slice(0, -1).map((edge, bin) => `${bin ? percent(edge) : "0%"} to ${percent(edges.area[bin + 1])}`),
      color, label: "Histogram of sizes",
      ticks: [1e-6, 1e-4, 1e-2, 1].map((share) => [(Math.log10(share) + 6) * nAreas / 6, percent(share)]),
    }));
    const spans = edges.count.map((first, bin) => {
      const last = edges.count[bin + 1] - 1;
      return last === undefined || Number.isNaN(last) ? `${first}+` : first === last ? String(first) : `${first}–${last}`;
    });
    const counts = chosen === "" ? data.countsOfAll : of(data.counts);
    const countNames = chosen === "" ? ["0", ...spans] : spans;
    $("chart-counts").replaceChildren(bars(counts, {
      names: countNames.map((name) => `${name} per image`), color, label: "Histogram of instances per image",
      ticks: countNames.map((name, bin) => [bin + 0.5, name]).filter((_, bin) => bin % 2 === 0),
    }));
  }

  for (const cell of document.querySelectorAll(".spark")) {
    const place = Number(cell.dataset.category);
    const values = data.scores[place];
    const highest = Math.max(1, ...values);
    cell.append(draw("svg", { viewBox: `0 0 ${values.length * 3} 24`, preserveAspectRatio: "none", role: "img", "aria-label": `Scores of ${categories[place].name}` },
      draw("line", { class: "axis", x1: 0, x2: values.length * 3, y1: 23.5, y2: 23.5 }),
      ...values.map((value, bin) => draw("rect", { x: bin * 3, width: 2.2, y: 23 - 22 * value / highest, height: 22 * value / highest, fill: categories[place].color }))));
  }

  $("chart-category").addEventListener("input", charts);
  charts();
  show();
})();

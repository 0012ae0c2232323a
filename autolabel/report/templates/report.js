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
  const byInstances = categories.map((_, place) => place).sort((a, b) => categories[b].instances - categories[a].instances || a - b);
  for (const select of [$("by-category"), $("chart-category")]) {
    for (const place of byInstances) select.append(make("option", { value: String(place), textContent: categories[place].name }));
  }
  const mostDoubt = Math.max(1, ...cards.map((card) => card.doubt?.priority ?? 0));
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
    const doubt = card.doubt ? make("span", { className: "row" }, meter(priority / mostDoubt), `doubt ${priority.toFixed(2)}`) : "";
    const button = make("button", { type: "button", className: "card" },
      make("span", { className: "picture" }, inside),
      make("span", { className: "text" },
        make("bdi", { className: "name", textContent: card.name, title: card.name }),
        make("span", { className: "chips" }, ...(card.status === "rejected" ? ["not labelled"] : summary(card))),
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
    const marks = card.size_wh ? draw("svg", { class: "mark", viewBox: `0 0 ${card.size_wh[0]} ${card.size_wh[1]}`, preserveAspectRatio: "none", "aria-hidden": "true" }) : "";
    scored = { card, layer: draw("svg", { class: "scores", "aria-hidden": "true" }) };
    frame.replaceChildren(...(card.picture
      ? [make("img", { src: card.picture, alt: `${card.name}, with ${plural(card.n_instances, "instance")} drawn on it` }), scored.layer, marks]
      : [make("p", { className: "problem", textContent: card.problem })]));
    // As large as the stage allows, but no pixel larger than two.
    const [width, height] = card.size_wh ?? [1, 1];
    frame.style.width = card.picture ? `min(100cqw, ${width / height} * 100cqh, ${2 * width}px)` : "";
    frame.style.aspectRatio = card.picture ? `${width} / ${height}` : "";
    viewer.querySelector(".side").replaceChildren(...side(card, marks));
    viewer.querySelector(".side").scrollTop = 0;
    if (!viewer.open) viewer.showModal();
    writeScores();
  }

  // Scores at one size, however large the picture is shown: on their object where it has the room, else beside it with
  // a line to it. One hides no other; the best have the choice.
  const CHIP = { width: 32, height: 18 };
  const DISTANCES = [1, 1.5, 2.2, 3.2, 4.5];
  let scored = null;

  function choices(one, scale) {
    const [x, y] = one.point_xy.map((at) => at * scale);
    const [width, height] = one.box_xywh.slice(2).map((side) => side * scale);
    const places = width >= 2 * CHIP.width && height >= 2 * CHIP.height ? [[x, y]] : [];
    const reachX = Math.min(width / 2, CHIP.width) + CHIP.width / 2 + 4;
    const reachY = Math.min(height / 2, 2 * CHIP.height) + CHIP.height / 2 + 4;
    for (const distance of DISTANCES) {
      for (let turn = 0; turn < 12; turn += 1) {
        const angle = (Math.PI / 6) * turn - Math.PI / 2;
        places.push([x + distance * reachX * Math.cos(angle), y + distance * reachY * Math.sin(angle)]);
      }
    }
    return places;
  }

  function writeScores() {
    const frame = viewer.querySelector(".frame");
    const instances = scored?.card.picture ? scored.card.instances : [];
    const [width, height] = [frame.clientWidth, frame.clientHeight];
    const lines = draw("g");
    const chips = draw("g");
    const taken = [];
    const wanted = $("with-scores").checked && width > 0;
    const scale = width / (scored?.card.size_wh?.[0] ?? 1);
    for (const one of wanted ? instances : []) {
      const place = choices(one, scale).find(([x, y]) =>
        x >= CHIP.width / 2 && x <= width - CHIP.width / 2 && y >= CHIP.height / 2 && y <= height - CHIP.height / 2 &&
        !taken.some(([tx, ty]) => Math.abs(tx - x) < CHIP.width + 1 && Math.abs(ty - y) < CHIP.height + 1));
      if (!place) continue;
      taken.push(place);
      const [x, y] = place;
      const [px, py] = one.point_xy.map((at) => at * scale);
      const { color } = categories[one.category];
      if (Math.abs(px - x) > CHIP.width / 2 || Math.abs(py - y) > CHIP.height / 2) {
        for (const kind of ["edge", "lead"]) {
          lines.append(draw("line", { class: kind, x1: x, y1: y, x2: px, y2: py, stroke: color }),
            draw("circle", { class: kind, cx: px, cy: py, r: kind === "edge" ? 4 : 3, fill: color }));
        }
      }
      chips.append(draw("rect", { x: x - CHIP.width / 2, y: y - CHIP.height / 2, width: CHIP.width, height: CHIP.height, rx: 4, fill: color }),
        draw("text", { x, y: y + 4.5, "text-anchor": "middle" }, one.score.toFixed(2)));
    }
    scored?.layer.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
    scored?.layer.replaceChildren(lines, chips);
    const all = scored?.card.n_instances ?? 0;
    $("scores-shown").textContent = wanted && taken.length < all ? `Scores, ${taken.length} of ${whole(all)}` : "Scores";
  }
  $("with-scores").addEventListener("input", writeScores);
  new ResizeObserver(writeScores).observe(viewer.querySelector(".frame"));

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
          make("span", { textContent: data.reasons[reason] }), meter(value / reasons[0][1]), make("span", { textContent: value.toFixed(2) })))));
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
    const most = Math.max(1, ...stacked);
    const between = roundStep(most / 3);
    const highest = Math.ceil(most / between) * between;
    const step = (width - left) / values.length;
    const y = (value) => top + (height - top - bottom) * (1 - value / highest);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (let value = 0; value <= highest; value += between) {
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
  function roundStep(least) {
    const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
    return power * [1, 2, 5, 10].find((step) => step * power >= least);
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
      ticks: countNames.map((name, bin) => [bin + 0.5, name]).filter((_, bin) => (bin % 2 === 0 && bin < countNames.length - 2) || bin === countNames.length - 1),
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

  // Tables that are sorted by the column whose name is clicked, numbers from the greatest down first.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => (numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent.trim());
      const rising = numeric ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b));
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? rising(a, b) : rising(b, a))));
    }));
  }

  $("chart-category").addEventListener("input", charts);
  charts();
  show();
})();

"use strict";
// All that a page does. Values stand in attributes and are only ever read as text.

const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const on = (event, selector, act) => document.addEventListener(event, e => {
  const found = e.target.closest && e.target.closest(selector);
  if (found) act(found, e);
});

// --- what stands in a chart tells its value: pointed at, or reached by arrow keys --------------
const tip = document.querySelector(".tip");

function tell(mark, x, y) {
  const name = mark.closest("[data-name]");
  tip.textContent = (name ? name.dataset.name + "\n" : "") + mark.dataset.tip;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(4, x + 14), innerWidth - width - 4);
  const top = y + 18 + height > innerHeight ? y - height - 12 : y + 18;
  tip.style.transform = `translate(${left}px, ${Math.max(4, top)}px)`;
}
function quiet(drawing) {
  tip.hidden = true;
  all(".on", drawing || document).forEach(mark => mark.classList.remove("on"));
}
on("pointermove", "[data-tip]", (mark, e) => tell(mark, e.clientX, e.clientY));
document.addEventListener("pointerout", e => { if (e.target.closest("[data-tip]")) quiet(); });
on("focusout", ".drawing", drawing => quiet(drawing));
on("keydown", ".drawing", (drawing, e) => {
  const marks = all("[data-tip]", drawing);
  const at = marks.findIndex(mark => mark.classList.contains("on"));
  if (e.key === "Escape") return quiet(drawing);
  if (e.key === "Enter" && at >= 0) return pick(marks[at]);
  const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? marks.length - 1 : at - 1, Home: 0, End: marks.length - 1 }[e.key];
  if (to === undefined || !marks.length) return;
  e.preventDefault();
  quiet(drawing);
  const mark = marks[(to + marks.length) % marks.length];
  mark.classList.add("on");
  const box = mark.getBoundingClientRect();
  tell(mark, box.right, box.top);
});

// --- a point leads to its row, and a row to its points ------------------------------------------
function pick(element) {
  const owner = element.closest("[data-key]");
  if (!owner) return;
  const run = owner.closest(".run");
  const same = all("[data-key]", run).filter(other => other.dataset.key === owner.dataset.key);
  all(".picked[data-key]", run).forEach(other => other.classList.remove("picked"));
  same.forEach(other => other.classList.add("picked"));
  const isRow = owner.matches("tr");
  const there = same.find(other => other.matches("tr") !== isRow && !other.closest("details"));
  if (!there) return;
  there.scrollIntoView({ block: "center" });
  (isRow ? there.closest(".drawing") : there).focus({ preventScroll: true });
}
on("click", "[data-key]", (element, e) => { if (!e.target.closest("a, button")) pick(element); });
on("keydown", "tr[data-key]", (row, e) => {
  if (e.key === "Enter") return pick(row);
  const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[e.key];
  if (!to) return;
  e.preventDefault();
  to.focus();
});
on("focusin", "tr[data-key]", row => {  // one row at a time is reached by Tab
  all("tr[data-key]", row.parentNode).forEach(other => { other.tabIndex = other === row ? 0 : -1; });
});

// --- tables are sorted by whichever column is asked ---------------------------------------------
on("click", ".sort", button => {
  const head = button.closest("th"), body = button.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  all("th", head.parentNode).forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = row => {
    const cell = row.cells[head.cellIndex];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const number = text => ({ inf: Infinity, "-inf": -Infinity })[text] ?? Number(text);
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stands last
    const order = isNaN(number(a)) || isNaN(number(b)) ? a.localeCompare(b) : number(a) - number(b);
    return up ? order : -order;
  };
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
});

// --- one of several parts -----------------------------------------------------------------------
on("change", "[data-choose]", select => {
  [...select.closest(".choice").children].filter(part => part.matches(".option"))
    .forEach((part, place) => { part.hidden = place !== select.selectedIndex; });
});

// --- two images under a slider ------------------------------------------------------------------
function look(arms) {
  const chosen = Object.fromEntries(all("[data-pick]", arms).map(select => [select.dataset.pick, select.value]));
  const prompt = all("[data-prompt]", arms).find(one => one.dataset.prompt === chosen.prompt);
  all(".thumb", arms).forEach(thumb => thumb.classList.remove("picked"));
  for (const [side, place] of [["left", ".upper"], ["right", ".under"]]) {
    const thumb = all(".thumb", prompt).find(one => one.dataset.arm === chosen[side]);
    const image = arms.querySelector(place);
    image.hidden = !thumb;
    arms.querySelector(`[data-told=${side}]`).textContent = thumb?.querySelector("small")?.textContent ?? "";
    if (!thumb) continue;
    const shown = thumb.querySelector("img");
    image.src = shown.src;
    image.alt = shown.alt;
    image.className = `${place.slice(1)} ${shown.className}`;
    thumb.classList.add("picked");
  }
}
on("change", "[data-pick]", select => look(select.closest(".arms")));
on("input", "[data-part]", slider => slider.parentNode.style.setProperty("--at", `${slider.value}%`));
on("click", ".arms:not(.alone) .thumb", thumb => {
  const arms = thumb.closest(".arms");
  arms.querySelector("[data-pick=prompt]").value = thumb.closest("[data-prompt]").dataset.prompt;
  arms.querySelector("[data-pick=right]").value = thumb.dataset.arm;
  look(arms);
});
all(".viewer").forEach(viewer => { viewer.hidden = false; look(viewer.closest(".arms")); });

// --- layers that one slider moves, words that choose among them ---------------------------------
function move(slider) {
  const film = slider.closest(".film"), step = Number(slider.value), columns = Number(film.dataset.columns);
  const name = all("ol li", film)[step].textContent;
  film.style.setProperty("--column", step % columns);
  film.style.setProperty("--row", Math.floor(step / columns));
  film.querySelector("output").textContent = name;
  slider.setAttribute("aria-valuetext", name);
}
on("input", "[data-along]", move);
all("[data-along]").forEach(move);
on("click", "[data-word]", button => {
  const film = button.closest(".film"), row = all("[data-word]", button.closest(".words"));
  row.forEach(other => other.setAttribute("aria-pressed", other === button));
  all(".reel", film).forEach(reel => {
    const words = reel.dataset.words.split(" ");
    if (row.some(other => words.includes(other.dataset.word))) reel.hidden = !words.includes(button.dataset.word);
  });
  all(".place", film).forEach(place => { place.hidden = all(".reel", place)[0].hidden; });
});

// --- charts as files ----------------------------------------------------------------------------
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "text-anchor"];

function alone(drawing) {
  const copy = drawing.cloneNode(true), originals = [drawing, ...all("*", drawing)];
  [copy, ...all("*", copy)].forEach((element, place) => {
    const look = getComputedStyle(originals[place]);
    LOOKS.forEach(name => element.setAttribute(name, look.getPropertyValue(name)));
    ["class", "tabindex", "data-key", "data-tip", "data-name"].forEach(name => element.removeAttribute(name));
  });
  const [, , width, height] = drawing.getAttribute("viewBox").split(" ").map(Number);
  const paper = document.createElementNS(copy.namespaceURI, "rect");
  paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  for (const [name, value] of Object.entries({ x: -10, y: -10, width: width + 20, height: height + 20 })) paper.setAttribute(name, value);
  copy.prepend(paper);
  copy.setAttribute("viewBox", `-10 -10 ${width + 20} ${height + 20}`);
  copy.setAttribute("width", width + 20);
  copy.setAttribute("height", height + 20);
  return { text: new XMLSerializer().serializeToString(copy), width: width + 20, height: height + 20 };
}
function stacked(place) {  // what is seen of a filmstrip: one frame of each layer, as an image of its own
  const film = place.closest(".film"), { columns, rows } = film.dataset;
  const [column, row] = ["--column", "--row"].map(name => Number(film.style.getPropertyValue(name)));
  const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const { width, height } = place.querySelector(".stack").getBoundingClientRect();
  const sizes = { width: 480, height: Math.round(480 * height / width) };
  const set = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
  set(whole, { ...sizes, viewBox: `0 0 ${sizes.width} ${sizes.height}` });
  all(".reel:not([hidden]) img", place).forEach(sheet => {
    const frame = document.createElement("canvas"), image = document.createElementNS(whole.namespaceURI, "image");
    [frame.width, frame.height] = [sheet.naturalWidth / columns, sheet.naturalHeight / rows];
    frame.getContext("2d").drawImage(sheet, -column * frame.width, -row * frame.height);
    const cells = sheet.parentNode.matches(".pixels") ? "pixelated" : "auto";
    set(image, { ...sizes, href: frame.toDataURL(), style: `image-rendering: ${cells}` });
    whole.append(image);
  });
  return { text: new XMLSerializer().serializeToString(whole), ...sizes };
}
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
on("click", "[data-save]", button => {
  const figure = button.closest("figure");
  const name = figure.dataset.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || "chart";
  const { text, width, height } = figure.matches(".place") ? stacked(figure) : alone(figure.querySelector(".drawing"));
  const svg = new Blob([text], { type: "image/svg+xml" });
  if (button.dataset.save === "svg") return download(svg, `${name}.svg`);
  const image = new Image(), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * 3, height * 3];
  image.onload = () => {
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => download(blob, `${name}.png`));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
});

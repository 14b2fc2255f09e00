"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));

  // --- tables: sort, filter, more columns, CSV
  const key = (cell) => cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.textContent.trim();
  function compare(a, b) {
    const empty = (v) => v === "–" || v === "";
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  function sortBy(head) {
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th", head.parentNode).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = Array.from(body.rows);
    rows.sort((one, two) => {
      const a = key(one.cells[column]), b = key(two.cells[column]), order = compare(a, b);
      const last = [a, b].some((v) => v === "–" || v === "");  // what is missing stays at the end
      return down && !last ? -order : order;
    });
    body.append(...rows);
  }
  function csvOf(table) {
    const quoted = (text) => /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
    const names = all("thead th", table).map((head) => head.dataset.name);
    const links = (cell) => all("a.fp", cell).map((a) => a.hash.slice(6)).join(" ");
    const text = (cell) => cell.dataset.value !== undefined ? cell.dataset.value
      : links(cell) || (cell.textContent === "–" ? "" : cell.textContent);
    const rows = all("tbody tr", table).filter((row) => !row.hidden)
      .map((row) => Array.from(row.cells).map((cell) => quoted(text(cell))).join(","));
    return [names.map(quoted).join(","), ...rows].join("\n") + "\n";
  }
  function save(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  all(".table").forEach((box) => {
    const table = box.querySelector("table"), filter = box.querySelector(".filter");
    const every = box.querySelector(".all"), count = box.querySelector(".count");
    all("th", table).forEach((head) => head.querySelector(".sort").addEventListener("click", () => sortBy(head)));
    function choose() {
      const rows = Array.from(table.tBodies[0].rows), wanted = filter.value.trim().toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = wanted ? shown + " of " + rows.length + " rows" : rows.length + (rows.length === 1 ? " row" : " rows");
    }
    filter.addEventListener("input", choose);
    choose();
    if (every) every.addEventListener("change", () => box.classList.toggle("everything", every.checked));
    box.querySelector(".csv").addEventListener("click", () => save(csvOf(table), box.dataset.name.replace(/\W+/g, "-") + ".csv"));
  });
  all(".save").forEach((button) => button.addEventListener("click", () => {
    save(document.getElementById(button.dataset.of).textContent, button.dataset.as);
  }));

  // --- the figure
  const panels = all(".panel");
  if (panels.length && window.Plotly) {
    const box = panels[0].parentNode;
    const font = { family: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif', size: 13, color: "#1b1f24" };
    const axis = { automargin: true, showline: true, mirror: true, linecolor: "#1b1f24", ticks: "inside", gridcolor: "#e6e9ed", zeroline: false };
    box.hidden = false;
    const drawn = panels.map((place, number) => {
      const panel = data.panels[number], layout = Object.assign({}, panel.layout);
      Object.keys(layout).filter((name) => /^[xy]axis/.test(name)).forEach((name) => {
        layout[name] = Object.assign({}, axis, layout[name]);
      });
      Object.assign(layout, {
        font: font, margin: { l: 60, r: 20, t: 40, b: 55 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
        legend: { orientation: "h", yanchor: "top", y: -62 / Math.max(120, place.clientHeight - 140) }, barmode: "overlay", hovermode: "closest",
      });
      return Plotly.newPlot(place, panel.data, layout, {
        responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      });
    });
    Promise.all(drawn).then(() => box.parentNode.classList.add("drawn"), () => { box.hidden = true; });
  }

  // --- structures
  const choice = document.getElementById("structure"), views = document.getElementById("views");
  let viewers = [];
  const elementsOf = (poscar) => poscar.split("\n")[5].trim().split(/\s+/);
  const colourOf = (element) => data.colours[element] || "#b3b3b3";
  function word(tag, text, className) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function legend(names) {
    const place = document.getElementById("elements");
    place.replaceChildren(...names.map((name) => {
      const shown = word("span", "", "element"), dot = document.createElement("i");
      dot.style.background = colourOf(name);
      shown.append(dot, name);
      return shown;
    }));
  }
  function draw(place, poscar) {
    const viewer = $3Dmol.createViewer(place, { backgroundColor: "white" });
    const model = viewer.addModel(poscar, "vasp");
    elementsOf(poscar).forEach((name) => viewer.setStyle({ elem: name }, {
      sphere: { scale: 0.32, color: colourOf(name) }, stick: { radius: 0.09, color: colourOf(name) },
    }));
    viewer.addUnitCell(model, { box: { color: "#57606a" } });
    if (document.getElementById("repeat-cell").checked) viewer.replicateUnitCell(2, 2, 1, model, true);
    viewer.zoomTo();
    viewer.rotate(-90, "x");
    viewer.rotate(15, "vy");
    viewer.rotate(10, "vx");
    viewer.render();
    return viewer;
  }
  function show() {
    const chosen = data.structures[Number(choice.value)];
    viewers.forEach((viewer) => { try { viewer.clear(); } catch (error) { /* it is going away */ } });
    viewers = [];
    views.replaceChildren();
    legend([...new Set(chosen.views.flatMap((view) => elementsOf(view.poscar)))]);
    document.getElementById("poscars").replaceChildren(...chosen.views.flatMap((view) => {
      const text = word("pre", view.poscar);
      text.tabIndex = 0;
      return [word("p", view.name, "view-name"), text];
    }));
    chosen.views.forEach((view) => {
      const box = document.createElement("div"), place = word("div", "", "view");
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", chosen.label + ", " + view.name + ": " + view.poscar.split("\n")[6].trim().split(/\s+/)
        .map((number, n) => number + " " + elementsOf(view.poscar)[n]).join(", ") + " atoms");
      box.append(word("p", view.name, "view-name"), place);
      views.append(box);
      try {
        viewers.push(draw(place, view.poscar));
      } catch (error) {
        box.remove();
        document.getElementById("no-viewer").hidden = false;
      }
    });
  }
  if (choice) {
    choice.addEventListener("change", show);
    document.getElementById("repeat-cell").addEventListener("change", show);
    if (data.structures.length) show();
    all(".show").forEach((button) => {
      const place = data.structures.findIndex((structure) => structure.fingerprint === button.dataset.fingerprint);
      if (place < 0) { button.hidden = true; return; }
      button.addEventListener("click", () => {
        choice.value = String(place);
        show();
        document.getElementById("structures").scrollIntoView();
      });
    });
  }

  // --- from a number to its calculation, and what is folded when it is printed
  function open() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  all("a.fp").forEach((link) => link.addEventListener("click", () => setTimeout(open)));
  window.addEventListener("beforeprint", () => all("details.calculation").forEach((part) => { part.open = true; }));
  open();
})();

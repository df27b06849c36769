"use strict";
// The interactive part of a report: shows another size, finds the one that meets typed limits, and saves its plan. All numbers and
// pictures were made by segfit; nothing is computed here but which of them to show.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  const theme = document.getElementById("theme");
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // What is folded away is printed, too.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });

  const source = document.getElementById("offers");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const offers = data.offers;
  const byId = (id) => document.getElementById(id);
  const slider = byId("size");
  const message = byId("message");
  let shown = data.start;

  const all = (name) => document.querySelectorAll(`[data-${name}]`);

  function show(index) {
    shown = index;
    const offer = offers[index];
    for (const node of all("show")) node.textContent = offer.show[node.dataset.show] ?? "";
    for (const node of all("bar")) node.style.width = `${offer.bars[node.dataset.bar]}%`;
    for (const node of all("marker")) {
      const [reach, dot] = [node.querySelector("line"), node.querySelector("circle")];
      reach.setAttribute("x1", offer.x);
      reach.setAttribute("x2", offer.x);
      reach.setAttribute("y1", offer.low);
      reach.setAttribute("y2", offer.high);
      dot.setAttribute("cx", offer.x);
      dot.setAttribute("cy", offer.y);
    }
    byId("picture").innerHTML = offer.picture;
    byId("outside").hidden = !offer.extrapolated;
    byId("back").disabled = index === data.start;
    const place = data.slider.indexOf(index);
    if (place >= 0) slider.value = place;
    slider.setAttribute("aria-valuetext", offer.show.spoken);
  }

  // "250k", "4 MiB", "20ms", "95%": a number with a unit of `units`, or NaN.
  function quantity(text, units) {
    const parts = /^([0-9][0-9_,]*\.?[0-9]*|\.[0-9]+)\s*(\S*)$/.exec(text.trim());
    if (!parts || !(parts[2] in units)) return NaN;
    return Number(parts[1].replace(/[_,]/g, "")) * units[parts[2]];
  }
  const counts = { "": 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  const bytes = { "": 1, B: 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, KiB: 1024, MiB: 1048576, GiB: 1073741824 };
  const times = { "": 1, ms: 1, s: 1000, us: 0.001 };

  // What of a prediction is compared with the share to keep, as `segfit plan --keep-bound` says.
  function kept(offer, share) {
    if (data.bound === "low") return offer.retention.low;
    const mean = offer.retention.mean;
    if (data.bound === "mean" || mean >= 1) return mean;
    const margin = (percent) => data.margins[Math.min(100, Math.max(50, percent))];
    return mean - Math.max(margin(Math.floor(100 * share + 1e-9)), margin(Math.ceil(100 * share - 1e-9)));
  }

  const limits = {
    keep: { units: { "": 1, "%": 0.01 }, met: (offer, share) => kept(offer, share) >= share, valid: (v) => v > 0 && v <= 1 },
    params: { units: counts, met: (offer, most) => offer.params <= most },
    macs: { units: counts, met: (offer, most) => offer.macs <= most },
    memory: { units: bytes, met: (offer, most) => offer.memory <= most },
    time: { units: times, met: (offer, most) => offer.ms <= most },
  };

  function choose() {
    const wanted = [];
    for (const [name, limit] of Object.entries(limits)) {
      const field = byId(`limit-${name}`);
      if (!field) continue;
      const value = field.value.trim() === "" ? null : quantity(field.value, limit.units);
      const wrong = value !== null && !(limit.valid ? limit.valid(value) : value > 0);
      field.setAttribute("aria-invalid", String(wrong));
      if (wrong) {
        message.textContent = `${field.dataset.name}: write it like ${field.placeholder}.`;
        return;
      }
      if (value !== null) wanted.push({ name, field, value, met: limit.met });
    }
    if (wanted.length === 0) {
      message.textContent = "";
      show(data.start);
      return;
    }
    const order = [...offers.keys()].filter((i) => wanted.every((w) => w.met(offers[i], w.value)));
    if (order.length === 0) {
      const alone = wanted.filter((w) => !offers.some((offer) => w.met(offer, w.value))).map((w) => w.field.dataset.name);
      message.textContent = alone.length > 0 ? `No size of this network meets: ${alone.join(", ")}.` : "No size meets all of these limits together.";
      return;
    }
    const cheapest = wanted.some((w) => w.name === "keep");
    order.sort((a, b) => (cheapest ? 0 : offers[b].retention.mean - offers[a].retention.mean) || offers[a].params - offers[b].params || offers[a].macs - offers[b].macs);
    show(order[0]);
    message.textContent = cheapest ? "The smallest of the sizes of this report that meets this." : "The most accurate of the sizes of this report that meets this.";
  }

  // The plan of an offer, put together from the values that all plans share.
  function plan(offer) {
    if (offer.rung === null) return data.chosen;
    const rung = data.ladder.rungs[offer.rung];
    const object = (places) => Object.fromEntries(places.map(([key, place]) => [key, data.ladder.pool[place]]));
    return { ...object(rung.plan), spec: object(rung.spec) };
  }

  function save() {
    const text = JSON.stringify(plan(offers[shown]), null, 2) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "plan.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  slider.addEventListener("input", () => {
    message.textContent = "";
    for (const name of Object.keys(limits)) if (byId(`limit-${name}`)) byId(`limit-${name}`).value = "";
    show(data.slider[Number(slider.value)]);
  });
  for (const name of Object.keys(limits)) byId(`limit-${name}`)?.addEventListener("input", choose);
  byId("limits").addEventListener("submit", (event) => event.preventDefault());
  byId("back").addEventListener("click", () => {
    byId("limits").reset();
    choose();
  });
  byId("save").addEventListener("click", save);
  for (const point of document.querySelectorAll("#curve [data-index]")) point.addEventListener("click", () => show(Number(point.dataset.index)));
  show(shown);
})();

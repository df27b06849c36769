// The reports of segfit in a real browser: what is shown is what the command line says, and anybody can use it.
//
//     npm install --prefix DIR playwright-core@1.57.0 axe-core@4.11.0     (package.json beside this file)
//     node benchmarks/report/browser.mjs SEGFIT --modules DIR --work WORK [--chromium PATH] [--screenshots DIR]
//         [--out browser.md] [--only NAME]
//
// Makes phantoms, plans, runs and their reports in WORK, opens them from file:// in headless Chromium, and checks:
//
//     numbers      moving the size, clicking the curve and typing limits show the numbers of `segfit plan` with the command that the page
//                  names; the downloaded plan.json is the one that this command writes, value by value
//     drawing      the picture, the bars and the marker follow
//     quiet        nothing is written to the console, no request leaves the page
//     everybody    axe-core finds nothing, in light and dark, wide and narrow; the page works by keyboard
//     hostile      names with markup, quotes and line breaks are text and run nothing
//     large        a data set of 2,000 images: time of `segfit report`, size of the page
//
// Ends with a line of passed and failed checks; exit code 1 when one failed.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const options = { modules: ".", work: "target/report-check", chromium: "/usr/bin/chromium", screenshots: "", out: "", only: "" };
const [segfit, ...rest] = process.argv.slice(2);
for (let i = 0; i < rest.length; i += 2) options[rest[i].replace(/^--/, "")] = rest[i + 1];
if (!segfit) throw new Error("the program to check is missing; see the head of this file");
const require = createRequire(join(resolve(options.modules), "node_modules", "from.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const work = resolve(options.work);
const program = resolve(segfit);

let passed = 0;
let failed = 0;
let part = "other";
const parts = new Map();
const remarks = [];
function check(name, is, detail = "") {
  if (is) passed += 1;
  else failed += 1;
  const [right, all] = parts.get(part) ?? [0, 0];
  parts.set(part, [right + (is ? 1 : 0), all + 1]);
  if (!is || process.env.VERBOSE) console.log(`${is ? "ok    " : "FAILED"} ${name}${is ? "" : `: ${detail}`}`);
}

const run = (...words) => execFileSync(program, words, { cwd: work, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 28 });
const wanted = (name) => {
  part = name;
  return options.only === "" || options.only === name;
};

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox"] });

// A page that records what it should not do.
async function open(file, settings = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, acceptDownloads: true, ...settings });
  const page = await context.newPage();
  page.noise = [];
  page.on("console", (m) => page.noise.push(`${m.type()}: ${m.text()}`));
  page.on("pageerror", (e) => page.noise.push(e.message));
  page.on("dialog", (d) => { page.noise.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => { if (!/^(file|data|blob):/.test(r.url())) page.noise.push(`request: ${r.url()}`); });
  await page.goto(`file://${join(work, file)}`);
  return page;
}

const shown = (page, name) => page.locator(`[data-show="${name}"]`).first().textContent();

// The words of a command that the page shows, as the shell would split them.
function words(command) {
  return [...command.matchAll(/'([^']*)'|(\S+)/g)].map((m) => m[1] ?? m[2]);
}

const close = (a, b) => a === b || (typeof a === "number" && typeof b === "number" && Math.abs(a - b) <= 1e-12 * Math.abs(b));
function differs(a, b, path = "") {
  if (a !== null && b !== null && typeof a === "object" && typeof b === "object") {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    for (const key of keys) {
      const found = differs(a[key], b[key], `${path}.${key}`);
      if (found) return found;
    }
    return "";
  }
  return close(a, b) ? "" : `${path}: ${JSON.stringify(a)} and ${JSON.stringify(b)}`;
}

async function download(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
  return JSON.parse(readFileSync(await file.path(), "utf8"));
}

const thousands = (n) => n.toString().replace(/\B(?=(\d{3})+$)/g, ",");

// Whether the page shows the plan that its own command makes.
async function agrees(page, data, what) {
  const command = words(await shown(page, "command")).slice(1).map((w) => (w === "DATA" ? data : w));
  const plan = JSON.parse(run(...command, "--dry-run", "--json"));
  const text = { params: await shown(page, "params"), dice: await shown(page, "dice") };
  check(`${what}: weights`, text.params === thousands(plan.network.params), `${text.params}, CLI ${plan.network.params}`);
  const { mean, low, high } = plan.predicted.dice;
  const dice = `${mean.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
  check(`${what}: Dice`, text.dice === dice, `${text.dice}, CLI ${dice}`);
  const saved = await download(page);
  const difference = differs(saved, plan);
  check(`${what}: saved plan`, difference === "", difference);
  const drawn = await page.locator("#picture .kept title").allTextContents();
  const groups = plan.widths.map((w) => `${w.group}: ${w.channels} of ${w.full} channels`);
  check(`${what}: picture`, groups.every((g) => drawn.includes(g)), `${drawn} and ${groups}`);
  return plan;
}

async function accessible(page, what) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const found = result.violations.map((v) => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 120)} ${v.nodes[0].any?.[0]?.message ?? ""}`);
  check(`${what}: axe-core`, found.length === 0, found.join("; "));
}

async function photograph(page, name, full = false) {
  if (options.screenshots) await page.screenshot({ path: join(options.screenshots, `${name}.png`), fullPage: full });
}

const kinds = ["glands", "vessels"];
for (const kind of kinds) {
  run("phantom", kind, "--out", kind, "--count", "60");
  run("plan", kind, "--keep", "95%", "--out", `plan_${kind}`);
}
run("plan", "vessels", "--keep", "90%", "--keep-bound", "mean", "--network", "resunet", "--width", "32", "--divisor", "2", "--out", "plan_other");
run("network", "narrow", "--width", "1", "--channels", "3", "--out", "uniform.json");
run("network", "narrow", "--width", "4", "--depth", "3", "--channels", "3", "--out", "wide.json");
run("train", "plan_vessels/plan.json", "vessels", "--out", "small", "--steps", "300");
run("train", "uniform.json", "vessels", "--out", "uniform", "--steps", "300");
run("train", "wide.json", "vessels", "--out", "wide", "--steps", "200");
run("report", "small", "uniform", "wide", "--data", "vessels", "--out", "comparison.html");

if (wanted("numbers")) {
  for (const [report, data] of [["plan_glands", "glands"], ["plan_other", "vessels"], ["small", "vessels"]]) {
    const page = await open(`${report}/report.html`);
    const first = await agrees(page, data, `${report}, as opened`);
    const slider = page.locator("#size");
    const sizes = 1 + Number(await slider.getAttribute("max"));
    check(`${report}: many sizes`, sizes > 8, `${sizes}`);
    for (const share of [0, 0.35, 0.8, 1]) {
      const place = Math.round(share * (sizes - 1));
      await slider.fill(String(place));
      await agrees(page, data, `${report}, size ${place}`);
    }
    const bar = () => page.locator('[data-bar="weights"]').evaluate((n) => parseFloat(n.style.width));
    const dot = () => page.locator("[data-marker] circle").getAttribute("cx").then(Number);
    const high = [await bar(), await dot()];
    await slider.focus();
    await page.keyboard.press("Home");
    const low = [await bar(), await dot()];
    check(`${report}: keys, bar and marker`, low[0] < high[0] && low[1] < high[1], `${low} and ${high}`);
    // Points may lie above each other; the last is on top.
    await page.locator("#curve .point[data-index]").last().click();
    const clicked = await agrees(page, data, `${report}, a point of the curve`);
    check(`${report}: the last point is the largest size`, clicked.network.params >= first.network.params);
    const limits = [["params", "20k", (p) => p.network.params <= 20000], ["macs", "30M", (p) => p.network.macs <= 3e7], ["memory", "1 MiB", (p) => p.network.memory_bytes <= 1048576]];
    for (const [name, text, holds] of limits) {
      await page.fill(`#limit-${name}`, text);
      const plan = await agrees(page, data, `${report}, most ${name} ${text}`);
      check(`${report}: ${name} holds`, holds(plan), JSON.stringify(plan.network));
      await page.fill(`#limit-${name}`, "");
    }
    await page.fill("#limit-keep", "90%");
    const kept = await shown(page, "retention");
    check(`${report}: share to keep`, Number(kept.split("%")[0]) >= 90, kept);
    await page.fill("#limit-params", "1");
    check(`${report}: what cannot be met is said`, (await page.textContent("#message")).includes("No size"), await page.textContent("#message"));
    await page.fill("#limit-params", "many");
    check(`${report}: nonsense is marked`, (await page.getAttribute("#limit-params", "aria-invalid")) === "true");
    await page.fill("#limit-params", "");
    await page.fill("#limit-keep", "");
    await slider.fill(String(sizes - 1));
    await page.click("#back");
    const back = await agrees(page, data, `${report}, back`);
    check(`${report}: back is the plan`, differs(back.widths, first.widths) === "");
    check(`${report}: quiet`, page.noise.length === 0, page.noise.join("; "));
    await page.context().close();
  }
}

if (wanted("everybody")) {
  const reports = ["plan_glands/report.html", "plan_other/report.html", "small/report.html", "comparison.html"];
  for (const report of reports) {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [1200, 390]) {
        const page = await open(report, { colorScheme, viewport: { width, height: 850 } });
        await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
        await accessible(page, `${report}, ${colorScheme}, ${width} pixels`);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        check(`${report}, ${width} pixels: nothing sticks out`, wider <= 1, `${wider} pixels`);
        check(`${report}: quiet`, page.noise.length === 0, page.noise.join("; "));
        await page.context().close();
      }
    }
  }
  const plain = await open("small/report.html", { javaScriptEnabled: false });
  check("without scripts: the answer and the picture are there", (await plain.textContent(".answer")).includes("reaches Dice") && (await plain.locator("#picture svg").count()) === 1);
  check("without scripts: nothing that does not work", !(await plain.locator("#size").isVisible()) && !(await plain.locator("#save").isVisible()));
  await plain.context().close();
}

if (wanted("hostile")) {
  const names = ["<script>alert(1)<", "\"><img src=x onerror=alert(1)>", "a'b\"c`d", "{{ 7*7 }}{% raw %}", "line\nbreak", "&lt;b&gt;", "x".repeat(180), "javascript:alert(1)", "\u202eright-to-left", "-->"];
  run("phantom", "nuclei", "--out", "hostile", "--count", "20", "--size", "64");
  const pairs = readdirSync(join(work, "hostile/images")).sort();
  pairs.forEach((file, i) => {
    if (i >= names.length) return;
    const name = `${names[i].replaceAll("/", "_")}.png`;
    for (const folder of ["images", "masks"]) renameSync(join(work, "hostile", folder, file), join(work, "hostile", folder, name));
  });
  rmSync(join(work, "hostile/split.csv"), { force: true });
  // Bytes that are no UTF-8.
  const latin = (folder, from) => renameSync(join(work, "hostile", folder, from), Buffer.concat([Buffer.from(join(work, "hostile", folder) + "/caf"), Buffer.from([0xe9]), Buffer.from(".png")]));
  for (const folder of ["images", "masks"]) latin(folder, pairs[pairs.length - 1]);
  renameSync(join(work, "hostile"), join(work, "<b>hostile&'\"<b>"));
  run("plan", "<b>hostile&'\"<b>", "--max-params", "5k", "--size", "64", "--out", "plan_hostile");
  run("train", "plan_hostile/plan.json", "<b>hostile&'\"<b>", "--out", "run<i>", "--steps", "20");
  for (const report of ["plan_hostile/report.html", "run<i>/report.html"]) {
    const page = await open(report);
    await page.waitForTimeout(200);
    check(`${report}: quiet`, page.noise.length === 0, page.noise.join("; "));
    const foreign = await page.evaluate(() => document.querySelectorAll("script:not([nonce]):not(#offers), img:not([src^='data:image/png']), b, i, iframe, object").length);
    check(`${report}: no element of a name`, foreign === 0, `${foreign}`);
    check(`${report}: the name is text`, (await page.textContent("h1")).includes("hostile&'\"<b>"), await page.textContent("h1"));
    await accessible(page, report);
    await page.context().close();
  }
}

if (wanted("large")) {
  run("phantom", "glands", "--out", "large", "--count", "2000", "--size", "256");
  const begin = process.hrtime.bigint();
  run("plan", "large", "--keep", "95%", "--out", "plan_large");
  const planned = Number(process.hrtime.bigint() - begin) / 1e9;
  const again = process.hrtime.bigint();
  run("report", "plan_large", "--data", "large");
  const seconds = Number(process.hrtime.bigint() - again) / 1e9;
  const bytes = statSync(join(work, "plan_large/report.html")).size;
  remarks.push(`2,000 images of 256 x 256: plan with measuring and report ${planned.toFixed(1)} s, report alone ${seconds.toFixed(1)} s, ${(bytes / 1048576).toFixed(2)} MiB`);
  console.log(remarks.at(-1));
  check("large: within 10 s", seconds <= 10, `${seconds} s`);
  check("large: under 3 MB", bytes < 3e6, `${bytes} bytes`);
  rmSync(join(work, "large"), { recursive: true });
}

part = "size of the pages";
for (const report of ["plan_glands/report.html", "plan_other/report.html", "small/report.html", "comparison.html"]) {
  const bytes = statSync(join(work, report)).size;
  check(`${report}: under 3 MB`, bytes < 3e6, `${bytes} bytes`);
}

if (options.screenshots) {
  mkdirSync(options.screenshots, { recursive: true });
  const views = [["plan_glands/report.html", "glands"], ["plan_vessels/report.html", "vessels"], ["comparison.html", "comparison"]];
  for (const [report, name] of views) {
    for (const [view, settings] of [["wide", {}], ["dark", { colorScheme: "dark" }], ["phone", { viewport: { width: 390, height: 1200 } }]]) {
      const page = await open(report, settings);
      await photograph(page, `report_${name}_${view}`);
      await photograph(page, `report_${name}_${view}_full`, true);
      await page.context().close();
    }
    const page = await open(report);
    await page.pdf({ path: join(options.screenshots, `report_${name}.pdf`), format: "A4" });
    await page.context().close();
  }
}

if (options.out) {
  const rows = [...parts].map(([name, [right, all]]) => `| ${name} | ${right} of ${all} |`);
  const head = "# The report in a browser\n\nLast result of `benchmarks/report/browser.mjs`, which tells what is checked.\n\n| part | passed |\n| --- | --- |\n";
  const chromiumVersion = `\n${[`Chromium ${browser.version()}, axe-core ${require("axe-core/package.json").version}`, ...remarks].join(". ")}.\n`;
  writeFileSync(options.out, `${head}${rows.join("\n")}\n${chromiumVersion}`);
}
await browser.close();
console.log(`report: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

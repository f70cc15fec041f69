// How long our scripts keep a frame waiting: a list of 1,000 runs, charts of 100,000 steps, answers of 2,000 tokens.
//
// `node bench.mjs [REPORT]` prints a table, and writes it into a file between its marks. By hand only: machines differ, tests do not.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Browser, Server } from './harness.mjs';

const SIZES = { runs: 1000, steps: 100_000, tokens: 2000 };
const MOVES = 120;
/** What our script may take of a frame, in milliseconds. */
const LIMIT = 8;
/** Work of the page's thread that is ours: running scripts, and the layout that they force. */
const OURS = new Set(['FunctionCall', 'EvaluateScript', 'v8.evaluateModule', 'RunMicrotasks', 'EventDispatch', 'FireAnimationFrame', 'TimerFire', 'MinorGC', 'MajorGC']);

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);

/** Records what the page's thread does while `act` runs. */
async function traced(page, act) {
  const client = await page.context().newCDPSession(page);
  const events = [];
  client.on('Tracing.dataCollected', ({ value }) => events.push(...value));
  await client.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['devtools.timeline', 'v8', 'blink.user_timing', 'disabled-by-default-devtools.timeline', 'disabled-by-default-devtools.timeline.frame', '__metadata'] } });
  await act();
  const complete = new Promise((resolve) => { client.once('Tracing.tracingComplete', resolve); });
  await client.send('Tracing.end');
  await complete;
  return events;
}

/** Milliseconds of processor time of our script in every frame that had any: other programs on the machine do not count. */
function frames(events) {
  const own = events.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid}/${e.tid}`);
  const main = events.filter((e) => own.includes(`${e.pid}/${e.tid}`));
  // The page's thread is the one of them that draws most frames.
  const starts = new Map();
  for (const e of main) if (e.name === 'BeginMainThreadFrame') starts.set(`${e.pid}/${e.tid}`, [...(starts.get(`${e.pid}/${e.tid}`) ?? []), e.ts]);
  const [thread, begins] = [...starts].sort((a, b) => b[1].length - a[1].length)[0] ?? [];
  begins.sort((a, b) => a - b);
  const spans = main.filter((e) => `${e.pid}/${e.tid}` === thread && e.ph === 'X' && OURS.has(e.name)).sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  const sums = new Float64Array(begins.length + 1);
  let end = -Infinity;
  let frame = 0;
  for (const { ts, dur, tdur } of spans) {
    if (ts < end) continue; // inside of one that is counted
    while (frame < begins.length && begins[frame] <= ts) frame += 1;
    sums[frame] += tdur ?? dur;
    end = ts + dur;
  }
  return [...sums].map((us) => us / 1000).filter((ms) => ms > 0).sort((a, b) => a - b);
}

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

const rest = (page, ms = 16) => page.waitForTimeout(ms);

async function over(page, locator, each) {
  await locator.scrollIntoViewIfNeeded();
  await rest(page, 500);
  const box = await locator.boundingBox();
  for (let i = 0; i < MOVES; i += 1) {
    await each(box, i / MOVES, i);
    await rest(page);
  }
}

/** Along the middle of a box, or of what is in the window of it. */
const hover = (page) => (box, share) => page.mouse.move(box.x + 60 + share * (box.width - 80), Math.min(Math.max(box.y + box.height / 2, 200), 700));

/** Zooms into the middle half of a chart by dragging. */
async function zoom(page, plot) {
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + 40, { steps: 6 });
  await page.mouse.up();
  await page.getByRole('button', { name: 'Reset zoom' }).first().waitFor();
  await rest(page, 800);
}

const pan = (page, plot) => async () => {
  await plot.hover();
  await over(page, plot, (_, share, i) => page.mouse.wheel(i % 60 < 30 ? 25 : -25, 0));
};

async function scroll(page) {
  for (let i = 0; i < MOVES; i += 1) {
    await page.mouse.wheel(0, i < MOVES / 2 ? 240 : -240);
    await rest(page);
  }
}

async function measure(ids) {
  const found = [];
  const note = async (what, page, act) => {
    const spans = frames(await traced(page, act));
    found.push({ what, frames: spans.length, median: quantile(spans, 0.5), high: quantile(spans, 0.95), most: spans.at(-1) ?? 0 });
  };
  let page = await browser.open('#/runs');
  await page.getByText(`${(SIZES.runs + 3).toLocaleString('en')} in all`).waitFor();
  await rest(page, 1500);
  await page.mouse.move(640, 500);
  await note('list of 1,000 runs: scrolling', page, () => scroll(page));
  await note('list of 1,000 runs: typing into the filter', page, async () => {
    await page.getByRole('searchbox').focus();
    for (const letter of 'number 99') { await page.keyboard.press(letter === ' ' ? 'Space' : letter); await rest(page, 60); }
  });
  await page.context().close();

  page = await browser.open(`#/compare?runs=${ids.run},${ids.first}&keys=reward/mean,policy/entropy`);
  const compared = page.getByRole('figure', { name: 'reward/mean' }).getByRole('img');
  await compared.waitFor();
  await rest(page, 1500);
  await note('compared, 100,000 steps: shared hover', page, () => over(page, compared, hover(page)));
  await zoom(page, compared);
  await note('compared, 100,000 steps: panning', page, pan(page, compared));
  await page.context().close();

  page = await browser.open(`#/runs/${ids.run}`);
  const plot = page.getByRole('figure', { name: 'Reward', exact: true }).getByRole('img');
  await plot.waitFor({ timeout: 60_000 });
  await rest(page, 2500);
  await note('every curve of a run, 100,000 steps: shared hover', page, () => over(page, plot, hover(page)));
  await page.mouse.move(700, 400);
  await note('every curve of a run, 100,000 steps: scrolling', page, () => scroll(page));
  await zoom(page, plot);
  await note('every curve of a run, 100,000 steps: panning one', page, pan(page, plot));
  await page.context().close();

  // Longer than the starter reads: there is no heat map for these answers.
  page = await browser.open(`#/runs/${ids.sample}/samples`, { expected: [/status of 422/] });
  const tokens = page.getByRole('listbox').first();
  await tokens.getByRole('option').nth(SIZES.tokens - 1).waitFor({ timeout: 60_000 });
  await rest(page, 4000);
  await note('group of 2,000-token answers: pointing at tokens', page, () => over(page, tokens, hover(page)));
  await note('group of 2,000-token answers: arrow keys', page, async () => {
    await tokens.getByRole('option').first().click();
    for (let i = 0; i < MOVES; i += 1) { await page.keyboard.press('ArrowRight'); await rest(page); }
  });
  await note('group of 2,000-token answers: scrolling', page, () => scroll(page));
  await page.context().close();
  return found;
}

function table(found, version) {
  const rows = found.map(({ what, frames: n, median, high, most }) => `| ${what} | ${n} | ${median.toFixed(1)} | ${high.toFixed(1)} | ${most.toFixed(1)} |`);
  const date = new Date().toISOString().slice(0, 10);
  return [`Measured on ${date}: ${cpus().length} × ${cpus()[0].model.trim()}, Linux, Chromium ${version} without a window or a GPU.`, '',
    '| what | frames with script | median, ms | 95th percentile, ms | most, ms |', '|---|---|---|---|---|', ...rows].join('\n');
}

try {
  await server.start();
  const first = await server.submit({ name: 'the real run', log_samples_every: 4 });
  await server.until(first.id, 'succeeded');
  await server.stop();
  const sizes = Object.entries(SIZES).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const seeded = execFileSync('python3', [join(import.meta.dirname, 'seed.py'), join(server.data, 'vgpo.db'), first.run_id, ...sizes], { encoding: 'utf8' });
  await server.start();
  await browser.start();
  const found = await measure({ ...JSON.parse(seeded), first: first.run_id });
  const text = table(found, browser.browser.version());
  console.log(text);
  const report = process.argv[2];
  if (report) {
    const parts = readFileSync(report, 'utf8').split(/(<!-- measured: (?:begin|end) -->)/);
    parts[2] = `\n${text}\n`;
    writeFileSync(report, parts.join(''));
  }
  const slow = found.filter(({ high }) => high > LIMIT);
  if (slow.length > 0) console.log(`\nSlower than ${LIMIT} ms: ${slow.map(({ what }) => what).join('; ')}`);
  browser.calm();
} finally {
  await browser.stop();
  await server.stop();
  server.clean();
}

// Pictures of every page, at two widths and in two themes, of a server that has really trained.
//
// `node screenshots.mjs OUT`: WebP files of what a window shows; with `--whole` PNG files of whole pages, to be looked at.
// `--data DIR` keeps the server's data, so that another time only what is missing is trained; `--only runs,compare` takes these pages alone.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve as absolute } from 'node:path';
import { parseArgs } from 'node:util';
import { Browser, Server } from './harness.mjs';

const { values, positionals: [out] } = parseArgs({
  allowPositionals: true,
  options: { whole: { type: 'boolean', default: false }, only: { type: 'string', default: '' }, steps: { type: 'string', default: '40' }, data: { type: 'string' } },
});
if (!out) throw new Error('say where the pictures go: node screenshots.mjs OUT');

const THEMES = ['light', 'dark'];
const WIDTHS = { wide: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };
/** Small files that still read well at twice the size of a thumbnail. */
const QUALITY = 0.8;

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);
if (values.data) server.data = absolute(values.data);

/** Runs as after a first day: ended, compared, stopped, running. */
async function train() {
  const { data: known } = await server.call('GET', '/v1/runs');
  const submit = async (job) => {
    const run = known.find(({ name }) => name === job.name);
    return run ? { id: run.job_id, run_id: run.id, known: true } : server.submit(job);
  };
  const steps = Number(values.steps);
  const often = { model: 'starter', dataset: 'digits', steps, eval_every: 4, log_samples_every: 4, checkpoint_every: 10 };
  const jobs = {
    vgpo: await submit({ ...often, name: 'digits with vgpo', tags: { try: 'first' } }),
    grpo: await submit({ ...often, name: 'digits with grpo', method: { type: 'grpo' }, tags: { try: 'first' } }),
    lora: await submit({ ...often, name: 'digits with adapters', steps: Math.ceil(steps / 2), train: { parameters: 'lora' }, optimizer: { learning_rate: 0.0005 } }),
  };
  const stopped = await submit({ ...often, name: 'too hot', optimizer: { learning_rate: 0.05 } });
  if (!stopped.known) await server.call('POST', `/v1/jobs/${stopped.id}/cancel`);
  const sweep = await swept({ ...often, steps: Math.ceil(steps / 4), eval_every: 2, checkpoint_every: 0, log_samples_every: 0 });
  for (const job of [...Object.values(jobs), ...sweep.jobs]) await ended(job.id);
  const busy = await submit({ ...often, name: 'a longer look', steps: 4000, seed: 7 });
  await submit({ ...often, name: 'objects next', dataset: 'objects', seed: 3 });
  for (;;) {
    const run = await server.call('GET', `/v1/runs/${busy.run_id}`);
    if (run.last_step >= 6) return { ...jobs, sweep, busy };
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
}

/** A small sweep: two objectives with three seeds each. */
async function swept(job) {
  const name = 'objectives by seed';
  const { data: known } = await server.call('GET', '/v1/sweeps');
  const old = known.find((sweep) => sweep.name === name);
  const grid = { 'method.type': ['vgpo', 'dapo'], seed: [0, 1, 2] };
  return old ? { id: old.id, jobs: [] } : server.call('POST', '/v1/sweeps', { name, job, grid });
}

/** Training may take long on a small machine, so there is no limit here. */
async function ended(jobId) {
  for (;;) {
    const { state, reason } = await server.call('GET', `/v1/jobs/${jobId}`);
    if (state === 'succeeded') return;
    if (['failed', 'cancelled'].includes(state)) throw new Error(`a job is ${state}: ${reason}`);
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}

/** Waits for what a page is about, then for its pictures and curves to stand. */
async function settle(page, sign) {
  await page.getByText(sign).first().waitFor({ timeout: 60_000 });
  await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
  await page.waitForTimeout(700);
}

/** The page as it is to be seen: [name, address, sign, what a reader would do first]. */
const pagesOf = ({ vgpo, grpo, lora, sweep }) => [
  ['runs', '#/runs', 'digits with vgpo'],
  ['compare', `#/compare?runs=${vgpo.run_id},${grpo.run_id},${lora.run_id}`, 'side by side'],
  ['sweep', `#/sweeps/${sweep.id}`, 'Groups at their last step'],
  ['evaluation', `#/runs/${vgpo.run_id}/evaluation`, 'Focus late / early'],
  ['versus', `#/versus?a=${grpo.run_id}&b=${vgpo.run_id}`, 'Paired differences'],
  ['run', `#/runs/${vgpo.run_id}`, 'Focus along the answer'],
  ['samples', `#/runs/${vgpo.run_id}/samples?kind=train`, 'Ground truth', async (page) => {
    await page.getByRole('button', { name: /^weight/ }).click();
    await page.getByRole('figure', { name: /Attention along/ }).waitFor();
    await page.getByRole('listbox').first().getByRole('option').nth(2).focus();
  }],
  ['checkpoints', `#/runs/${vgpo.run_id}/checkpoints`, 'Written'],
  ['settings', `#/runs/${vgpo.run_id}/settings`, 'learning_rate'],
  ['events', `#/runs/${vgpo.run_id}/events`, 'queued'],
  ['playground', '#/playground', 'most attended quarter', async (page) => {
    await page.getByRole('listbox').first().getByRole('option').nth(2).focus();
  }],
  ['playground-two', `#/playground?model=${vgpo.run_id}@best&other=starter`, 'most attended quarter', async (page) => {
    await page.getByText('most attended quarter').nth(1).waitFor();
    await page.getByRole('button', { name: 'depends on the image' }).first().click();
  }],
  ['new-job', '#/new', 'Memory about', async (page) => { await page.getByText('answer found').waitFor(); }],
  ['datasets', '#/datasets/digits', 'row 0'],
  ['models', '#/models', 'VGPO starter'],
  ['workers', '#/workers', 'Heartbeat'],
  ['report', `v1/runs/${vgpo.run_id}/report`, 'Settings'],
];

/** A picture as WebP, made by the browser itself. */
async function asWebp(page, png) {
  const url = await page.evaluate(async ([data, quality]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = Object.assign(document.createElement('canvas'), { width: bitmap.width, height: bitmap.height });
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    return canvas.toDataURL('image/webp', quality);
  }, [png.toString('base64'), QUALITY]);
  return Buffer.from(url.split(',')[1], 'base64');
}

async function keep(page, name) {
  const png = await page.screenshot({ fullPage: values.whole, animations: 'disabled' });
  if (values.whole) writeFileSync(join(out, `${name}.png`), png);
  else writeFileSync(join(out, `${name}.webp`), await asWebp(page, png));
}

/** Calls `each` with a fresh page for every theme and width. */
async function everyway(browser, name, open, each) {
  if (values.only && !values.only.split(',').includes(name)) return;
  for (const colorScheme of THEMES) {
    for (const [size, viewport] of Object.entries(WIDTHS)) {
      const page = await browser.open(open, { colorScheme, viewport, expected: [/status of 401/], locale: 'en-GB' });
      await each(page, `${name}-${size}-${colorScheme}`);
      await page.context().close();
    }
  }
}

try {
  mkdirSync(out, { recursive: true });
  await server.start();
  await browser.start();
  for (const [name, hash, sign, act] of pagesOf(await train())) {
    await everyway(browser, name, hash, async (page, file) => {
      await settle(page, sign);
      await act?.(page);
      await page.waitForTimeout(400);
      await keep(page, file);
    });
  }
  browser.calm();
} finally {
  await browser.stop();
  await server.stop();
  if (!values.data) server.clean();
}

// The first key locks a server, so this one is another.
const asking = new Server(process.env.VGPO_PROGRAM);
const guests = new Browser(asking);
try {
  await asking.start();
  await guests.start();
  const { secret } = await asking.call('POST', '/v1/keys', { name: 'the lab', role: 'admin', project: 'default' });
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' };
  for (const [name, role] of [['nightly robot', 'user'], ['wall display', 'viewer']]) {
    await fetch(`${asking.url}/v1/keys`, { method: 'POST', headers, body: JSON.stringify({ name, role, project: 'default' }) });
  }
  await everyway(guests, 'sign-in', '#/runs', async (page, file) => {
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await keep(page, file);
  });
  await everyway(guests, 'keys', '#/keys', async (page, file) => {
    await page.getByLabel('API key').fill(secret);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await settle(page, 'wall display');
    await keep(page, file);
  });
  guests.calm();
} finally {
  await guests.stop();
  await asking.stop();
  asking.clean();
}

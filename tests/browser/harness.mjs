// A real server with a data folder of its own, real training runs, and a browser that reports every fault.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** Smaller than anything useful, but real: it samples, judges, updates, evaluates and writes checkpoints. */
export const SMALL = {
  model: 'starter', dataset: 'digits', steps: 4, eval_every: 2, eval_rows: 32, checkpoint_every: 2, log_samples_every: 2,
  batch: { prompts_per_step: 8, minibatch_prompts: 8 }, rollout: { group_size: 4 },
};

export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

/** The server, started from the built program. */
export class Server {
  /** @param {object} env settings of the server, as variables */
  constructor(program, env = {}) {
    this.program = program;
    this.env = env;
    this.data = mkdtempSync(join(tmpdir(), 'vgpo-browser-'));
    this.port = 0;
  }

  async start() {
    this.process = spawn(this.program, ['serve', '--port', String(this.port), '--data', this.data], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...this.env } });
    let log = '';
    this.process.stderr.on('data', (text) => { log += text; });
    this.url = await new Promise((resolve, reject) => {
      this.process.stdout.on('data', (text) => { const found = /http:\/\/[\d.]+:\d+/.exec(text); if (found) resolve(found[0]); });
      this.process.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${log}`)));
    });
    this.port = Number(new URL(this.url).port);
  }

  async stop() {
    const ended = new Promise((resolve) => { this.process.once('exit', resolve); });
    this.process.kill('SIGTERM');
    await ended;
  }

  clean() { rmSync(this.data, { recursive: true, force: true }); }

  async call(method, path, body) {
    const response = await fetch(this.url + path, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
    const answer = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  submit(changes = {}) { return this.call('POST', '/v1/jobs', { ...SMALL, ...changes }); }

  /** Waits until a job is in one of these states. */
  async until(jobId, ...states) {
    for (let tries = 0; tries < 1200; tries += 1) {
      const job = await this.call('GET', `/v1/jobs/${jobId}`);
      if (states.includes(job.state)) return job;
      assert.ok(!['failed', 'cancelled'].includes(job.state), `the job is ${job.state}: ${job.reason}`);
      await new Promise((resolve) => { setTimeout(resolve, 250); });
    }
    throw new Error(`the job never became ${states}`);
  }
}

/** A folder with the dashboard's files, shown instead of those that the program carries: a change needs no build then. */
const WEB = process.env.VGPO_WEB && resolve(process.env.VGPO_WEB);

/** Lets a page read the dashboard's files from the folder. */
async function fromFolder(page) {
  await page.route(/\/ui\/[0-9a-f]+\//, (route) => {
    const file = join(WEB, new URL(route.request().url()).pathname.split('/').slice(3).join('/'));
    return file.startsWith(WEB + sep) ? route.fulfill({ path: file }) : route.abort();
  });
  await page.route((url) => url.pathname === '/', async (route) => {
    const body = readFileSync(join(WEB, 'index.html'), 'utf8').replaceAll('{{version}}', '000000000000');
    await route.fulfill({ response: await route.fetch(), body });
  });
}

/** A browser whose pages note what must not happen: console errors, faults, requests to others. */
export class Browser {
  constructor(server) { this.server = server; this.faults = []; }

  async start() {
    this.browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  }

  /** A new page at an address of the dashboard. `expected`: faults that this test provokes. */
  async open(hash = '', { expected = [], ...options } = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const note = (text) => { if (!expected.some((one) => one.test(text))) this.faults.push(`${hash}: ${text}`); };
    page.setDefaultTimeout(30_000);
    page.setDefaultNavigationTimeout(120_000);
    page.on('console', (message) => { if (message.type() === 'error') note(`console: ${message.text()} ${message.location().url}`); });
    page.on('pageerror', (error) => note(`fault: ${error.stack}`));
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== this.server.url) note(`a request to ${url}`);
    });
    if (WEB) await fromFolder(page);
    await page.goto(`${this.server.url}/${hash}`);
    return page;
  }

  /** Fails when anything was noted since the last look. */
  calm() {
    const faults = this.faults.splice(0);
    assert.deepEqual(faults, []);
  }

  stop() { return this.browser.close(); }
}

/** Accessibility faults that are serious or worse, by axe. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${what}: ${id} at ${nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`), []);
}

/** Nothing sticks out of the window to the side. */
export async function fits(page, what) {
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(inner <= outer, `${what} is ${inner} pixels wide in a window of ${outer}`);
}

/** How many pixels of a canvas are not empty. */
export const painted = (canvas) => canvas.evaluate((node) => {
  const { data } = node.getContext('2d').getImageData(0, 0, node.width, node.height);
  let count = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) count += 1;
  return count;
});

// Evaluations row by row, and two of them on the same rows.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { accessible, Browser, fits, painted, Server } from './harness.mjs';

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);
let trained, other;

before(async () => {
  await server.start();
  await browser.start();
  [trained, other] = [await server.submit({ name: 'trained run' }), await server.submit({ name: 'other run', seed: 7, method: { type: 'grpo' }, log_samples_every: 1 })];
  await server.until(trained.id, 'succeeded');
  await server.until(other.id, 'succeeded');
});
after(async () => {
  await browser.stop();
  await server.stop();
  server.clean();
});
afterEach(() => browser.calm());

const rowsOf = (page) => page.getByRole('region', { name: 'Rows' });
const numbers = async (page) => (await rowsOf(page).locator('tbody tr th').allTextContents()).map((text) => Number(text.replace(/\D/g, '')));

/** Held-out digits again, with tags. */
async function tagged() {
  const { data } = await server.call('GET', '/v1/datasets/digits/rows?split=eval&limit=20&images=full');
  const lines = data.map((row, i) => JSON.stringify({
    prompt: row.prompt, answer: row.answer, images: row.images.map(({ picture }) => picture), tags: [i % 4 ? 'usual' : 'fourth', 'all'], split: i < 4 ? 'train' : 'test',
  }));
  const form = new FormData();
  form.append('name', 'tagged');
  form.append('file', new Blob([lines.join('\n')]), 'rows.jsonl');
  const answer = await fetch(`${server.url}/v1/datasets`, { method: 'POST', body: form });
  assert.equal(answer.status, 202, await answer.text());
  for (let tries = 0; tries < 100 && (await server.call('GET', '/v1/datasets/tagged')).state !== 'ready'; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 100); });
}

test('accuracy by tag has whiskers, and a tag filters the rows', async () => {
  await tagged();
  const job = await server.submit({ name: 'by tag', dataset: 'tagged', method: { type: 'eval' }, eval_rows: 16 });
  await server.until(job.id, 'succeeded');
  const { tags } = await server.call('GET', `/v1/runs/${job.run_id}/eval-rows/summary`);
  assert.deepEqual(tags.map(({ tag, rows }) => [tag, rows]), [['all', 16], ['usual', 12], ['fourth', 4]]);
  const page = await browser.open(`#/runs/${job.run_id}`);
  const region = page.getByRole('region', { name: 'Accuracy by tag' });
  await region.getByText('4 rows', { exact: true }).waitFor();
  assert.equal(await region.locator('.whisker .line').count(), 3);
  await region.getByRole('button', { name: 'fourth', exact: true }).click();
  await page.waitForFunction(() => document.querySelectorAll('.eval-table tbody tr').length === 4);
  assert.equal(await rowsOf(page).getByLabel('Tag').inputValue(), 'fourth');
  await accessible(page, 'accuracy by tag');
  await page.context().close();
});

test('an evaluation shows what its rows add up to, and the rows', async () => {
  const page = await browser.open(`#/runs/${trained.run_id}/evaluation`);
  const summary = await server.call('GET', `/v1/runs/${trained.run_id}/eval-rows/summary`);
  assert.equal(summary.rows, 32);
  await page.getByText(`of ${summary.rows} rows`).waitFor();
  await page.getByText(`${(100 * summary.accuracy.low).toFixed(1)}% to ${(100 * summary.accuracy.high).toFixed(1)}% (95%)`).waitFor();
  const along = page.getByRole('figure', { name: 'Focus along the answer', exact: true });
  assert.ok(await painted(along.locator('canvas')) > 100);
  const rows = rowsOf(page);
  await rows.getByRole('row').nth(1).waitFor();
  assert.deepEqual(await numbers(page), Array.from({ length: 32 }, (_, i) => i));
  await rows.getByRole('button', { name: /^Wrong/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('.eval-table .badge.right').length === 0);
  assert.equal((await numbers(page)).length, summary.wrong);
  await rows.getByLabel('Sorted by').selectOption('focus');
  await page.waitForFunction((count) => {
    const cells = [...document.querySelectorAll('.eval-table tbody tr')].map((row) => Number(row.cells[6].textContent));
    return cells.length === count && cells.every((value, i) => i === 0 || cells[i - 1] <= value);
  }, summary.wrong);
  await accessible(page, 'an evaluation');
  await fits(page, 'an evaluation');
  await page.context().close();
});

test('a row opens with its tokens and the map under them, at the chosen step', async () => {
  const page = await browser.open(`#/runs/${trained.run_id}/evaluation`);
  await page.getByLabel('Step that was evaluated: evaluation before').click();
  await page.getByText('step 2', { exact: true }).waitFor();
  await rowsOf(page).getByRole('button', { name: 'Row 3', exact: true }).click();
  const answer = page.getByRole('article', { name: 'Answer of trained run' });
  const tokens = answer.getByRole('listbox');
  await tokens.waitFor({ timeout: 120_000 });
  await answer.getByRole('img', { name: 'Image 1, attention of the whole answer' }).waitFor();
  const { data } = await server.call('GET', `/v1/runs/${trained.run_id}/eval-rows?step=2&limit=4`);
  const said = (await tokens.textContent()).replace(/\s|<\|im_end\|>/g, '');
  assert.equal(said, data[3].responses[0].text.replace(/\s/g, ''), 'the tokens are those of the stored answer');
  await tokens.getByRole('option').nth(1).focus();
  await answer.getByRole('img', { name: /attention of the token/ }).waitFor();
  await accessible(page, 'an opened row');
  await page.context().close();
});

test('two runs are compared on the same rows, with both answers', async () => {
  const page = await browser.open(`#/versus?a=${trained.run_id}&b=${other.run_id}`);
  const found = await server.call('GET', `/v1/runs/${trained.run_id}/eval-rows/compare?with=${other.run_id}`);
  const { fixed, broken, both_right: right, both_wrong: wrong } = found.changes;
  assert.equal(fixed + broken + right + wrong, 32);
  const figure = (name) => page.locator('.figure', { has: page.locator('dt', { hasText: new RegExp(`^${name}$`) }) }).locator('dd');
  for (const [name, count] of [['Fixed', fixed], ['Broken', broken], ['Right in both', right], ['Wrong in both', wrong]]) {
    assert.match(await figure(name).textContent(), new RegExp(`^${count}`), name);
  }
  await page.getByRole('region', { name: 'Paired differences' }).getByText('Focus late / early').waitFor();
  await rowsOf(page).getByRole('button', { name: /^All/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('.eval-table tbody tr').length === 32);
  await rowsOf(page).getByRole('button', { name: 'Row 0', exact: true }).click();
  for (const name of [/^Answer of A: trained run, step 4/, /^Answer of B: other run, step 4/]) {
    await page.getByRole('article', { name }).getByRole('listbox').waitFor({ timeout: 120_000 });
  }
  await accessible(page, 'two evaluations');
  // One slider: each run takes its newest evaluation that is not later.
  await page.getByLabel('Step of both: evaluation before').click();
  await page.waitForURL(/step=2/);
  await page.getByText('(step 2)').first().waitFor();
  // A run against itself has a slider for each side.
  await page.goto(`${server.url}/#/versus?a=${trained.run_id}&b=${trained.run_id}&step=0&with_step=4`);
  await page.getByLabel('Step of A: next evaluation').waitFor();
  await page.getByLabel('Step of B: evaluation before').waitFor();
  await fits(page, 'two evaluations');
  await page.context().close();
});

test('a checkpoint is evaluated from its row, and the evaluation opens with its rows', async () => {
  const page = await browser.open(`#/runs/${trained.run_id}/checkpoints`);
  const row = page.getByRole('row').filter({ hasText: 'last' });
  await row.getByRole('link', { name: 'Evaluate' }).click();
  await page.waitForURL(/method=eval/);
  const { last_checkpoint: checkpoint } = await server.call('GET', `/v1/runs/${trained.run_id}`);
  assert.equal(await page.getByLabel('Model', { exact: true }).inputValue(), checkpoint);
  assert.equal(await page.getByLabel('Method', { exact: true }).inputValue(), 'eval');
  await page.getByLabel(/^eval rows/).fill('32');
  await page.getByLabel(/^eval rows/).press('Enter');
  await page.getByRole('button', { name: 'Start the job' }).click();
  await page.waitForURL(/#\/runs\/run_/);
  const id = /run_[0-9a-f]+/.exec(page.url())[0];
  await page.getByRole('link', { name: 'Evaluation', exact: true }).waitFor();
  const run = await server.call('GET', `/v1/runs/${id}`);
  await server.until(run.job_id, 'succeeded');
  await page.getByText('of 32 rows').waitFor({ timeout: 60_000 });
  // The same weights on the same rows: nothing was fixed or broken.
  await page.getByLabel('Same rows, compared with').selectOption(trained.run_id);
  await page.waitForURL(/#\/versus/);
  await page.getByText('equally many right answers').waitFor();
  await page.context().close();
});

test('what cannot be compared says why', async () => {
  const page = await browser.open(`#/versus?a=${trained.run_id}&b=run_none`, { expected: [/404/] });
  await page.getByRole('alert').getByText('Not found').waitFor();
  const silent = await server.submit({ name: 'silent', log_samples_every: 0 });
  await page.goto(`${server.url}/#/runs/${silent.run_id}/evaluation`);
  await server.until(silent.id, 'succeeded');
  await page.reload();
  await page.getByText('No rows of an evaluation yet').waitFor();
  await page.getByRole('link', { name: 'Evaluate its newest checkpoint' }).waitFor();
  await page.context().close();
});

test('an audit shows what answers depend on the image for, and what follows', async () => {
  const { id, run_id: run } = await server.call('POST', '/v1/audits', { model: 'starter', dataset: 'digits', eval_rows: 8 });
  await server.until(id, 'succeeded');
  const { metrics, forecast } = await server.call('GET', `/v1/runs/${run}/audit`);
  assert.equal(metrics['audit/responses'], 16);
  const page = await browser.open(`#/runs/${run}`);
  const audit = page.getByRole('region', { name: 'Audit', exact: true });
  await audit.getByText(forecast.text).waitFor();
  const row = audit.getByRole('row').filter({ hasText: 'Tokens that depend on the image' });
  const shown = ['', '_right', '_wrong'].map((part) => metrics[`audit/dependent_mean${part}`]);
  assert.deepEqual(await row.locator('td').allTextContents(), shown.map((share) => (share === undefined ? '–' : `${(100 * share).toFixed(1)}%`)));
  assert.equal(await audit.getByRole('list', { name: 'Forecast by arm' }).getByRole('listitem').count(), forecast.gains.length);
  await accessible(page, 'an audit');
  await fits(page, 'an audit');
  // Another evaluation has none.
  const plain = await server.submit({ name: 'plain', method: { type: 'eval' }, eval_rows: 4 });
  await server.until(plain.id, 'succeeded');
  await page.goto(`${server.url}/#/runs/${plain.run_id}`);
  await rowsOf(page).getByRole('row').nth(1).waitFor();
  assert.equal(await page.getByRole('region', { name: 'Audit', exact: true }).count(), 0);
  await page.context().close();
});

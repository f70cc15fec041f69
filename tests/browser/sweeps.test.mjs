// Sweeps: runs by sweep in the list, the page of one with its groups and intervals.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, test } from 'node:test';
import { accessible, Browser, fits, painted, Server, SMALL } from './harness.mjs';

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);
let sweep;

before(async () => {
  await server.start();
  await browser.start();
  const { name: _, ...job } = { ...SMALL, steps: 2, eval_every: 1, eval_rows: 8, checkpoint_every: 0, log_samples_every: 0 };
  sweep = await server.call('POST', '/v1/sweeps', { name: 'a sweep with a name so long that it is cut', job, grid: { 'optimizer.learning_rate': [0, 0.001], seed: [0, 1] } });
  for (const one of sweep.jobs) await server.until(one.id, 'succeeded');
});
after(async () => {
  await browser.stop();
  await server.stop();
  server.clean();
});
afterEach(() => browser.calm());

test('the list of runs has them by sweep, and tells them apart by what differs', async () => {
  const page = await browser.open('#/runs');
  const head = page.getByRole('row').filter({ hasText: 'sweep of 4 runs' });
  await head.getByText('4 succeeded').waitFor();
  assert.equal(await page.locator('.run-row').count(), 1, 'a sweep begins closed');
  await head.getByRole('button', { name: /^Runs of a sweep/ }).click();
  for (const own of ['learning_rate 0 · seed 0', 'learning_rate 0 · seed 1', 'learning_rate 0.001 · seed 0', 'learning_rate 0.001 · seed 1']) {
    const link = page.getByRole('link', { name: own, exact: true });
    assert.ok(await link.evaluate((node) => node.scrollWidth <= node.clientWidth), `${own} is not cut`);
  }
  await accessible(page, 'runs by sweep');
  await page.getByLabel('Group').selectOption('not grouped');
  await page.waitForFunction(() => document.querySelectorAll('.run-row').length === 4);
  await page.getByLabel('Group').selectOption('by data set');
  await page.waitForFunction(() => document.querySelectorAll('.group-row').length === 1 && document.querySelectorAll('.run-row').length === 5);
  await page.getByRole('row').filter({ hasText: '4 runs' }).getByText('digits', { exact: true }).waitFor();
  await page.getByLabel('Group').selectOption('by sweep');
  await head.getByText('sweep of 4 runs').waitFor();
  await page.context().close();
});

test('a sweep compares groups with mean and interval', async () => {
  const page = await browser.open('#/sweeps');
  await page.getByRole('link', { name: sweep.name }).click();
  await page.getByRole('heading', { name: sweep.name }).waitFor();
  const groups = page.getByRole('group', { name: 'Groups' });
  assert.equal(await groups.getByLabel('optimizer/learning_rate').isChecked(), true);
  assert.equal(await groups.getByLabel('seed').isChecked(), false, 'a mean is over seeds');
  const table = page.getByRole('region', { name: 'Groups at their last step' });
  await table.getByRole('row').nth(2).waitFor();
  const compared = await server.call('GET', `/v1/metrics?sweep=${sweep.id}&key=eval/accuracy&group_by=optimizer.learning_rate`);
  assert.equal(await table.getByRole('row').count(), 3);
  const last = compared.groups[0].points.at(-1);
  const text = await table.getByRole('row').nth(1).textContent();
  assert.ok(text.includes(`${(100 * last.mean).toFixed(1)}%`), text);
  assert.ok(text.includes(`${(100 * last.low).toFixed(1)}% to ${(100 * last.high).toFixed(1)}%`), text);
  assert.ok(await painted(page.getByRole('figure', { name: 'eval/accuracy' }).locator('canvas')) > 100);
  const download = page.waitForEvent('download');
  await table.getByRole('button', { name: 'All steps (CSV)' }).click();
  const lines = readFileSync(await (await download).path(), 'utf8').trim().split('\n');
  assert.equal(lines[0], 'optimizer/learning_rate,runs,step,eval/accuracy mean,low,high,min,max');
  assert.equal(lines.length, 1 + compared.groups.reduce((sum, group) => sum + group.points.length, 0));
  await groups.getByLabel('seed').check();
  await page.waitForFunction(() => document.querySelectorAll('section[aria-label="Groups at their last step"] tbody tr').length === 4);
  await page.getByLabel('Metric').selectOption('reward/mean');
  await page.getByRole('figure', { name: 'reward/mean' }).locator('canvas').waitFor();
  assert.equal(await page.getByRole('region', { name: 'Runs', exact: true }).locator('tbody tr').count(), 4);
  await accessible(page, 'a sweep');
  await fits(page, 'a sweep');
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete the sweep' }).click();
  await page.getByText('No sweeps yet').waitFor();
  assert.deepEqual((await server.call('GET', '/v1/runs')).data, []);
  await page.context().close();
});

test('columns are chosen, and runs are tagged, cancelled and deleted together, after one question', async () => {
  const page = await browser.open('#/runs');
  const long = { ...SMALL, steps: 900, eval_every: 0, eval_before: false, checkpoint_every: 0, log_samples_every: 0 };
  const jobs = [await server.submit({ ...long, name: 'one' }), await server.submit({ ...long, name: 'two' }), await server.submit({ ...long, name: 'three' })];
  await page.getByText('Columns', { exact: true }).click();
  await page.getByRole('group', { name: 'Columns of the list' }).getByLabel('Tags').check();
  await page.getByRole('group', { name: 'Columns of the list' }).getByLabel('Reward').uncheck();
  await accessible(page, 'the choice of columns');
  await page.reload();
  await page.getByRole('columnheader', { name: 'Tags' }).waitFor();
  assert.equal(await page.getByRole('columnheader', { name: 'Reward' }).count(), 0, 'the choice stays');
  for (const name of ['one', 'two']) await page.getByLabel(`Choose ${name}`, { exact: true }).check();
  const bar = page.getByRole('group', { name: 'Chosen runs' });
  await bar.getByRole('button', { name: 'Tag 2' }).click();
  await page.getByRole('dialog').getByLabel('Tag, as name').fill('try: first');
  await page.getByRole('dialog').getByRole('button', { name: 'Tag 2 runs' }).click();
  await page.getByRole('row').filter({ hasText: 'two' }).getByText('try: first').waitFor();
  assert.deepEqual((await server.call('GET', '/v1/runs?tag=try:first')).data.map(({ name }) => name).sort(), ['one', 'two']);
  await accessible(page, 'chosen runs');
  await fits(page, 'chosen runs');
  await bar.getByRole('button', { name: 'Cancel 2' }).click();
  await page.getByRole('dialog').getByText('Cancel 2 runs?').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel 2 runs' }).click();
  for (const { id } of jobs.slice(0, 2)) {
    for (let tries = 0; tries < 200; tries += 1) {
      if ((await server.call('GET', `/v1/jobs/${id}`)).state === 'cancelled') break;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
  await page.getByLabel('Choose all that are shown').check();
  await bar.getByText('3 runs chosen').waitFor();
  await bar.getByRole('button', { name: 'Delete 2' }).click();
  await page.getByRole('dialog').getByText('The other 1 of those chosen are left alone.').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete 2 runs' }).click();
  await page.getByText('2 runs deleted').waitFor();
  for (const name of ['one', 'two']) await page.getByRole('link', { name, exact: true }).waitFor({ state: 'detached' });
  assert.deepEqual((await server.call('GET', '/v1/runs')).data.map(({ name }) => name), ['three']);
  await server.call('POST', `/v1/jobs/${jobs[2].id}/cancel`, {});
  await page.context().close();
});

test('a viewer may choose and compare, and is offered no change', async () => {
  const page = await browser.open('#/workers');
  await page.route('**/v1/session', (route) => route.fulfill({ json: { role: 'viewer', project: 'default', name: 'wall display', csrf: null } }));
  await page.goto(`${server.url}/#/runs`);
  await page.reload();
  await page.getByLabel('Choose three').check();
  const bar = page.getByRole('group', { name: 'Chosen runs' });
  await bar.getByText('1 run chosen').waitFor();
  assert.deepEqual(await bar.getByRole('button').allTextContents(), ['Clear selection']);
  await page.getByRole('link', { name: 'three' }).click();
  await page.getByRole('navigation', { name: 'Where it comes from' }).waitFor();
  for (const name of ['Tag', 'Add notes']) assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, name);
  await page.context().close();
});

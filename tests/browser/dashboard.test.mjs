// The dashboard as people use it. One server and two real runs for all tests; they run one after another.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { accessible, Browser, fits, painted, Server } from './harness.mjs';

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);
let first, second;

before(async () => {
  await server.start();
  await browser.start();
  [first, second] = [await server.submit({ name: 'first run' }), await server.submit({ name: 'second run', seed: 7, method: { type: 'grpo' } })];
});
after(async () => {
  await browser.stop();
  await server.stop();
  server.clean();
});
afterEach(() => browser.calm());

const text = (locator) => locator.textContent();

test('the list follows a run from its start to its end without a reload', async () => {
  const page = await browser.open('#/runs');
  const row = page.getByRole('row').filter({ hasText: 'first run' });
  // A fast machine may be done with the first one before the page is there; the second one follows it.
  await row.getByText(/running|succeeded/).first().waitFor();
  await row.getByText('succeeded').waitFor({ timeout: 240_000 });
  await page.getByRole('row').filter({ hasText: 'second run' }).getByText('succeeded').waitFor({ timeout: 240_000 });
  assert.match(await text(row), /4 \/ 4/);
  assert.match(await text(row), /\d+\.\d%/);
  await page.getByText('live', { exact: true }).waitFor();
  const api = await page.getByRole('link', { name: 'API' }).getAttribute('href');
  assert.equal((await fetch(`${server.url}${api}`)).status, 200);
  await page.context().close();
});

test('the curves of a run grow while it trains', async () => {
  const page = await browser.open(`#/runs/${second.run_id}`);
  const reward = page.getByRole('figure', { name: 'Reward', exact: true });
  await reward.locator('canvas').waitFor({ timeout: 120_000 });
  await page.locator('.badge.succeeded').waitFor({ timeout: 240_000 });
  await page.getByText('4 of 4').waitFor();
  for (const name of ['Accuracy', 'Focus kept: late over early', 'Attention: image, question, own text', 'Entropy', 'Time of a step by phase']) {
    assert.ok(await painted(page.getByRole('figure', { name, exact: true }).locator('canvas')) > 100, `${name} is drawn`);
  }
  // By keyboard: the reading of single points is told.
  const plot = reward.getByRole('img');
  await plot.focus();
  await plot.press('Home');
  await plot.press('ArrowRight');
  await reward.getByText('step 2', { exact: false }).first().waitFor();
  await reward.getByRole('button', { name: 'Options of Reward' }).click();
  await page.getByRole('menuitem', { name: 'Show as table' }).click();
  assert.equal(await reward.locator('tbody tr').count(), 4);
  const download = page.waitForEvent('download');
  await reward.getByRole('button', { name: 'Options of Reward' }).click();
  await page.getByRole('menuitem', { name: 'Download CSV' }).click();
  assert.equal((await download).suggestedFilename(), 'reward.csv');
  await page.context().close();
});

test('runs are filtered, sorted and compared', async () => {
  await server.until(first.id, 'succeeded');
  const page = await browser.open('#/runs');
  await page.getByRole('searchbox').fill('grpo');
  await page.getByText('first run').waitFor({ state: 'detached' });
  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('button', { name: 'Run ↓' }).click();
  assert.match(await text(page.locator('.run-row').first()), /first run/);
  for (const name of ['first run', 'second run']) await page.getByLabel(`Choose ${name}`).check();
  await page.getByRole('button', { name: 'Compare 2' }).click();
  await page.getByRole('heading', { name: '2 runs side by side' }).waitFor();
  const differ = page.getByRole('region', { name: 'Settings that differ' });
  for (const setting of ['seed', 'method/type']) await differ.getByText(setting, { exact: true }).waitFor();
  assert.equal(await differ.getByText('steps', { exact: true }).count(), 0, 'what is the same is not shown');
  const chart = page.getByRole('figure', { name: 'reward/mean' });
  await chart.locator('.legend b').nth(1).waitFor();
  assert.equal(await chart.locator('.legend b').count(), 2);
  await page.getByRole('button', { name: 'Time' }).click();
  await page.getByLabel('Smoothing').press('ArrowRight');
  await page.getByLabel('log axis').check();
  assert.ok(await painted(chart.locator('canvas')) > 100);
  await page.context().close();
});

test('samples are walked through by step and by token', async () => {
  const page = await browser.open(`#/runs/${first.run_id}/samples`);
  await page.locator('b.tabular', { hasText: 'step 4' }).waitFor();
  await page.getByRole('button', { name: 'Held-out', exact: true }).click();
  const chosen = await text(page.locator('.thumbs [aria-pressed=true]'));
  await page.locator('.thumbs button').first().click();
  await page.getByLabel('Step', { exact: true }).press('ArrowLeft');
  await page.locator('b.tabular', { hasText: 'step 2' }).waitFor();
  assert.match(page.url(), /step=2/);
  assert.equal((await text(page.locator('.thumbs [aria-pressed=true]'))).split('·')[0], chosen.split('·')[0], 'the same prompt at another step');
  const tokens = page.getByRole('listbox', { name: 'Tokens of response 1' });
  await tokens.getByRole('option').first().focus();
  for (let i = 0; i < 3; i += 1) await page.keyboard.press('ArrowRight');
  assert.equal(await tokens.getByRole('option', { selected: true }).evaluate((node) => [...node.parentNode.querySelectorAll('[role=option]')].indexOf(node)), 3);
  await page.getByRole('img', { name: /attention map of the token/ }).waitFor();
  await page.getByRole('figure', { name: 'Attention along response 1' }).locator('canvas').waitFor();
  await page.getByRole('button', { name: 'Training' }).click();
  await page.getByRole('button', { name: 'shaped advantage' }).click();
  // The address names what is looked at: who opens it sees the same.
  await page.getByRole('listbox', { name: 'Tokens of response 2' }).getByRole('option').nth(2).click();
  await page.waitForURL(/colour=advantage.*at=2\.3|at=2\.3.*colour=advantage/);
  const other = await browser.open(page.url().slice(page.url().indexOf('#')));
  await other.getByRole('button', { name: 'shaped advantage', pressed: true }).waitFor();
  const there = other.getByRole('listbox', { name: 'Tokens of response 2' }).getByRole('option', { selected: true });
  assert.equal(await there.getAttribute('data-place'), '2');
  await other.context().close();
  await page.context().close();
});

test('the playground answers an example, then a dropped image', async () => {
  const page = await browser.open('#/playground');
  const answer = page.getByRole('article', { name: 'Answer of starter' });
  await answer.getByRole('option').nth(8).waitFor();
  await answer.getByText('most attended quarter').waitFor();
  await answer.getByRole('button', { name: 'depends on the image' }).click();
  await answer.getByRole('option').first().focus();
  await page.keyboard.press('ArrowRight');
  await answer.getByRole('img', { name: /map of the token/ }).waitFor();
  await answer.getByText('without image').waitFor();
  // A picture of another size than the starter knows: it answers, with a warning.
  await page.locator('.drop').evaluate(async (node) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 84, height: 84 });
    canvas.getContext('2d').fillRect(0, 0, 84, 84);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve); });
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], 'mine.png', { type: 'image/png' }));
    node.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  });
  await page.getByAltText('The image that is asked about').waitFor();
  await page.getByRole('textbox', { name: 'Question' }).fill('what is the largest digit ?');
  await page.getByRole('textbox', { name: 'Question' }).press('Enter');
  await answer.getByText('84x84').waitFor();
  await answer.getByText('most attended quarter').waitFor();
  await page.getByLabel('Compare with').selectOption(`${first.run_id}@best`);
  await page.getByRole('article').nth(1).getByText('most attended quarter').waitFor();
  await page.getByRole('button', { name: 'Draw' }).click();
  const pad = page.getByRole('img', { name: /Drawing pad/ });
  const box = await pad.boundingBox();
  await page.mouse.move(box.x + 40, box.y + 30);
  await page.mouse.down();
  await page.mouse.move(box.x + 60, box.y + 120, { steps: 4 });
  await page.mouse.up();
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  await answer.getByText('most attended quarter').waitFor();
  assert.equal(await answer.getByText('84x84').count(), 0, 'a drawing has the size that the model knows');
  await page.context().close();
});

test('a picture, its answer and its map belong together', async () => {
  const page = await browser.open('#/playground');
  const answer = page.getByRole('article', { name: 'Answer of starter' });
  await answer.getByText('most attended quarter').waitFor();
  const drawn = () => answer.locator('.heat canvas').evaluate((node) => node.toDataURL());
  const before_ = await drawn();
  assert.equal(await page.locator('.stale').count(), 0);
  await page.getByRole('button', { name: 'Draw' }).click();
  await answer.getByText('This answer belongs to another image.').waitFor();
  const pad = page.getByRole('img', { name: /Drawing pad/ });
  const box = await pad.boundingBox();
  await page.mouse.move(box.x + box.width - 30, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 40, box.y + box.height - 10, { steps: 4 });
  await page.mouse.up();
  const clear = await page.getByRole('button', { name: 'Clear' }).boundingBox();
  assert.ok(clear.y >= box.y + box.height, 'the button is not on the picture');
  assert.equal(await drawn(), before_, 'the old map is over the old picture');
  assert.equal(await page.locator('.stale').count(), 2, 'answer and evidence are grey');
  await answer.getByRole('button', { name: 'Ask again' }).click();
  await answer.getByText('This answer belongs to').waitFor({ state: 'detached' });
  await answer.getByText('most attended quarter').waitFor();
  assert.notEqual(await drawn(), before_);
  await page.getByRole('textbox', { name: 'Question' }).fill('what is the smallest digit ?');
  await answer.getByText('This answer belongs to another question.').waitFor();
  // What the fields say is what is asked.
  await page.getByText('Sampling and maps').click();
  for (const [label, text, why] of [['Temperature', '0,7', 'after a point: 0.7'], ['Temperature', '', 'Enter a number'], ['Max tokens', '1.5', 'whole number'], ['Layers', 'all', 'Write mean']]) {
    await page.getByLabel(label, { exact: true }).fill(text);
    await page.getByRole('alert').getByText(why).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Ask', exact: true }).isDisabled());
    await page.getByLabel(label, { exact: true }).fill({ Temperature: '0.7', 'Max tokens': '20', Layers: 'last' }[label]);
    await page.getByRole('alert').waitFor({ state: 'detached' });
  }
  const asked = page.waitForRequest('**/generate');
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  const body = (await asked).postDataJSON();
  assert.deepEqual([body.temperature, body.max_new_tokens, body.attention.layers, body.prompt], [0.7, 20, 'last', 'what is the smallest digit ?']);
  await answer.getByText(/Attention: layer \d/).waitFor();
  await page.context().close();
});

test('what hiding cells did is told by several draws and a sentence', async () => {
  const page = await browser.open('#/workers');
  const told = await page.evaluate(async () => {
    const app = new URL('.', document.querySelector('script[src$="app/main.js"]').src);
    const { spreadOf, verdict } = await import(new URL('lib/dependence.js', app));
    const random = [-1, -2, -1, -2, -1, -2, -1, -2];
    const cases = [{ whole: -9, top: -4, random }, { whole: -9, top: -1.2, random }, { whole: -9, top: -1.8, random }, { whole: -0.1, top: -4, random }, { whole: -9, top: -4, random: [-1] }];
    return [cases.map((one) => verdict({ tokens: [], ...one })), spreadOf([1, 3])];
  });
  assert.match(told[0][0], /more than each of 8 draws of random cells: faithful here/);
  assert.match(told[0][1], /no more than random cells do on average: not faithful here/);
  assert.match(told[0][2], /4 of 8 draws hurt as much: undecided here/);
  assert.match(told[0][3], /1.1\d* times less likely: it hardly depends on the image/);
  assert.equal(told[0][4], null, 'no sentence before all draws');
  assert.deepEqual(told[1], { mean: 2, deviation: Math.SQRT2 });
  const asked = [];
  page.on('request', (request) => { if (request.url().endsWith('/v1/score')) asked.push(request.postDataJSON().ablate); });
  await page.goto(`${server.url}/#/runs/${first.run_id}/samples`);
  await page.getByRole('button', { name: 'Hide the image, its most attended cells' }).click();
  const part = page.getByRole('region', { name: 'Does response 1 depend on the image?' });
  await part.locator('.verdict').getByText(/image|faithful here|undecided here/).waitFor();
  assert.deepEqual(asked.filter(Boolean), ['image', { top_patches: 0.25 }, ...Array.from({ length: 8 }, (_, n) => ({ random_patches: 0.25, seed: n + 1 }))]);
  assert.match(await text(part.locator('.evidence-row').nth(2)), /random quarter.*±/s);
  await accessible(page, 'dependence of a response');
  await page.context().close();
});

test('two answers side by side share their scales', async () => {
  const page = await browser.open(`#/playground?model=${first.run_id}@best&other=starter`);
  const answers = [0, 1].map((n) => page.getByRole('article').nth(n));
  for (const answer of answers) await answer.locator('.verdict').getByText(/image|faithful here|undecided here/).waitFor();
  const bars = [];
  for (const answer of answers) {
    const rows = await answer.locator('.evidence-row').evaluateAll((all) => all.map((row) => [parseFloat(row.querySelector('b').textContent), parseFloat(row.querySelector('i').style.width)]));
    bars.push(...rows.filter(([value]) => value < -0.01));
  }
  const longest = bars.reduce((one, other) => (one[0] < other[0] ? one : other));
  for (const [value, width] of bars) assert.ok(Math.abs(width / longest[1] - value / longest[0]) < 0.02, JSON.stringify(bars));
  const scales = await Promise.all(answers.map((answer) => answer.locator('.scale').allTextContents()));
  assert.ok(scales[0].length >= 2);
  assert.deepEqual(scales[0], scales[1]);
  await page.context().close();
});

test('maps and shares say which layers they come from', async () => {
  const few = (text) => text.replace(/"layers":\[[^\]]*\]/g, '"layers":[3,7,11]');
  const page = await browser.open('#/workers');
  for (const path of ['**/generate', '**/v1/score']) {
    await page.route(path, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ contentType: response.headers()['content-type'], body: few(await response.text()) });
    });
  }
  await page.goto(`${server.url}/#/playground`);
  const told = 'layers 3, 7 and 11, the only ones of this model with attention';
  await page.locator('.look').getByText(told).waitFor();
  await page.getByText(`Share of attention along the answer: mean of ${told}.`).waitFor();
  await page.goto(`${server.url}/#/runs/${first.run_id}/samples`);
  await page.locator('.look-now').getByText(told).waitFor();
  await page.getByText(`predicted from: mean of ${told}.`).waitFor();
  await page.context().close();
  const plain = await browser.open('#/playground');
  await plain.locator('.look').getByText(/Attention: mean of all \d+ layers\./).waitFor();
  await plain.context().close();
});

test('who reads a response is said truly', async () => {
  const page = await browser.open(`#/runs/${first.run_id}/samples?step=4&kind=eval`);
  await page.getByText('The policy that wrote this response.').waitFor();
  await page.getByLabel('Model that reads the response').selectOption({ index: 0 });
  await page.getByText('Another model than the one that wrote this response.').waitFor();
  await page.goto(`${server.url}/#/runs/${first.run_id}/samples?step=4&kind=train`);
  await page.getByText('this is the nearest one before it').waitFor();
  await page.context().close();
});

test('the form refuses what cannot work, starts a job, and the job is cancelled', async () => {
  const page = await browser.open('#/new', { expected: [/422/] });
  await page.getByText('Memory about').waitFor();
  await page.getByRole('textbox', { name: /^steps/ }).fill('-1');
  await page.getByRole('textbox', { name: /^steps/ }).press('Tab');
  await page.getByText('This job cannot start yet').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Start the job' }).isDisabled());
  await page.getByRole('textbox', { name: /^steps/ }).fill('500');
  await page.getByRole('textbox', { name: /^steps/ }).press('Tab');
  await page.getByText('500 (500 updates)').waitFor();
  // Small steps: the job has to hear of its end within the time of a test.
  await page.getByRole('textbox', { name: /^prompts per step/ }).fill('4');
  await page.getByRole('textbox', { name: /^prompts per step/ }).press('Tab');
  await page.getByText('16,000 for 2,000 prompts').waitFor();
  await page.getByText('at the pace of').waitFor();
  await page.getByText('All settings').click();
  await page.getByRole('textbox', { name: /^eval rows/ }).fill('8');
  await page.getByRole('textbox', { name: /^eval rows/ }).press('Tab');
  await page.getByLabel('name', { exact: false }).first().fill('from the form');
  await page.getByLabel('name', { exact: false }).first().press('Tab');
  await page.getByText('answer found').waitFor();
  await page.getByRole('button', { name: 'Start the job' }).click();
  await page.getByRole('heading', { name: 'from the form' }).waitFor();
  await page.locator('.badge.running').waitFor({ timeout: 60_000 });
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it running' }).click();
  assert.equal(await page.locator('.badge.running').count(), 1, 'nothing happens without a yes');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the job' }).click();
  await page.locator('.badge.cancelled').waitFor({ timeout: 120_000 });
  await page.getByRole('link', { name: 'Events and logs' }).click();
  await page.getByText('running → cancelling', { exact: false }).waitFor();
  await page.context().close();
});

test('a data set is uploaded, looked at and deleted', async () => {
  const page = await browser.open('#/datasets');
  const row = (answer) => JSON.stringify({ problem: 'what is one and one ?', answer });
  await page.getByLabel('Files of the data set').setInputFiles({ name: 'sums.jsonl', mimeType: 'application/jsonl', buffer: Buffer.from(`${row('2')}\n${row('two')}\n`) });
  await page.getByRole('button', { name: 'Upload' }).click();
  const card = page.getByRole('listitem').filter({ hasText: 'sums' });
  await card.getByText('ready').waitFor();
  await card.getByRole('link', { name: 'Look inside' }).click();
  await card.getByText('what is one and one ?').first().waitFor();
  await card.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await card.waitFor({ state: 'detached' });
  await page.context().close();
});

test('bad rows make a data set invalid, with every fault, or are left out and told', async () => {
  const page = await browser.open('#/datasets');
  const good = Array.from({ length: 4 }, (_, n) => JSON.stringify({ problem: `what is ${n} ?`, answer: n }));
  const bad = Array.from({ length: 7 }, (_, n) => JSON.stringify({ problem: `what is in ${n} ?`, answer: n, images: [`none-${n}.png`] }));
  const send = async (name, leaveOut) => {
    await page.getByLabel('Files of the data set').setInputFiles({ name: `${name}.jsonl`, mimeType: 'application/jsonl', buffer: Buffer.from(`${[...good, ...bad].join('\n')}\n`) });
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByLabel('leave bad rows out').setChecked(leaveOut);
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    return page.getByRole('listitem').filter({ has: page.getByRole('heading', { name, exact: true }) });
  };
  const refused = await send('strict', false);
  await refused.getByText('7 of 11 rows cannot be used').click();
  for (let n = 0; n < 7; n += 1) await refused.getByText(`there is no file \`none-${n}.png\``).waitFor();
  const taken = await send('lenient', true);
  await taken.getByText('7 bad rows were left out').click();
  await taken.getByText('row 11:').waitFor();
  assert.match(await text(taken.locator('.kv')), /[34] to train on, [01] held out/);
  await accessible(page, 'faults of data sets');
  for (const name of ['strict', 'lenient']) await fetch(`${server.url}/v1/datasets/${name}`, { method: 'DELETE' });
  await page.context().close();
});

test('a folder is uploaded with its images, and so are files of it one by one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vgpo-rows-'));
  const page = await browser.open('#/datasets');
  try {
    mkdirSync(join(folder, 'mine', 'images'), { recursive: true });
    const png = Buffer.from(await page.evaluate(() => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
      canvas.getContext('2d').fillRect(4, 4, 20, 10);
      return canvas.toDataURL().split(',')[1];
    }), 'base64');
    writeFileSync(join(folder, 'mine', 'images', 'a.png'), png);
    const rows = Array.from({ length: 8 }, (_, n) => JSON.stringify({ question: `<image>what is ${n} ?`, target: n, images: ['images/a.png'] }));
    writeFileSync(join(folder, 'mine', 'rows.jsonl'), `${rows.join('\n')}\n`);
    const columns = async () => {
      await page.getByText('Columns, held-out rows').click();
      await page.getByText('Columns of rows.jsonl').getByText('target').waitFor();
      assert.deepEqual(await page.locator('datalist option').evaluateAll((all) => all.map(({ value }) => value)), ['question', 'target', 'images']);
      await page.getByLabel('Column of the prompt').fill('question');
      await page.getByLabel('Column of the answer').fill('target');
      await page.getByLabel('Held-out share').fill('0,5');
      await page.getByRole('alert').getByText('after a point: 0.5').waitFor();
      assert.ok(await page.getByRole('button', { name: 'Upload', exact: true }).isDisabled());
      await page.getByLabel('Held-out share').fill('0.25');
    };
    await page.getByLabel('Folder of the data set').setInputFiles(join(folder, 'mine'));
    await page.getByText('2 files').waitFor();
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'mine');
    await columns();
    await accessible(page, 'an upload');
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    const card = (name) => page.getByRole('listitem').filter({ has: page.getByRole('heading', { name, exact: true }) });
    await card('mine').getByText('ready').waitFor();
    await card('mine').getByText('6 to train on, 2 held out').waitFor();
    // One by one they have no folder: the rows tell where they belong.
    await page.getByLabel('Files of the data set').setInputFiles([join(folder, 'mine', 'rows.jsonl'), join(folder, 'mine', 'images', 'a.png')]);
    await page.getByText('1 image was chosen without a folder').waitFor();
    await page.getByLabel('Name', { exact: true }).fill('flat');
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    await card('flat').getByText('ready').waitFor();
    for (const name of ['mine', 'flat']) {
      const response = await fetch(`${server.url}/v1/datasets/${name}`, { method: 'DELETE' });
      assert.equal(response.status, 204);
    }
    await page.context().close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a thousand runs stay few rows, and old and new frames of the stream are understood', async () => {
  const page = await browser.open('about:blank'.slice(0, 0));
  const base = await server.call('GET', `/v1/runs/${first.run_id}`);
  const many = Array.from({ length: 1000 }, (_, i) => ({ ...base, id: `run_${String(i).padStart(6, '0')}`, name: `run number ${i}`, state: 'running', last_step: 1 }));
  await page.route('**/v1/runs?*', (route) => route.fulfill({ json: { data: many, has_more: false, next: null } }));
  await page.route('**/v1/runs/run_0**', (route) => route.fulfill({ json: { data: [] } }));
  const frame = (seq, kind, data) => `id: ${seq}\nevent: ${kind}\ndata: ${JSON.stringify({ seq, time: base.created_at, kind, run_id: 'run_000999', data })}\n\n`;
  await page.route('**/v1/events', (route) => route.fulfill({
    contentType: 'text/event-stream',
    body: `: hello\n\n${frame(1, 'metrics', { step: 3, samples: 0, tokens: 0, values: {} })}${frame(2, 'news.of.tomorrow', {})}${frame(3, 'rewind', { to_step: 2 })}`,
  }));
  await page.goto(`${server.url}/#/runs?sort=name`);
  await page.reload();
  await page.getByText('1,000 runs').waitFor();
  const newest = page.getByRole('row').filter({ hasText: 'run number 999' });
  await newest.getByText('2 / 4').waitFor();
  assert.ok(await page.locator('.run-row').count() < 60);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await page.getByText('run number 0', { exact: true }).waitFor();
  assert.ok(await page.locator('.run-row').count() < 60);
  await page.context().close();
});

const PAGES = [['#/runs', 'first run'], ['#/compare?runs=A,B', 'side by side'], ['#/runs/A', 'Learning'], ['#/runs/A/samples', 'Ground truth'], ['#/runs/A/checkpoints', 'Written'],
  ['#/runs/A/settings', 'learning_rate'], ['#/runs/A/events', 'queued'], ['#/playground', 'Forgetting curve'], ['#/new', 'Memory about'], ['#/datasets/digits', 'row 0'],
  ['#/models', 'VGPO starter'], ['#/workers', 'Heartbeat']];

const WIDTHS = [{ width: 1280, height: 900 }, { width: 390, height: 844 }];
for (const [colorScheme, viewport] of ['light', 'dark'].flatMap((theme) => WIDTHS.map((size) => [theme, size]))) {
  test(`every page is accessible and fits: ${colorScheme}, ${viewport.width} pixels wide`, async () => {
    for (const [hash, sign] of PAGES) {
      const page = await browser.open(hash.replace('A', first.run_id).replace('B', second.run_id), { colorScheme, viewport });
      await page.getByText(sign).first().waitFor();
      await page.waitForTimeout(300);
      await accessible(page, hash);
      await fits(page, hash);
      await page.context().close();
    }
  });
}

test('what is not there is said, and the theme is kept', async () => {
  const page = await browser.open('#/runs/run_nobody', { expected: [/404/] });
  await page.getByText('Not found').waitFor();
  const theme = () => page.evaluate(() => getComputedStyle(document.body).colorScheme);
  const before_ = await theme();
  await page.getByRole('button', { name: /colours/ }).click();
  assert.notEqual(await theme(), before_);
  await page.reload();
  assert.notEqual(await theme(), before_);
  await page.context().close();
});

test('the report is one page that fetches nothing', async () => {
  const page = await browser.open(`v1/runs/${first.run_id}/report`);
  await page.getByRole('heading', { name: 'first run' }).waitFor();
  assert.ok(await page.locator('svg path').count() > 5);
  assert.ok(await page.getByAltText('heat map over the image').count() > 0);
  const broken = await page.locator('img').evaluateAll((all) => all.filter((one) => one.naturalWidth === 0).length);
  assert.equal(broken, 0);
  await page.context().close();
});

test('a server that goes away is told, and coming back heals the page', async () => {
  const page = await browser.open('#/runs', { expected: [/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_SOCKET_NOT_CONNECTED/] });
  await page.getByText('live', { exact: true }).waitFor();
  await page.getByText('first run').first().waitFor();
  await server.stop();
  await page.getByText('Server unreachable.', { exact: false }).waitFor();
  await page.getByText('first run').first().waitFor();
  // A page that is opened meanwhile says so in plain words, and comes by itself.
  await page.getByRole('link', { name: 'Data' }).click();
  await page.getByRole('heading', { name: 'Server unreachable' }).waitFor();
  await server.start();
  await page.getByRole('button', { name: 'Try now' }).click();
  await page.getByText('live', { exact: true }).waitFor();
  await page.getByRole('heading', { name: 'digits', exact: true }).waitFor();
  await page.getByRole('link', { name: 'Runs', exact: true }).click();
  const job = await server.submit({ name: 'after the break', steps: 4000 });
  await page.getByText('after the break').waitFor();
  await server.call('POST', `/v1/jobs/${job.id}/cancel`);
  await page.context().close();
});

// What people write about a run: its tags and notes, to be changed by those who may.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { patch } from '../lib/api.js';
import { renew } from '../lib/runs.js';
import { refusal } from '../lib/session.js';
import { tagOf, tagText } from '../lib/tags.js';
import { askFor, attempt } from './ask.js';
import { Icon } from './icon.js';

/** @param {{ run: Api['Run'], onDone: () => void }} props */
export function RunNotes({ run, onDone }) {
  const mine = refusal('user', run.project) === null;
  /**
   * @param {{ tags?: Record<string, string>, notes?: string }} fields
   * @param {string} done
   */
  const change = async (fields, done) => {
    const went = await attempt(async () => renew(await patch('/v1/runs/{id}', fields, { path: { id: run.id } })), done);
    if (went) onDone();
    return went;
  };
  /** @param {string} notes */
  const note = (notes) => change({ notes }, 'Noted');
  const { tags = {} } = run;
  const add = async () => {
    const word = await askFor({
      title: 'Tag this run',
      text: 'A tag of the same name is replaced. The list of runs finds it.',
      label: 'Tag, as name or name: value',
      yes: 'Tag it',
    });
    if (!word) return;
    const [name, value] = tagOf(word);
    await change({ tags: { ...tags, [name]: value } }, 'Tagged');
  };
  /** @param {string} name */
  const drop = (name) => {
    const { [name]: _, ...rest } = tags;
    return change({ tags: rest }, 'Tag removed');
  };
  return html`<div class="run-notes">
    <p class="row">
      ${Object.entries(tags).map(
        ([name, value]) => html`<span class="tag" key=${name}>
          ${tagText(name, value)}
          ${
            mine &&
            html`<button type="button" class="untag" aria-label=${`Remove the tag ${name}`} onClick=${() => drop(name)}>
              ×
            </button>`
          }
        </span>`,
      )}
      ${mine && html`<button class="small" onClick=${add}><${Icon} name="plus" />Tag</button>`}
    </p>
    <${Notes} notes=${run.notes ?? ''} mine=${mine} save=${note} />
  </div>`;
}

/**
 * What is being written stays, whatever the run does meanwhile.
 * @param {{ notes: string, mine: boolean, save: (notes: string) => Promise<boolean> }} props
 */
function Notes({ notes, mine, save }) {
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  const place = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const writing = draft !== null;
  useEffect(() => {
    if (writing) place.current?.focus();
  }, [writing]);
  if (draft === null) {
    if (!mine && notes === '') return null;
    return html`<div class="row notes">
      ${notes !== '' && html`<p class="grow">${notes}</p>`}
      ${
        mine &&
        html`<button class="small" onClick=${() => setDraft(notes)}>
          <${Icon} name="pen" />${notes === '' ? 'Add notes' : 'Edit notes'}
        </button>`
      }
    </div>`;
  }
  const done = async () => {
    if (await save(draft)) setDraft(null);
  };
  return html`<form
    class="stack notes"
    onSubmit=${(e) => {
      e.preventDefault();
      done();
    }}
  >
    <textarea
      ref=${place}
      aria-label="Notes"
      rows=${Math.min(12, draft.split('\n').length + 2)}
      value=${draft}
      onInput=${(e) => setDraft(e.currentTarget.value)}
      onKeyDown=${(e) => {
        if (e.key !== 'Enter' || !(e.ctrlKey || e.metaKey)) return;
        e.preventDefault();
        done();
      }}
    ></textarea>
    <div class="row">
      <button class="primary small" title="Ctrl+Enter">Save notes</button>
      <button type="button" class="small" onClick=${() => setDraft(null)}>Leave as it was</button>
    </div>
  </form>`;
}

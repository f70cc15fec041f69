// The reward of a new job: its kind, its settings as JSON, and a try.
import { html } from '../lib/html.js';
import { variants } from '../lib/schema.js';
import { useDraft } from '../parts/draft.js';
import { Field, Select } from '../parts/common.js';
import { TryReward } from '../parts/try_reward.js';

/**
 * A reward as it is written.
 * @param {string} text
 * @returns {import('../lib/typed.js').Typed}
 */
function read(text) {
  try {
    const value = JSON.parse(text);
    return typeof value?.type === 'string' ? { value } : { wrong: 'A reward is an object with a `type`.' };
  } catch (error) {
    return { wrong: `Invalid JSON: ${error instanceof Error ? error.message : error}` };
  }
}

/**
 * `mark` hears why the JSON has no meaning, or null.
 * @param {{
 *   reward: Api['RewardSpec'], set: (reward: Api['RewardSpec']) => void, mark: (why: string | null) => void,
 *   faults: Map<string, string>, dataset: string,
 * }} props
 */
export function Reward({ reward, set, mark, faults, dataset }) {
  const kinds = variants('RewardSpec');
  const fault = [...faults].find(([pointer]) => pointer.startsWith('/reward'));
  return html`
    <div class="fields">
      <${Select}
        label="Type"
        value=${reward.type}
        onChange=${(/** @type {string} */ type) => set(kinds.find((kind) => kind.type === type)?.example ?? { type })}
        options=${kinds.map(({ type }) => [type, type])}
        help=${kinds.find(({ type }) => type === reward.type)?.description}
      />
      <${Json} key=${reward.type} reward=${reward} set=${set} mark=${mark} fault=${fault} />
    </div>
    <${TryReward} reward=${reward} dataset=${dataset} />
  `;
}

/**
 * @param {{
 *   reward: Api['RewardSpec'], set: (reward: Api['RewardSpec']) => void, mark: (why: string | null) => void,
 *   fault: [pointer: string, detail: string] | undefined,
 * }} props
 */
function Json({ reward, set, mark, fault }) {
  const draft = useDraft({ shown: JSON.stringify(reward, null, 2), read, onChange: set, onWrong: mark });
  const { value } = draft.attributes;
  return html`<${Field} label="As JSON" wrong=${draft.wrong ?? (fault && `${fault[0]}: ${fault[1]}`)}>
    ${(/** @type {FieldAttributes} */ a) => html`<textarea
      ...${a}
      ...${draft.attributes}
      class="mono"
      rows=${Math.min(10, value.split('\n').length + 1)}
      spellcheck=${false}
    ></textarea>`}
  </${Field}>`;
}

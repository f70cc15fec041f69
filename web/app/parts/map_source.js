// The switch between the two kinds of heat maps.
import { html } from '../lib/html.js';
import { Segmented } from './common.js';

/** @type {[Api['MapSource'], string][]} */
const SOURCES = [
  ['attention', 'Attention'],
  ['similarity', 'Similarity'],
];

/** @param {{ value: Api['MapSource'], onChange: (source: Api['MapSource']) => void }} props */
export const MapSourceSwitch = ({ value, onChange }) =>
  html`<${Segmented} label="What the heat map shows" value=${value} onChange=${onChange} options=${SOURCES} />`;

// Which metrics tell runs apart at a glance: the server's catalogue says.
import { get } from './api.js';

/** @type {Promise<string[]> | null} */
let reading = null;

/** Keys of the headlines, in the order in which they are shown. */
export function headlines() {
  reading ??= get('/v1/metrics/catalogue').then(
    ({ data }) => data.filter((info) => info.headline).map((info) => info.key),
    (error) => {
      reading = null;
      throw error;
    },
  );
  return reading;
}

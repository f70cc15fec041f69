// What this browser keeps: choices of the person at it, which no server knows.
import { signal } from './html.js';

/**
 * A signal that outlives the page; without storage it lasts as long as the page.
 * @template T
 * @param {string} key
 * @param {T} usual what it is while nothing is kept
 * @param {(value: any) => T | null} read what is kept, made sure of; null: not usable
 */
export function stored(key, usual, read) {
  let first = usual;
  try {
    const text = localStorage.getItem(key);
    first = (text === null ? null : read(JSON.parse(text))) ?? usual;
  } catch {
    /* nothing kept, or nothing that can be read */
  }
  const value = signal(first);
  return {
    value,
    /** @param {T} next */
    keep: (next) => {
      value.value = next;
      try {
        localStorage.setItem(key, JSON.stringify(next));
      } catch {
        /* not kept, then */
      }
    },
  };
}

// What is being typed into a field belongs to the field: no answer of the server and no redraw changes it.
import { useEffect, useRef, useState } from '../lib/html.js';

/** How long a text without meaning may stand before the field says why, in milliseconds. */
const PAUSE = 500;

/**
 * The draft of a text field. While it has the keyboard it shows what was typed; afterwards the value, unless the text
 * has no meaning: then the text stays, with the reason. `onChange` hears each value that was understood.
 * @param {{
 *   shown: string, read: (text: string) => import('../lib/typed.js').Typed,
 *   onChange: (value: any) => void, onWrong?: (why: string | null) => void,
 * }} field
 */
export function useDraft({ shown, read, onChange, onWrong }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const told = useRef(/** @type {string | null} */ (null));
  const timer = useRef(0);
  /** @param {string | null} why */
  const tell = (why) => {
    if (told.current !== why) onWrong?.(why);
    told.current = why;
    // The reason waits for a pause: the beginning of a number is often none.
    clearTimeout(timer.current);
    if (why === null) setWrong(null);
    else timer.current = setTimeout(() => setWrong(told.current), PAUSE);
  };
  // A field that is no longer part of the form holds nothing up.
  const last = useRef(onWrong);
  last.current = onWrong;
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      if (told.current !== null) last.current?.(null);
    },
    [],
  );
  /** @param {string} next */
  const take = (next) => {
    setText(next);
    const { value, wrong: why } = read(next);
    tell(why ?? null);
    if (why === undefined && next !== shown) onChange(value);
  };
  const settle = () => {
    setWrong(told.current);
    if (told.current === null) setText(null);
  };
  return {
    wrong,
    attributes: {
      value: text ?? shown,
      onFocus: () => setText((old) => old ?? shown),
      onInput: (/** @type {{ currentTarget: { value: string } }} */ event) => take(event.currentTarget.value),
      onBlur: settle,
    },
  };
}

// What every component needs, from one place.
import { Component, h } from '../../vendor/preact.js';
import htm from '../../vendor/htm.js';

export const html = htm.bind(h);
export { h, render, Fragment, createContext } from '../../vendor/preact.js';
export {
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  useMemo,
  useCallback,
  useContext,
  useId,
} from '../../vendor/hooks.js';
export { signal, computed, effect, batch, useSignal, useComputed, useSignalEffect } from '../../vendor/signals.js';

/**
 * A component that is drawn anew only when one of its properties is another.
 * @template {object} P
 * @param {import("../../vendor/preact.js").ComponentType<P>} Inner
 * @returns {import("../../vendor/preact.js").ComponentClass<P>}
 */
export function memo(Inner) {
  return class extends Component {
    /** @param {P} next */
    shouldComponentUpdate(next) {
      const keys = /** @type {(keyof P)[]} */ (Object.keys(next));
      return keys.length !== Object.keys(this.props).length || keys.some((key) => next[key] !== this.props[key]);
    }

    /** @param {import("../../vendor/preact.js").RenderableProps<P>} props */
    render(props) {
      return h(Inner, props);
    }
  };
}

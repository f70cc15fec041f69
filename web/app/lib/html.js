// What every component needs, from one place.
import { h } from '../../vendor/preact.js';
import htm from '../../vendor/htm.js';

export const html = htm.bind(h);
export { h, render, Fragment, createContext } from '../../vendor/preact.js';
export { useEffect, useLayoutEffect, useRef, useState, useMemo, useCallback, useContext, useId } from '../../vendor/hooks.js';
export { signal, computed, effect, batch, useSignal, useComputed, useSignalEffect } from '../../vendor/signals.js';

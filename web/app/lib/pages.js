// Lists that are read a page after the other.
import { useEffect, useState } from './html.js';

/**
 * Every page so far; another key is another list, which begins anew. What arrives for an earlier one is dropped.
 * @template Row
 * @param {string} key
 * @param {(after: number | undefined) => Promise<{ data: Row[], next?: string | null }>} read
 */
export function usePages(key, read) {
  const [state, setState] = useState(
    /** @type {{ rows: Row[], next: string | null, error?: unknown, of?: string }} */ ({ rows: [], next: null }),
  );
  useEffect(() => {
    let stale = false;
    read(undefined).then(
      (page) => {
        if (!stale) setState({ rows: page.data, next: page.next ?? null, of: key });
      },
      (error) => {
        if (!stale) setState((old) => ({ ...old, error, of: key }));
      },
    );
    return () => {
      stale = true;
    };
  }, [key]);
  const more = () =>
    read(state.next === null ? undefined : Number(state.next)).then(
      (page) =>
        setState((old) =>
          old.of === key ? { rows: [...old.rows, ...page.data], next: page.next ?? null, of: key } : old,
        ),
      (error) => setState((old) => ({ ...old, error })),
    );
  return { ...state, reading: state.of !== key, more };
}

// The page of those who have not said who they are.
import { html, useState } from '../lib/html.js';
import { asError } from '../lib/api.js';
import { signIn } from '../lib/session.js';
import { Field } from './common.js';

export function SignIn() {
  const [key, setKey] = useState('');
  const [fault, setFault] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  /** @param {Event} event */
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(key.trim());
    } catch (error) {
      setFault(asError(error).message);
    }
    setBusy(false);
  };
  return html`<main id="content" class="sign-in" tabindex=${-1}>
    <form class="card" onSubmit=${send}>
      <p class="brand"><img src=${new URL('../../icon.svg', import.meta.url).pathname} alt="" />VGPO</p>
      <h1>Sign in</h1>
      <p class="muted">This server asks for an API key. An admin creates one on the page
        Keys or with <code>vgpo keys create</code>.
      </p>
      <${Field} label="API key" wrong=${fault}>
        ${(/** @type {FieldAttributes} */ attributes) => html`<input
          ...${attributes}
          type="password"
          autocomplete="current-password"
          spellcheck=${false}
          placeholder="vgpo_…"
          value=${key}
          onInput=${(e) => {
            setKey(e.currentTarget.value);
            setFault(null);
          }}
          required
        />`}
      </${Field}>
      <div class="row"><button class="primary" disabled=${busy || !key.trim()}>Sign in</button></div>
    </form>
  </main>`;
}

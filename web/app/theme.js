// Before the first paint: the theme that was chosen, else what the system says.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('vgpo.theme');
  } catch {
    /* storage is off: the system's theme it is */
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();

// Runs before the first paint: the chosen theme, if one was chosen, else that of the system.
(() => {
  const apply = (theme) => {
    if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  };
  const read = () => {
    try {
      return localStorage.getItem('sterna-theme');
    } catch {
      return null; // storage may be forbidden
    }
  };
  apply(read());
  document.addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme').addEventListener('click', () => {
      const shown = document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark');
      const next = shown === 'dark' ? 'light' : 'dark';
      apply(next);
      try {
        localStorage.setItem('sterna-theme', next);
      } catch { /* then it lasts as long as the page */ }
      document.dispatchEvent(new Event('themechange'));
    });
  });
})();

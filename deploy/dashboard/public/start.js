// An operator of many devices looks at their table first. Its first rows are markup of the document: they are painted before any module is compiled.
const hasRows = document.querySelector('.fleet-row') !== null;
// The second of two frames begins when the first has been handed over to be shown. A page in the background has no frames.
for (let frame = 0; hasRows && frame < 2 && document.visibilityState === 'visible'; frame++) await new Promise((resolve) => { requestAnimationFrame(resolve); });

await import('./fleet-table.js');
await import('./app.js');

// An operator of many devices looks at their table first. Everything else is loaded after it has been painted.
import { table } from './fleet-table.js';

await table.painted;
await import('./app.js');

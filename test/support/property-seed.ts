import fc from 'fast-check';

// Property tests draw the same cases on every run, so that a failure belongs to the change that is tested. Exploring is
// one variable away: STERNA_SEED=random (the seed is printed with a failure), or STERNA_SEED=<number> to repeat one.
const stated = process.env['STERNA_SEED'];
if (stated !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(stated ?? 20_261) });

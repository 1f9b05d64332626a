import { batches, peer } from '../measure.mjs';

const { monotonicFactory } = await peer('ulid');
const next = monotonicFactory();
let last;
await batches('ulid', 3e5, (n) => {
  for (let i = 0; i < n; i++) last = next();
});
if (last.length !== 26) throw new Error(last);

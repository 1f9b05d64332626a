// waiting.mjs NAME COUNT: runs that all wait in their tool: memory of each of them.
import { memoryKib, value } from '../measure.mjs';
import { FINAL, RESULT, make } from './agents.mjs';

const [name, count] = [process.argv[2], Number(process.argv[3])];
let waiting = 0;
let full;
const allWait = new Promise((resolve) => {
  full = resolve;
});
let go;
const gate = new Promise((resolve) => {
  go = resolve;
});
const run = await make(name, 1, async () => {
  if (++waiting === count) full();
  await gate;
  return RESULT;
});
await Promise.race([run(), new Promise((resolve) => setTimeout(resolve, 300))]); // loads what is loaded late
waiting = 0;
globalThis.gc();
const before = memoryKib('VmRSS');
const runs = Array.from({ length: count }, () => run());
await allWait;
globalThis.gc();
value('each', (memoryKib('VmRSS') - before) / count);
go();
const answers = await Promise.all(runs);
if (answers.some((answer) => answer !== FINAL)) throw new Error('a run has another answer');

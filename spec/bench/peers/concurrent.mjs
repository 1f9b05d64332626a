// 1,000 runs of ten tool calls (11 model calls) at once: time for all of them, and peak memory.
import { cpuUs, memoryKib, report, value, wallUs } from '../measure.mjs';
import { FINAL, RESULT, make } from './agents.mjs';

// A tool that lets the others go on, so that the runs really are under way together.
const run = await make(process.argv[2], 10, async () => {
  await new Promise((resolve) => setImmediate(resolve));
  return RESULT;
});
const w = wallUs();
const c = cpuUs();
const answers = await Promise.all(Array.from({ length: 1000 }, () => run()));
report('all', wallUs() - w, cpuUs() - c);
value('peak', memoryKib('VmHWM') / 1024);
if (answers.some((answer) => answer !== FINAL)) throw new Error('a run has another answer');

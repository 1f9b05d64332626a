// steps.mjs NAME: processor time of one model step, by the agents of a library.
//  cold: the first 5,000 runs of one tool call (two model calls) of a fresh process; warm: after that
//  ten: in runs of ten tool calls; thousand: steps 901 to 1,000 of a run of a thousand tool calls
import { cpuUs, median, report, wallUs } from '../measure.mjs';
import { FINAL, RESULT, make } from './agents.mjs';

const name = process.argv[2];
const scale = { pi: 1, ai: 0.4, agents: 0.2, langchain: 0.05 }[name];

async function series(run, runs, callsPerRun) {
  const w = wallUs();
  const c = cpuUs();
  for (let i = 0; i < runs; i++) {
    const answer = await run();
    if (answer !== FINAL) throw new Error(`${name} answered ${JSON.stringify(answer)}`);
  }
  return [(wallUs() - w) / runs / callsPerRun, (cpuUs() - c) / runs / callsPerRun];
}

async function medianOf(count, metric, ...rest) {
  const results = [];
  for (let i = 0; i < count; i++) {
    results.push(await series(...rest));
  }
  report(metric, median(results.map((r) => r[0])), median(results.map((r) => r[1])));
}

const one = await make(name, 1);
report('cold', ...(await series(one, Math.round(5000 * scale), 2)));
await series(one, Math.round(5000 * scale), 2);
await medianOf(5, 'warm', one, Math.round(3000 * scale), 2);

const ten = await make(name, 10);
await series(ten, Math.round(500 * scale), 11);
await medianOf(5, 'ten', ten, Math.round(500 * scale), 11);

// The tool reads the clocks at its 900th and its 1,000th call.
let calls = 0;
let marks;
const thousand = await make(name, 1000, async () => {
  calls++;
  if (calls === 900) marks = [wallUs(), cpuUs()];
  if (calls === 1000) marks = [wallUs() - marks[0], cpuUs() - marks[1]];
  return RESULT;
});
const results = [];
for (let i = 0; i < (scale === 1 ? 5 : 1); i++) {
  calls = 0;
  await thousand();
  results.push(marks);
}
report('thousand', median(results.map((r) => r[0])) / 100, median(results.map((r) => r[1])) / 100);

// isolate.mjs - the memory that a further JavaScript engine in one process costs (a worker thread), and
// that of a waiting promise chain in place of a run: what an embedder of V8 would start from.
import { Worker } from 'node:worker_threads';

const rss = () => process.memoryUsage().rss;
const COUNT = 8;
const ready = (worker) => new Promise((resolve) => worker.once('message', resolve));
const make = () => new Worker('const { parentPort } = require("node:worker_threads");' +
  'parentPort.postMessage(1); parentPort.on("message", () => {});', { eval: true });

const first = make();
await ready(first);
const before = rss();
const workers = Array.from({ length: COUNT }, make);
await Promise.all(workers.map(ready));
console.log(`RESULT engine_memory value=${((rss() - before) / COUNT / 1024).toFixed(0)}`);
await Promise.all([first, ...workers].map((worker) => worker.terminate()));

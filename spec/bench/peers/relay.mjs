// The reference's relay in the three regimes: the reader keeps up, the queue is full of events that
// may be dropped, the queue is full of terminal events. Time of the pushes; in the first regime of
// the reader too.
import { cpuUs, median, report, wallUs } from '../measure.mjs';
import { relayRunEvents } from './reference.mjs';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const plain = (i) => ({ type: 'model.delta', run_id: 'r1', seq: i, delta: 'hello' });
const terminal = (i) => ({ type: 'agent.finished', run_id: 'r1', seq: i });

async function keepUp(n) {
  const w = wallUs();
  const c = cpuUs();
  const events = relayRunEvents(async (push) => {
    for (let i = 0; i < n; i++) {
      push(plain(i));
      if (i % 100 === 99) await turn();
    }
  });
  let got = 0;
  for await (const event of events) if (event.type !== 'stream.overflow') got++;
  if (got !== n) throw new Error(`${got} of ${n} events came`);
  return [wallUs() - w, cpuUs() - c];
}

/** The queue is filled first; then the reader takes one event for each 1,000 pushes. */
async function full(n, make) {
  let wall = 0;
  let cpu = 0;
  let over = false;
  let release;
  const events = relayRunEvents(async (push) => {
    await turn();
    for (let i = 0; i < 1024; i++) push(make(i));
    for (let i = 0; i < n; i += 1000) {
      const w = wallUs();
      const c = cpuUs();
      for (let j = 0; j < 1000; j++) push(make(i + j));
      wall += wallUs() - w;
      cpu += cpuUs() - c;
      release?.();
      await turn();
    }
    over = true;
    release?.();
  });
  for await (const _ of events)
    if (!over)
      await new Promise((resolve) => {
        release = resolve;
      });
  return [wall, cpu];
}

async function regime(metric, n, run) {
  const results = [];
  await run(n);
  for (let i = 0; i < 5; i++) {
    results.push(await run(n));
  }
  report(metric, median(results.map((r) => r[0])) / n, median(results.map((r) => r[1])) / n);
}

await regime('keep_up', 1e6, keepUp);
await regime('full', 1e5, (n) => full(n, plain));
await regime('full_terminal', 2e4, (n) => full(n, terminal));

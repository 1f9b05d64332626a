// What the Node programs of the bench share: batches, their median, and the line that run.lua
// reads: `RESULT <metric> wall=<us per operation> cpu=<us per operation>`, or `value=<number>`.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

export const wallUs = () => Number(process.hrtime.bigint()) / 1e3;

/** User and system time of this process, its helper threads among them. */
export const cpuUs = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** Memory of this process in KiB: "VmRSS" now, "VmHWM" at most. */
export const memoryKib = (field) =>
  Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]);

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

export const report = (metric, wall, cpu) =>
  console.log(`RESULT ${metric} wall=${wall.toPrecision(6)} cpu=${cpu.toPrecision(6)}`);

export const value = (metric, number) => console.log(`RESULT ${metric} value=${number.toPrecision(6)}`);

/** Runs fn(n), which does n operations, once to warm up and then `count` times. */
export async function batches(metric, n, fn, count = 7) {
  await fn(n);
  const wall = [];
  const cpu = [];
  for (let i = 0; i < count; i++) {
    const w = wallUs();
    const c = cpuUs();
    await fn(n);
    wall.push((wallUs() - w) / n);
    cpu.push((cpuUs() - c) / n);
  }
  report(metric, median(wall), median(cpu));
}

/** Imports a package that peers.sh has installed, or a file of one by its path. */
export async function peer(specifier) {
  const root = `${process.cwd()}/build/peers/bench/node_modules/`;
  const url = /\.m?js$/.test(specifier)
    ? pathToFileURL(root + specifier)
    : pathToFileURL(createRequire(`${root}x.js`).resolve(specifier));
  return import(url);
}

// The two functions of the reference (@purista/harness 1.2.2) that are measured beside ours,
// re-created from a description of how they behave.

const CAPACITY = 1024;
const TERMINAL = new Set(['run.finished', 'agent.finished']);

/** Relays what run(push) pushes: bounded, drops the oldest event that is not terminal. */
export async function* relayRunEvents(run) {
  const queue = [];
  let dropped = 0;
  let done = false;
  let failure;
  let wake;
  const notify = () => {
    const resolve = wake;
    wake = undefined;
    resolve?.();
  };
  const result = run((event) => {
    if (queue.length >= CAPACITY) {
      const index = queue.findIndex((candidate) => !TERMINAL.has(candidate.type));
      if (index >= 0) {
        queue.splice(index, 1);
        dropped += 1;
      }
    }
    queue.push(event);
    notify();
    return Promise.resolve();
  })
    .catch((error) => {
      failure = error;
    })
    .finally(() => {
      done = true;
      notify();
    });
  try {
    for (;;) {
      if (dropped > 0) {
        const count = dropped;
        dropped = 0;
        yield { type: 'stream.overflow', dropped: count };
      }
      while (queue.length > 0) {
        yield queue.shift();
        if (dropped > 0) break;
      }
      if (queue.length === 0 && dropped === 0) {
        if (done) break;
        await new Promise((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    await result;
  }
  if (failure) throw failure;
}

/** A glob as a regular expression: every star is `.*`, so that it may go back and forth. */
export function globToRegExp(glob) {
  let out = '^';
  for (let i = 0; i < glob.length; i += 1) {
    const char = glob[i];
    if (char === '*') {
      out += '.*';
      if (glob[i + 1] === '*') i += 1;
    } else if (char === '?') out += '.';
    else if (/[.+^${}()|[\]\\]/.test(char)) out += `\\${char}`;
    else out += char;
  }
  return new RegExp(`${out}$`);
}

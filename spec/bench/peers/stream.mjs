// stream.mjs openai|ai|fetch CONCURRENCY RESPONSES: text deltas from the model server on MODEL_PORT.
import { batches, peer } from '../measure.mjs';

const [kind, concurrency, responses] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const DELTAS = 200;
const baseURL = `http://127.0.0.1:${process.env.MODEL_PORT}/v1`;
const body = { model: 'mock', stream: true, messages: [{ role: 'user', content: 'hi' }] };

const kinds = {
  async openai() {
    const { default: OpenAI } = await peer('openai/index.mjs');
    const client = new OpenAI({ baseURL, apiKey: 'x', maxRetries: 0 });
    return async () => {
      let deltas = 0;
      for await (const chunk of await client.chat.completions.create(body))
        if (chunk.choices[0]?.delta?.content) deltas++;
      return deltas;
    };
  },
  async ai() {
    const { streamText } = await peer('ai/dist/index.js');
    const { createOpenAI } = await peer('@ai-sdk/openai/dist/index.js');
    const model = createOpenAI({ baseURL, apiKey: 'x' }).chat('mock');
    const onError = ({ error }) => {
      throw error;
    };
    return async () => {
      let deltas = 0;
      for await (const _ of streamText({ model, prompt: 'hi', maxRetries: 0, onError }).textStream) deltas++;
      return deltas;
    };
  },
  // The least that can be done in Node: fetch, split, JSON.parse.
  async fetch() {
    const headers = { 'content-type': 'application/json' };
    return async () => {
      let deltas = 0;
      let rest = '';
      const decoder = new TextDecoder();
      const response = await fetch(`${baseURL}/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
      for await (const bytes of response.body) {
        const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
        rest = events.pop();
        for (const event of events)
          if (event !== 'data: [DONE]' && JSON.parse(event.slice(6)).choices[0]?.delta?.content) deltas++;
      }
      return deltas;
    };
  },
};

const one = await kinds[kind]();
await batches(`c${concurrency}`, responses * DELTAS, async () => {
  let left = responses;
  let deltas = 0;
  const worker = async () => {
    while (left-- > 0) {
      const got = await one();
      deltas += got;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (deltas !== responses * DELTAS) throw new Error(`${deltas} deltas came, not ${responses * DELTAS}`);
}, 3);
process.exit(0);

// Agents of other libraries on the same work: an agent with one tool, a model in this process that
// asks for the tool `steps` times and then answers. make(name, steps, execute) gives a function that
// performs one run and returns the answer.
//
// Which step it is, a model sees from the id of the last tool call in its messages ("c7"), in
// constant time: counting the results would make the mock itself grow with the conversation.
import { peer } from '../measure.mjs';

export const FINAL = 'It is 21 C in Berlin.';
export const RESULT = { ok: true, temperature: 21, unit: 'C' };
const WORDS = FINAL.match(/\S+\s*/g);
const PROMPT = 'Weather in Berlin?';
const stepOf = (id) => Number(id.slice(1));

async function pi(steps, execute) {
  const { Agent } = await peer('@mariozechner/pi-agent-core/dist/index.js');
  const { createAssistantMessageEventStream, Type } = await peer('@mariozechner/pi-ai/dist/index.js');
  const cost = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 };
  const usage = { input: 10, output: 20, cacheRead: 0, cacheWrite: 0, totalTokens: 30, cost };
  const model = {
    id: 'mock', name: 'mock', api: 'mock', provider: 'mock', baseUrl: 'http://localhost',
    reasoning: false, input: ['text'], cost, contextWindow: 1e6, maxTokens: 16384,
  };
  const streamFn = (_, context) => {
    const stream = createAssistantMessageEventStream();
    const last = context.messages.at(-1);
    const step = last.role === 'toolResult' ? stepOf(last.toolCallId) + 1 : 0;
    const calls = step < steps;
    const content = calls
      ? [{ type: 'toolCall', id: `c${step}`, name: 'weather', arguments: { city: 'Berlin' } }]
      : [{ type: 'text', text: FINAL }];
    const message = {
      role: 'assistant', content, api: 'mock', provider: 'mock', model: 'mock', usage,
      stopReason: calls ? 'toolUse' : 'stop', timestamp: 0,
    };
    queueMicrotask(() => {
      stream.push({ type: 'start', partial: { ...message, content: [] } });
      if (!calls) {
        stream.push({ type: 'text_start', contentIndex: 0, partial: message });
        for (const delta of WORDS) stream.push({ type: 'text_delta', contentIndex: 0, delta, partial: message });
        stream.push({ type: 'text_end', contentIndex: 0, content: FINAL, partial: message });
      }
      stream.push({ type: 'done', reason: message.stopReason, message });
      stream.end(message);
    });
    return stream;
  };
  const weather = {
    name: 'weather', label: 'weather', description: 'weather', parameters: Type.Object({ city: Type.String() }),
    execute: async () => ({ content: [{ type: 'text', text: JSON.stringify(await execute()) }], details: {} }),
  };
  return async () => {
    const initialState = { systemPrompt: 'You are helpful.', model, tools: [weather], messages: [] };
    const agent = new Agent({ initialState, streamFn, toolExecution: 'parallel' });
    let events = 0;
    agent.subscribe(() => {
      events++;
    });
    await agent.prompt(PROMPT);
    return agent.state.messages.at(-1).content[0].text;
  };
}

async function ai(steps, execute) {
  const { generateText, tool, isStepCount } = await peer('ai/dist/index.js');
  const { z } = await peer('zod/index.js');
  const usage = { inputTokens: { total: 10, noCache: 10 }, outputTokens: { total: 20, text: 20 } };
  const model = {
    specificationVersion: 'v4', provider: 'mock', modelId: 'mock', supportedUrls: {},
    doGenerate: async ({ prompt }) => {
      const last = prompt.at(-1);
      const step = last.role === 'tool' ? stepOf(last.content[0].toolCallId) + 1 : 0;
      const content =
        step < steps
          ? [{ type: 'tool-call', toolCallId: `c${step}`, toolName: 'weather', input: '{"city":"Berlin"}' }]
          : [{ type: 'text', text: FINAL }];
      const finishReason = { unified: step < steps ? 'tool-calls' : 'stop', raw: undefined };
      return { content, finishReason, usage, warnings: [] };
    },
  };
  const inputSchema = z.object({ city: z.string() });
  const tools = { weather: tool({ description: 'weather', inputSchema, execute }) };
  const stopWhen = isStepCount(steps + 2);
  return async () => (await generateText({ model, tools, stopWhen, prompt: PROMPT })).text;
}

async function openaiAgents(steps, execute) {
  const { Agent, Runner, tool, setTracingDisabled, Usage } = await peer('@openai/agents/dist/index.mjs');
  const { z } = await peer('zod/index.js');
  setTracingDisabled(true);
  const model = {
    async getResponse({ input }) {
      const last = Array.isArray(input) ? input.at(-1) : {};
      const step = last.type === 'function_call_result' ? stepOf(last.callId) + 1 : 0;
      const output =
        step < steps
          ? [{ type: 'function_call', callId: `c${step}`, name: 'weather', arguments: '{"city":"Berlin"}', status: 'completed' }]
          : [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: FINAL }] }];
      const usage = new Usage({ requests: 1, inputTokens: 10, outputTokens: 20, totalTokens: 30 });
      return { usage, output, responseId: 'r' };
    },
  };
  const parameters = z.object({ city: z.string() });
  const weather = tool({ name: 'weather', description: 'weather', parameters, execute });
  const agent = new Agent({ name: 'a', instructions: 'You are helpful.', model, tools: [weather] });
  const runner = new Runner({ tracingDisabled: true });
  return async () => (await runner.run(agent, PROMPT, { maxTurns: steps + 2 })).finalOutput;
}

async function langchain(steps, execute) {
  const { createAgent } = await peer('langchain/dist/index.js');
  const { BaseChatModel } = await peer('@langchain/core/dist/language_models/chat_models.js');
  const { AIMessage, HumanMessage } = await peer('@langchain/core/dist/messages/index.js');
  const { tool } = await peer('@langchain/core/dist/tools/index.js');
  const { z } = await peer('zod/index.js');
  class Mock extends BaseChatModel {
    _llmType() {
      return 'mock';
    }
    bindTools() {
      return this;
    }
    async _generate(messages) {
      const last = messages.at(-1);
      const step = last.getType() === 'tool' ? stepOf(last.tool_call_id) + 1 : 0;
      const call = { name: 'weather', args: { city: 'Berlin' }, id: `c${step}`, type: 'tool_call' };
      const message = step < steps ? new AIMessage({ content: '', tool_calls: [call] }) : new AIMessage(FINAL);
      return { generations: [{ text: message.text ?? '', message }] };
    }
  }
  const schema = z.object({ city: z.string() });
  const weather = tool(async () => JSON.stringify(await execute()), { name: 'weather', description: 'weather', schema });
  const agent = createAgent({ model: new Mock({}), tools: [weather] });
  const options = { recursionLimit: steps * 4 + 20 };
  return async () => {
    const state = await agent.invoke({ messages: [new HumanMessage(PROMPT)] }, options);
    return state.messages.at(-1).content;
  };
}

/** A bare asynchronous function that waits for the tool: the floor. */
async function bare(steps, execute) {
  return async () => {
    for (let i = 0; i < steps; i++) await execute();
    return FINAL;
  };
}

const makers = { pi, ai, agents: openaiAgents, langchain, bare };

export const make = (name, steps, execute = async () => RESULT) => makers[name](steps, execute);

--- A chat response of 1.8 KB with text and three tool calls, as JSON.

local function call(i)
  local format = [[{"id":"call_%d","type":"function","function":{"name":"read_file","arguments":]] ..
    [["{\"path\":\"/src/file%d.c\",\"from\":1,\"to\":200,\"note\":\"a \\\"quoted\\\" value\"}"}}]]
  return format:format(i, i)
end

local plan = [[Here is a plan:\n\n1. Read the file \"src/main.c\".\n2. Change it — carefully.\n]]

return ([[{"id":"chatcmpl-9xYz","object":"chat.completion","created":1700000000,"model":"gpt-x",]] ..
  [["choices":[{"index":0,"message":{"role":"assistant","content":"%s","tool_calls":[%s]},]] ..
  [["logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1234,]] ..
  [["completion_tokens":345,"total_tokens":1579,"prompt_tokens_details":{"cached_tokens":1024}}}]]):format(
    plan:rep(12), table.concat({ call(0), call(1), call(2) }, ","))

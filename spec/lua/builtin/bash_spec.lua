-- lua/harness/builtin/bash.lua, on a sandbox that plays its commands
local builtin_call = require "spec.support.builtin"
local table_sandbox = require "spec.support.table_sandbox"

local failure = builtin_call.failure

describe("the tool bash", function()
  local sandbox, call, given

  before_each(function()
    sandbox = table_sandbox.session()
    sandbox.executor = "available"
    call = builtin_call.on(sandbox)
    given = nil
  end)

  local function answers(result)
    sandbox.commands = function(command, options)
      given = { command = command, cwd = options.cwd, timeout_ms = options.timeout_ms }
      return result
    end
  end

  it("gives what the command wrote, and its status", function()
    answers { stdout = "hi\n", stderr = "", exit_code = 0, duration_ms = 5 }
    assert.equal('{"exit_code":0,"stderr":"","stdout":"hi\\n"}', call.text("bash", { command = "echo hi" }))
    answers { stdout = "", stderr = "no\n", exit_code = 2 }
    assert.same({ stdout = "", stderr = "no\n", exit_code = 2 }, call("bash", { command = "false" }))
    answers { exit_code = 137, signal = "SIGKILL" }
    assert.same({ stdout = "", stderr = "", exit_code = 137, signal = "SIGKILL" }, call("bash", { command = "x" }))
  end)

  it("hands on the directory and the time", function()
    answers { exit_code = 0 }
    call("bash", { command = "ls; true", cwd = "/w/./x/", timeout_ms = 50 })
    assert.same({ command = "ls; true", cwd = "/w/x", timeout_ms = 50 }, given)
    call("bash", { command = "ls" })
    assert.same({ command = "ls" }, given)
  end)

  it("cuts long output to head and tail, and counts what is missing", function()
    answers { stdout = "begin" .. ("é"):rep(40000) .. "end", stderr = "e", exit_code = 0 }
    local result = call("bash", { command = "x" })
    assert.is_true(#result.stdout < 30200)
    assert.matches("^begin\n%[%.%.%. %d+ bytes are missing here: write the output to a file and read parts of it "
      .. "%.%.%.%]\nend$", (result.stdout:gsub("é", "")))
    local kept = #result.stdout:gsub("\n%[[^\n]*%]\n", "")
    assert.same({ 80008 - kept, nil }, { result.stdout_truncated_bytes, result.stderr_truncated_bytes })
    -- what the sandbox has cut already counts, too
    answers { stdout = "x", stderr = ("y"):rep(40000), exit_code = 0, stdout_truncated_bytes = 7,
      stderr_truncated_bytes = 100 }
    result = call("bash", { command = "x" })
    assert.same({ "x", 7, 10100 }, { result.stdout, result.stdout_truncated_bytes, result.stderr_truncated_bytes })
  end)

  it("replaces what is no UTF-8", function()
    answers { stdout = "\xff\0\n", exit_code = 0 }
    assert.equal("\u{FFFD}\0\n", call("bash", { command = "x" }).stdout)
  end)

  it("is no tool of a sandbox without an executor", function()
    sandbox.executor = "unavailable"
    local err = failure(call, "bash", { command = "x" })
    assert.same({ "SANDBOX_NO_EXECUTOR", "s" }, { err.code, err.meta.session_id })
  end)

  it("refuses wrong input", function()
    for _, input in ipairs { {}, { command = "" }, { command = "x", timeout_ms = 0 }, { command = "x", cwd = "" } } do
      assert.matches("^input: ", failure(call, "bash", input))
    end
    assert.equal("invalid_path", failure(call, "bash", { command = "x", cwd = "src" }).meta.reason)
  end)
end)

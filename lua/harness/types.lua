---@meta _
--- What editors complete from (LuaCATS): the public names of `require "harness"`, and the tables that a
--- person writes or gets. Never loaded; spec/lua/types_spec.lua holds it against the real modules.

-- ---- the module ---------------------------------------------------------------------------

---@class harness.Module
---@field version string
---@field define fun(definition: harness.DefinitionTable): harness.Harness checks it as a whole, and raises
---@field schema harness.SchemaModule builders for JSON Schema
---@field providers harness.providers model providers, each a function of options
---@field storage harness.StorageModule
---@field discover_skills fun(options?: harness.DiscoveryOptions): harness.FoundSkills, harness.SkillDiagnostic[]
---@field sandbox harness.sandbox where agents work: memory(options), directory(options), bash(options), auto(options)
---@field testing harness.testing for people who test harnesses and adapters
---@field json harness.json exact JSON
---@field null userdata JSON's null
---@field array fun(t: table): table marks t, so that it encodes as an array even when it is empty
---@field ordered fun(pairs: table[]): table an object whose keys keep this order
---@field error fun(code: string, message?: string, meta?: table, cause?: any) raises an error
---@field new_error fun(code: string, message?: string, meta?: table, cause?: any): harness.Error
---@field is_error fun(value: any, code?: string): boolean true for errors of ours only
---@field spawn fun(fn: function, ...): harness.Task starts a child task of the current one
---@field all fun(fns: table<any, function>): table the results with the same keys; the first failure cancels the rest
---@field race fun(fns: function[]): any what the first one to settle returns or raises
---@field map fun(items: any[], fn: fun(item: any, index: integer): any, options?: { max_parallel?: integer }): any[]
---@field sleep fun(ms: number)
---@field timeout fun(ms: number, fn: function, ...): any fn's results, or OPERATION_TIMEOUT
---@field now fun(): integer milliseconds since the epoch
---@field clock fun(): number milliseconds on a clock that only moves forward
---@field abort_controller fun(): harness.AbortController
---@field shield fun(fn: function, timeout_ms?: integer, ...): any an abort does not interrupt what fn waits for
---@field relay fun(options?: harness.RelayOptions): harness.Relay a bounded event queue
---@field glob fun(pattern: string): harness.Matcher
---@field ulid fun(): string
---@field run fun(fn: function, ...): any only under a stock lua5.4: runs the loop until fn's task has ended

---@class harness.Matcher
---@field match fun(self: harness.Matcher, path: string): boolean

---@class harness.SchemaModule
---@field string fun(options?: table): harness.Schema min_length, max_length, pattern, format, description, …
---@field number fun(options?: table): harness.Schema minimum, maximum, multiple_of, …
---@field integer fun(options?: table): harness.Schema
---@field boolean fun(options?: table): harness.Schema
---@field null fun(options?: table): harness.Schema
---@field any fun(options?: table): harness.Schema
---@field enum fun(values: any[], options?: table): harness.Schema
---@field literal fun(value: any, options?: table): harness.Schema
---@field array fun(item?: harness.Schema, options?: table): harness.Schema min_items, max_items, unique_items, …
---@field object fun(fields: table<string, harness.Schema>|table[], options?: table): harness.Schema
---@field record fun(value_schema: harness.Schema, options?: table): harness.Schema
---@field union fun(schemas: harness.Schema[], options?: table): harness.Schema
---@field ref fun(name: string, options?: table): harness.Schema
---@field json fun(schema: table|boolean): harness.Schema JSON Schema as it is

---@class harness.StorageModule
---@field memory fun(): harness.Storage kept in memory only

-- ---- adapters -----------------------------------------------------------------------------

--- A memory of one's own. Its methods may wait; what they raise that is no error of ours becomes a
--- STATE_ERROR. All arguments have been checked.
---@class harness.MemoryAdapter
---@field id? string 2 to 64 lower-case letters, digits and _ . -
---@field capabilities? string[] memory.kv at least; left out: what the methods say, in all scopes
---@field memory_get fun(self, scope: harness.Scope, key: string): any nil: there is none
---@field memory_put fun(self, scope: harness.Scope, key: string, value: any, options: harness.MemoryPut)
---@field memory_delete fun(self, scope: harness.Scope, key: string) also of a key that is not there
---@field memory_list fun(self, scope: harness.Scope, options: harness.MemoryList): harness.MemoryEntry[]
---@field memory_search? fun(self, scope: harness.Scope, query: harness.MemoryQuery): harness.MemoryEntry[]
---@field close? fun(self) with the last harness that uses it

-- ---- definitions --------------------------------------------------------------------------

---@class harness.DefinitionTable
---@field name? string default "agent-harness"
---@field models table<string, harness.ModelTable>
---@field tools? table<string, harness.ToolTable>
---@field skills? table<string|integer, string|harness.SkillTable> by name; a path is the skill's directory
---@field agents? table<string, harness.AgentTable>
---@field workflows? table<string, harness.WorkflowTable>
---@field storage? table default storage.memory()
---@field memory? harness.MemoryAdapter for memory, when not the storage
---@field sandbox? harness.Sandbox where tools work: one of harness.sandbox, or a table with open; default auto()
---@field programs? harness.ProgramsTable for programs of the built-in tool lua
---@field requires? string[] capabilities that the adapters must have
---@field defaults? harness.DefaultsTable
---@field logger? table with the methods of harness.Logger
---@field telemetry? harness.TelemetryTable

---@class harness.ModelTable
---@field provider table such as harness.providers.openai{...}
---@field model string its name at the provider
---@field capabilities? string[] default: what the provider declares
---@field defaults? table temperature, top_p, max_tokens, stop_sequences, parallel_tool_calls, provider_options
---@field provider_options? table
---@field fallback? string[] aliases that are tried after the last attempt
---@field prices? { input?: number, output?: number, cached_input?: number, cache_write?: number } for a million tokens

---@class harness.ToolTable
---@field description string for the model
---@field input harness.Schema|table the schema of an object
---@field output? harness.Schema|table
---@field run fun(ctx: harness.ToolContext, input: table): any
---@field timeout_ms? integer
---@field max_result_bytes? integer what is longer is cut to head and tail

---@class harness.AgentTable
---@field model string an alias of `models`
---@field instructions? string|fun(ctx: table): string
---@field input? harness.Schema|table default: a string
---@field output? harness.Schema|table default: a string
---@field tools? string[]
---@field builtin_tools? string[]|boolean true: bash read write edit glob grep list; lua only by name; default none
---@field skills? string[]|boolean their ids, in the order of the prompt; true: all; needs the built-in tool read
---@field permissions? table<string, harness.Permission> by the id of a tool; default "allow"
---@field on_permission? fun(request: harness.PermissionRequest): "allow"|"deny" asked for tools whose mode is "ask"
---@field max_steps? integer
---@field history_window? integer
---@field structured_retry? integer rounds of repair for an output that does not fit its schema, default 1
---@field budget? harness.Budget
---@field description? string
---@field run? fun(ctx: harness.AgentContext, input: any): any a hand-written agent

---@alias harness.FoundSkills table<string, harness.SkillTable> by name, for a definition

---@class harness.SkillTable
---@field directory string with a SKILL.md
---@field validation_mode? "strict"|"lenient" default "strict"; a lenient one that cannot be used is left out
---@field trust? "trusted"|"project"|"user" default "trusted"; shown by inspect
---@field source? string shown by inspect

---@class harness.ProgramsTable
---@field limits? { cpu_ms?: integer, memory_bytes?: integer, calls?: integer } default 10000, 64 MB, 1000
---@field without? string[] protections to leave out, by name: "namespaces"

---@alias harness.PermissionMode "allow"|"ask"|"deny"
---@alias harness.Permission harness.PermissionMode|{ mode?: harness.PermissionMode, allow?: string[], deny?: string[] }

---@class harness.WorkflowTable
---@field input? harness.Schema|table
---@field output? harness.Schema|table
---@field run fun(ctx: harness.WorkflowContext, input: any): any
---@field version? string|integer
---@field description? string

---@class harness.DefaultsTable
---@field max_steps? integer default 16
---@field run_timeout_ms? integer default 600000; 0: none
---@field tool_timeout_ms? integer default 120000
---@field skill_timeout_ms? integer default 60000
---@field model_timeout_ms? integer default 300000
---@field max_parallel_tool_calls? integer default 8
---@field cancel_grace_ms? integer default 1000
---@field history_window? integer default: all

---@class harness.TelemetryTable
---@field store_content? boolean keep inputs and outputs in stored events
---@field listener? table gets spans and metrics
---@field flavor? string

---@class harness.Budget
---@field max_total_tokens? integer
---@field max_model_calls? integer
---@field max_tool_calls? integer
---@field max_cost? number
---@field max_wall_ms? integer

-- ---- running ------------------------------------------------------------------------------

---@class harness.InvokeOptions
---@field signal? harness.Signal
---@field timeout_ms? integer
---@field history_window? integer
---@field metadata? table
---@field traceparent? string
---@field tracestate? string
---@field budget? harness.Budget

---@class harness.Event
---@field type string
---@field run_id string
---@field attempt integer
---@field seq integer
---@field at string ISO 8601, UTC, milliseconds

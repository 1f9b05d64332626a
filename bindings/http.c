/* http.c - core.http: transfers as userdata that a task waits for and pulls from.
 *
 *     open(options) -> transfer | nil, info       refused; options as in lua/harness/http.lua,
 *                                                 with headers as a flat list of names and values
 *     configure{environment?, proxy?, no_proxy?, ca_file?} -> boolean   before the first open
 *     stats() -> {transfers, sockets}
 *     version() -> libcurl's | nil, why           loads it
 *
 *     transfer:status() -> status, headers, is_events | nil, state, info
 *     transfer:read() -> bytes | nil, state, info
 *     transfer:event() -> data, type, id | nil, state, info
 *     transfer:pick(picker) -> true, v1, v2, ... | false, data, type | nil, state, info
 *     transfer:alive(), transfer:close(), transfer:arm(token), transfer:disarm()
 *
 * state is "wait", "end", or "failed", and then info is {kind, message, phase?, timeout_ms?}.
 * Until status() has given the status, arm waits for the head of the response; from then on for
 * bytes or an event; for the end in both cases. */
#include <string.h>

#include "../engine/curl_api.h"
#include "../engine/http.h"
#include "bindings.h"
#include "json.h"

#define TRANSFER "harness.http"

/* The request's body, which the transfer borrows, is its user value. */
struct lua_transfer {
    struct http_transfer *http; /* NULL: closed */
    struct waiter waiter;
    bool head_told;
};

static void on_news(void *user) {
    struct lua_transfer *transfer = user;
    waiter_wake(&transfer->waiter);
}

static struct lua_transfer *check_transfer(lua_State *L) {
    struct lua_transfer *transfer = bind_object(L, 1, 1);
    if (!transfer) transfer = luaL_checkudata(L, 1, TRANSFER); /* raises with the right words */
    if (!transfer->http) luaL_error(L, "this HTTP response was closed");
    return transfer;
}

static int push_failure(lua_State *L, const struct http_failure *failure) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, http_error_name(failure->error));
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, failure->message);
    lua_setfield(L, -2, "message");
    if (failure->error != HTTP_ETIMEOUT) return 1;
    lua_pushstring(L, http_phase_name(failure->phase));
    lua_setfield(L, -2, "phase");
    lua_pushinteger(L, (lua_Integer)failure->timeout_ms);
    lua_setfield(L, -2, "timeout_ms");
    return 1;
}

/* nil, state, info: nothing is there to take. */
static int push_nothing(lua_State *L, const struct http_transfer *http) {
    const struct http_failure *failure = http_failed(http);
    lua_pushnil(L);
    lua_pushstring(L, failure ? "failed" : http_ended(http) ? "end" : "wait");
    return failure ? 2 + push_failure(L, failure) : 2;
}

/* ---- open ---------------------------------------------------------------------------------- */

/* A string field of the options at index 1, left on the stack for the caller to keep it alive. */
static const char *text_field(lua_State *L, const char *name, size_t *len) {
    int type = lua_getfield(L, 1, name);
    if (type == LUA_TNIL) return NULL;
    if (type != LUA_TSTRING) luaL_error(L, "http option %s must be a string", name);
    return lua_tolstring(L, -1, len);
}

/* The same, for text that C reads up to a NUL: one inside would hide what comes after it. */
static const char *plain_field(lua_State *L, const char *name, struct http_failure *failure) {
    size_t len = 0;
    const char *text = text_field(L, name, &len);
    if (text && strlen(text) != len)
        http_failure_set(failure, HTTP_EREQUEST, "the %s holds a NUL character", name);
    return text;
}

static uint64_t number_field(lua_State *L, const char *name, uint64_t otherwise) {
    int type = lua_getfield(L, 1, name);
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    if (type == LUA_TNIL) return otherwise;
    if (!is_integer || value < 0)
        luaL_error(L, "http option %s must be an integer of at least 0", name);
    return (uint64_t)value;
}

/* Collects pointers to the strings of the flat list options.headers. They are alive as long as the
 * list; the array of pointers is a userdata, left on the stack. */
static void read_headers(lua_State *L, struct http_request *request, struct http_failure *failure) {
    if (lua_getfield(L, 1, "headers") == LUA_TNIL) return;
    luaL_checktype(L, -1, LUA_TTABLE);
    size_t count = (size_t)lua_rawlen(L, -1);
    if (count % 2 != 0) luaL_error(L, "http option headers must hold names and values in turn");
    const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 0; i < count; i++) {
        size_t len;
        if (lua_rawgeti(L, -2, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "http option headers must hold strings");
        list[i] = lua_tolstring(L, -1, &len);
        lua_pop(L, 1); /* the list keeps it */
        if (strlen(list[i]) != len)
            http_failure_set(failure, HTTP_EREQUEST, "a header holds a NUL character");
    }
    request->headers = list;
    request->header_count = count / 2;
}

static void read_limits(lua_State *L, struct http_request *request) {
    static const char *const MODES[] = {"auto", "on", "off", NULL};
    lua_getfield(L, 1, "events");
    request->events = (enum http_events)luaL_checkoption(L, -1, "auto", MODES);
    lua_pop(L, 1);
    request->connect_ms = number_field(L, "connect_ms", HTTP_CONNECT_MS);
    request->first_byte_ms = number_field(L, "first_byte_ms", HTTP_FIRST_BYTE_MS);
    request->idle_ms = number_field(L, "idle_ms", HTTP_IDLE_MS);
    request->total_ms = number_field(L, "total_ms", 0);
    request->max_body = number_field(L, "max_body", HTTP_MAX_BODY);
    request->max_event = number_field(L, "max_event", HTTP_MAX_EVENT);
}

/* What the host of the engine does not want, no script gets. */
static bool configure(struct core *core, struct http_settings *settings) {
    if (core->host) {
        settings->no_environment |= core->host->no_environment;
        settings->no_threads |= core->host->no_threads;
    }
    return http_client_configure(core->http, settings);
}

static struct http_client *client_of(lua_State *L) {
    struct core *core = core_get(L);
    if (core->http) return core->http;
    const struct core_host *host = core->host;
    core->http = http_client_new(core->loop, host ? host->http : NULL);
    if (!core->http) luaL_error(L, "not enough memory");
    struct http_settings settings = {0};
    if (host) configure(core, &settings);
    return core->http;
}

static int http_open_lua(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 16, NULL);
    struct http_client *client = client_of(L);
    struct http_failure failure = {.error = HTTP_OK};
    struct http_request request = {0};
    request.url = plain_field(L, "url", &failure);
    if (!request.url) return luaL_error(L, "http option url must be a string");
    request.method = plain_field(L, "method", &failure);
    request.ca_file = plain_field(L, "ca_file", &failure);
    request.proxy = plain_field(L, "proxy", &failure);
    read_limits(L, &request);
    read_headers(L, &request, &failure);

    struct lua_transfer *transfer = lua_newuserdatauv(L, sizeof *transfer, 1);
    *transfer = (struct lua_transfer){.waiter = {.loop = core_get(L)->loop}};
    luaL_setmetatable(L, TRANSFER);
    int self = lua_gettop(L);
    request.body = text_field(L, "body", &request.body_len);
    lua_setiuservalue(L, self, 1);
    if (failure.error == HTTP_OK)
        transfer->http = http_open(client, &request, on_news, transfer, &failure);
    if (transfer->http) return 1;
    lua_pushnil(L);
    return 1 + push_failure(L, &failure);
}

/* ---- what a transfer gives ----------------------------------------------------------------- */

/* A map of lower-case names; values of the same name are joined, as RFC 9110 5.3 has it. */
static void push_headers(lua_State *L, const struct http_transfer *http) {
    const char *value;
    lua_newtable(L);
    for (const char *name = NULL; (name = http_header_next(http, name, &value));) {
        if (lua_getfield(L, -1, name) == LUA_TSTRING) {
            lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
            lua_remove(L, -2);
        } else {
            lua_pop(L, 1);
            lua_pushstring(L, value);
        }
        lua_setfield(L, -2, name);
    }
}

static int transfer_status(lua_State *L) {
    struct lua_transfer *transfer = check_transfer(L);
    int status = http_status(transfer->http);
    if (!status) return push_nothing(L, transfer->http);
    transfer->head_told = true;
    lua_pushinteger(L, status);
    push_headers(L, transfer->http);
    lua_pushboolean(L, http_is_events(transfer->http));
    return 3;
}

static int transfer_read(lua_State *L) {
    struct lua_transfer *transfer = check_transfer(L);
    size_t len;
    const char *bytes = http_peek(transfer->http, &len);
    if (!len) return push_nothing(L, transfer->http);
    lua_pushlstring(L, bytes, len);
    http_take(transfer->http, len);
    return 1;
}

static int transfer_event(lua_State *L) {
    struct lua_transfer *transfer = check_transfer(L);
    struct http_event event;
    if (!http_event(transfer->http, &event)) return push_nothing(L, transfer->http);
    lua_pushlstring(L, event.data, event.data_len);
    lua_pushlstring(L, event.type, event.type_len);
    lua_pushlstring(L, event.id, event.id_len);
    http_event_take(transfer->http);
    return 3;
}

static int transfer_pick(lua_State *L) {
    struct lua_transfer *transfer = check_transfer(L);
    struct json_picker *picker = json_check_picker(L, 2);
    struct http_event event;
    if (!http_event(transfer->http, &event)) return push_nothing(L, transfer->http);
    lua_settop(L, 2);
    lua_pushboolean(L, 1);
    if (json_pick(L, picker, event.data, event.data_len)) {
        http_event_take(transfer->http);
        return lua_gettop(L) - 2;
    }
    lua_pushboolean(L, 0);
    lua_pushlstring(L, event.data, event.data_len);
    lua_pushlstring(L, event.type, event.type_len);
    http_event_take(transfer->http);
    return 3;
}

static int transfer_alive(lua_State *L) {
    http_alive(check_transfer(L)->http);
    return 0;
}

/* ---- waiting and closing ------------------------------------------------------------------- */

static bool has_news(const struct lua_transfer *transfer) {
    const struct http_transfer *http = transfer->http;
    if (!http || http_ended(http)) return true;
    if (!transfer->head_told) return http_status(http) != 0;
    struct http_event event;
    size_t len;
    http_peek(http, &len);
    return len > 0 || http_event(http, &event);
}

static int transfer_arm(lua_State *L) {
    struct lua_transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
    uint64_t token = (uint64_t)luaL_checkinteger(L, 2);
    bool ready = has_news(transfer);
    if (!ready && transfer->waiter.token && transfer->waiter.token != token)
        return luaL_error(L, "another task is waiting for this HTTP response already");
    transfer->waiter.token = ready ? 0 : token;
    lua_pushboolean(L, ready);
    return 1;
}

static int transfer_disarm(lua_State *L) {
    struct lua_transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
    transfer->waiter.token = 0;
    return 0;
}

static int transfer_close(lua_State *L) {
    struct lua_transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
    http_close(transfer->http);
    transfer->http = NULL;
    waiter_wake(&transfer->waiter); /* whoever waits for it finds it closed */
    return 0;
}

/* ---- the part ------------------------------------------------------------------------------ */

static const char *setting_field(lua_State *L, const char *name) {
    size_t len;
    return text_field(L, name, &len);
}

static int http_configure_lua(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct http_settings settings = {0};
    settings.no_environment =
        lua_getfield(L, 1, "environment") == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    settings.proxy = setting_field(L, "proxy");
    settings.no_proxy = setting_field(L, "no_proxy");
    settings.ca_file = setting_field(L, "ca_file");
    client_of(L);
    lua_pushboolean(L, configure(core_get(L), &settings));
    return 1;
}

static int http_stats_lua(lua_State *L) {
    const struct http_client *client = core_get(L)->http;
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, client ? (lua_Integer)http_client_transfers(client) : 0);
    lua_setfield(L, -2, "transfers");
    lua_pushinteger(L, client ? (lua_Integer)http_client_sockets(client) : 0);
    lua_setfield(L, -2, "sockets");
    return 1;
}

static int http_version_lua(lua_State *L) {
    const char *why;
    const struct curl_api *curl = curl_api_get(&why);
    if (!curl) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    lua_pushstring(L, curl->version->version);
    return 1;
}

void core_close_http(struct core *core) {
    http_client_free(core->http);
    core->http = NULL;
}

static const luaL_Reg METHODS[] = {
    {"status", transfer_status},
    {"read", transfer_read},
    {"event", transfer_event},
    {"pick", transfer_pick},
    {"alive", transfer_alive},
    {"arm", transfer_arm},
    {"disarm", transfer_disarm},
    {"close", transfer_close},
    {"__gc", transfer_close},
    {"__close", transfer_close},
    {NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
    {"open", http_open_lua},
    {"configure", http_configure_lua},
    {"stats", http_stats_lua},
    {"version", http_version_lua},
    {NULL, NULL},
};

int bind_http(lua_State *L) {
    bind_class(L, TRANSFER, METHODS);
    luaL_getmetatable(L, TRANSFER);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, METHODS, 1); /* once more, with the class for check_transfer */
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}

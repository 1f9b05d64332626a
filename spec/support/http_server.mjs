// http_server.mjs - an HTTP server for specs that does byte for byte what a request tells it to.
//
//   node spec/support/http_server.mjs [CERT.pem KEY.pem]
//
// Prints one line, `ready {"http":PORT, ...}` with the ports of what follows, and ends when its
// standard input does. All ports are on 127.0.0.1.
//
// http, https: a request with the header x-script (a JSON list of steps) is answered by these steps:
//   ["send", text] (latin1: one character, one byte)   ["repeat", n, text] (waits for the reader)
//   ["wait", ms]   ["cut"] (reset)   ["end"] (close after what was sent)   ["stall"] (for ever)
//   ["go", name] (until somebody gets /go?name)
// The connection stays open after the last step, for the next request. Without a script:
//   /echo       what was asked: {method, path, headers: [[name, value]...], body, connection, nth}
//   /closed?id  answers once the connection of the request with the header x-id: ID has closed
//   /go?name    lets scripts go on
//   /stats      {connections, open, requests}
//
//   /http2      of the http2 server: {sessions, open, closed: [x-id of each stream cut by the client]}
//
// http2 (TLS, ALPN h2 only): /events?n=&delay= a stream of events, /big?bytes= a body, /hang nothing.
//
// proxy: a forward proxy with CONNECT; /stats on itself: {requests: ["CONNECT host:port", ...]}.
// For the host auth.test it wants the credentials u:p, and refuses CONNECT. It sends everything to
// 127.0.0.1, whatever name is asked for. socks: SOCKS5 without authentication, likewise.
// silent: takes everything and never answers.

import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";

const [certFile, keyFile] = process.argv.slice(2);
const gates = new Map(); // name -> waiting functions
const closed = new Map(); // id -> {done, waiting}
const stats = { connections: 0, open: 0, requests: 0 };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function gate(name) {
  if (!gates.has(name)) gates.set(name, []);
  return new Promise((go) => gates.get(name).push(go));
}

function closing(id) {
  if (!closed.has(id)) closed.set(id, { done: false, waiting: [] });
  return closed.get(id);
}

function respond(socket, value, type = "application/json") {
  const body = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`);
  socket.write(body);
}

function drained(socket) {
  return new Promise((go) => {
    const done = () => {
      socket.off("drain", done).off("close", done);
      go();
    };
    socket.on("drain", done).on("close", done);
  });
}

async function repeat(socket, n, text) {
  const bytes = Buffer.from(text, "latin1");
  for (let i = 0; i < n && !socket.destroyed; i++) {
    if (!socket.write(bytes)) await drained(socket);
  }
}

async function follow(socket, script) {
  for (const [step, a, b] of script) {
    if (socket.destroyed) return;
    if (step === "send") socket.write(Buffer.from(a, "latin1"));
    else if (step === "repeat") await repeat(socket, a, b);
    else if (step === "wait") await sleep(a);
    else if (step === "go") await gate(a);
    else if (step === "end") socket.end();
    else if (step === "cut") socket.resetAndDestroy ? socket.resetAndDestroy() : socket.destroy();
    else if (step === "stall") await new Promise(() => {});
    else throw new Error("unknown step " + step);
  }
}

async function answer(socket, request, state) {
  const [path, query] = request.path.split("?");
  stats.requests++;
  state.nth++;
  const id = request.header("x-id");
  if (id !== undefined) state.ids.push(id);
  const script = request.header("x-script");
  if (script !== undefined) return follow(socket, JSON.parse(script));
  if (path === "/closed") {
    const record = closing(query);
    if (!record.done) await new Promise((go) => record.waiting.push(go));
    return respond(socket, "closed", "text/plain");
  }
  if (path === "/go") {
    for (const go of gates.get(query) ?? []) go();
    gates.delete(query);
    return respond(socket, "gone", "text/plain");
  }
  if (path === "/stats") return respond(socket, stats);
  if (path === "/http2") return respond(socket, h2);
  const { method, headers, body } = request;
  respond(socket, { method, path: request.path, headers, body: body.toString("latin1"), connection: state.number, nth: state.nth });
}

// One whole request at the start of `bytes`, or undefined.
function parse(bytes) {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first, ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const [method, path] = first.split(" ");
  const headers = lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
  const header = (name) => headers.find(([n]) => n.toLowerCase() === name)?.[1];
  const length = Number(header("content-length") ?? 0);
  if (bytes.length < end + 4 + length) return undefined;
  return { method, path, headers, header, body: bytes.subarray(end + 4, end + 4 + length), size: end + 4 + length };
}

function serve(socket) {
  const state = { number: ++stats.connections, nth: 0, ids: [] };
  let bytes = Buffer.alloc(0), busy = false;
  socket.setNoDelay(true);
  stats.open++;
  async function next() {
    if (busy) return;
    busy = true;
    for (let request; (request = parse(bytes)); ) {
      bytes = bytes.subarray(request.size);
      await answer(socket, request, state);
    }
    busy = false;
  }
  socket.on("data", (more) => {
    bytes = Buffer.concat([bytes, more]);
    if (bytes[0] === 22) return socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"); // TLS, not for this port
    next();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    stats.open--;
    for (const id of state.ids) {
      const record = closing(id);
      record.done = true;
      record.waiting.forEach((go) => go());
    }
  });
}

// ---- HTTP/2 ----------------------------------------------------------------------------------

const h2 = { sessions: 0, open: 0, closed: [] };

async function onStream(stream, headers) {
  const url = new URL(headers[":path"], "https://x");
  const number = (name) => Number(url.searchParams.get(name) ?? 0);
  stream.on("error", () => {});
  stream.on("close", () => {
    if (stream.rstCode !== 0 && headers["x-id"]) h2.closed.push(headers["x-id"]);
  });
  if (url.pathname === "/hang") return;
  if (url.pathname === "/big") {
    stream.respond({ ":status": 200, "content-type": "application/octet-stream" });
    const piece = Buffer.alloc(16384, "x");
    for (let left = number("bytes"); left > 0 && !stream.destroyed; left -= piece.length) {
      if (!stream.write(left < piece.length ? piece.subarray(0, left) : piece)) await drained(stream);
    }
    return stream.end();
  }
  stream.respond({ ":status": 200, "content-type": "text/event-stream" });
  for (let i = 1; i <= number("n") && !stream.destroyed; i++) {
    stream.write(`data: ${i}\n\n`);
    if (number("delay")) await sleep(number("delay"));
  }
  stream.end();
}

function onSession(session) {
  h2.sessions++;
  h2.open++;
  session.on("error", () => {});
  session.on("close", () => h2.open--);
}

// ---- proxies -----------------------------------------------------------------------------------

const proxied = [];

function join(a, b) {
  a.pipe(b);
  b.pipe(a);
  for (const [one, other] of [[a, b], [b, a]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
}

// Whatever name is asked for: it is on this machine.
function onProxyRequest(request, response) {
  if (request.url === "/stats") {
    response.setHeader("Content-Type", "application/json");
    return response.end(JSON.stringify({ requests: proxied }));
  }
  proxied.push(`${request.method} ${request.url}`);
  const target = new URL(request.url);
  if (target.hostname === "auth.test" && request.headers["proxy-authorization"] !== "Basic dTpw") {
    return response.writeHead(407).end();
  }
  const { method, headers } = request;
  const options = { host: "127.0.0.1", port: target.port, path: target.pathname + target.search, method, headers };
  const upstream = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders).flushHeaders();
    answer.on("error", () => response.destroy()).pipe(response);
  });
  upstream.on("error", () => response.destroy());
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
}

function onProxyConnect(request, socket) {
  proxied.push(`CONNECT ${request.url}`);
  if (request.url.startsWith("auth.test:")) {
    return socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  }
  const upstream = net.connect(Number(request.url.split(":").pop()), "127.0.0.1", () => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    join(socket, upstream);
  });
  upstream.on("error", () => socket.destroy());
}

function onSocks(socket) {
  socket.on("error", () => {});
  socket.once("data", () => {
    socket.write(Buffer.from([5, 0]));
    socket.once("data", (ask) => {
      const name = ask[3] === 3 ? ask.toString("latin1", 5, 5 + ask[4]) : ask.subarray(4, 8).join(".");
      const port = ask.readUInt16BE(ask.length - 2);
      proxied.push(`SOCKS ${name}:${port}`);
      const upstream = net.connect(port, "127.0.0.1", () => {
        socket.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
        join(socket, upstream);
      });
      upstream.on("error", () => socket.destroy());
    });
  });
}

// ---- starting ----------------------------------------------------------------------------------

const listen = (server) => new Promise((done) => server.listen(0, "127.0.0.1", 1024, () => done(server.address().port)));

const ports = {
  http: await listen(net.createServer(serve)),
  silent: await listen(net.createServer((socket) => socket.on("error", () => {}).resume())),
  proxy: await listen(http.createServer(onProxyRequest).on("connect", onProxyConnect)),
  socks: await listen(net.createServer(onSocks)),
};
if (certFile) {
  const secure = { cert: fs.readFileSync(certFile), key: fs.readFileSync(keyFile) };
  ports.https = await listen(tls.createServer(secure, serve).on("tlsClientError", () => {}));
  const server = http2.createSecureServer(secure);
  server.on("session", onSession).on("stream", onStream).on("sessionError", () => {});
  ports.http2 = await listen(server);
}
console.log("ready " + JSON.stringify(ports));
process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();

// ajv_oracle.mjs - what Ajv (2020-12) says about schemas and values.
//
//   node ajv_oracle.mjs NODE_MODULES FILE
//
// FILE has one JSON object a line, {"schema": ..., "values": [...]}; for each, one line is printed:
// a JSON list of booleans, or a string, the reason why the schema was refused.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, file] = process.argv.slice(2);
const Ajv2020 = createRequire(join(resolve(modules), "x.js"))("ajv/dist/2020").default;

const OPTIONS = { strict: false, validateFormats: false, logger: false, ownProperties: true };
const PER_INSTANCE = 200; // making one is slow, and it keeps every schema

let ajv;
for (const [index, line] of readFileSync(file, "utf8").split("\n").entries()) {
  if (line === "") continue;
  if (index % PER_INSTANCE === 0) ajv = new Ajv2020(OPTIONS);
  const { schema, values } = JSON.parse(line);
  let answer;
  try {
    const validate = ajv.compile(schema);
    answer = values.map((value) => validate(value));
  } catch (error) {
    answer = String(error.message);
  }
  console.log(JSON.stringify(answer));
}

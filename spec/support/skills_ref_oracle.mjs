// skills_ref_oracle.mjs - what skills-ref says about skill directories.
//
//   node skills_ref_oracle.mjs NODE_MODULES FILE
//
// FILE has the path of a directory in each line; for each, one line is printed: a JSON list of what is wrong.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, file] = process.argv.slice(2);
const { validate } = await import(pathToFileURL(join(resolve(modules), "skills-ref/dist/index.js")));

for (const directory of readFileSync(file, "utf8").split("\n")) {
  if (directory !== "") console.log(JSON.stringify(await validate(directory)));
}

// The API's own description as a page; nothing is fetched from anywhere else.

import { $, element } from "./page.js";

const api = await (await fetch("/api/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);
const kind = (schema) => {
  const found = resolve(schema) ?? {};
  if (found.anyOf) return found.anyOf.map(kind).join(" or ");
  if (found.enum) return found.enum.join(" | ");
  return found.type ?? "any";
};
const range = (schema = {}) => Object.entries(schema).filter(([key]) => /imum|Length|pattern|default/i.test(key)).map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(", ");

$("about").textContent = `${api.info.description} Version ${api.info.version}.`;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const card = element("details", "", { className: "operation" });
    const title = element("summary");
    title.append(element("kbd", method.toUpperCase()), element("strong", ` ${path} `), element("span", (operation.description ?? operation.summary).split("\n")[0]));
    const list = element("dl");
    for (const given of operation.parameters ?? []) {
      list.append(element("dt", `${given.name} (${given.in}${given.required ? "" : ", optional"})`), element("dd", [kind(given.schema), range(given.schema)].filter(Boolean).join("; ")));
    }
    const body = resolve(operation.requestBody?.content?.["application/json"]?.schema);
    for (const [name, schema] of Object.entries(body?.properties ?? {})) {
      list.append(element("dt", `${name} (body${body.required?.includes(name) ? "" : ", optional"})`), element("dd", [kind(schema), range(schema)].filter(Boolean).join("; ")));
    }
    list.append(element("dt", "answers"), element("dd", Object.keys(operation.responses).join(", ")));
    card.append(title, list);
    $("paths").append(card);
  }
}

// OpenAI's client for JavaScript, as it is.
import { createReadStream } from "node:fs";
import OpenAI from "openai";
import { serve } from "../calls.mjs";

const open = ({ base_url, api_key, ...options }) => new OpenAI({ baseURL: base_url, apiKey: api_key, ...options });

function told({ data, _request_id, usage, omixa, ...rest }) {
  return { pictures: data.map((picture) => picture.b64_json), request_id: _request_id, usage, omixa, ...rest };
}

function edit({ client, images, mask, ...fields }) {
  const files = images.map((path) => createReadStream(path));
  if (mask !== undefined) fields.mask = createReadStream(mask);
  return open(client).images.edit({ image: files.length > 1 ? files : files[0], ...fields });
}

async function listed(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

await serve(
  {
    generate: async ({ client, ...fields }) => told(await open(client).images.generate(fields)),
    edit: async (fields) => told(await edit(fields)),
    stream: async ({ client, ...fields }) => listed(await open(client).images.generate({ ...fields, stream: true })),
    stream_edit: async (fields) => listed(await edit({ ...fields, stream: true })),
    models: async ({ client }) => (await listed(await open(client).models.list())).map((model) => model.id),
    model: async ({ client, model }) => open(client).models.retrieve(model),
  },
  ({ status, code, param, type, requestID }) => ({ status, code, param, type, request_id: requestID }),
);

// Vercel's AI SDK as it is, with its provider for OpenAI and with the one for services like it.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import { serve } from "../calls.mjs";

const providers = {
  openai: ({ base_url, api_key }) => createOpenAI({ baseURL: base_url, apiKey: api_key }),
  compatible: ({ base_url, api_key }) =>
    createOpenAICompatible({ name: "omixa", baseURL: base_url, apiKey: api_key }),
};

async function generate({ client, provider, model, images, mask, prompt, retries, ...fields }) {
  if (images !== undefined) {
    const read = (path) => readFileSync(path);
    prompt = { text: prompt, images: images.map(read), mask: mask && read(mask) };
  }
  if (retries !== undefined) fields.maxRetries = retries;
  const made = await generateImage({ model: providers[provider](client).imageModel(model), prompt, ...fields });
  return {
    pictures: made.images.map((image) => image.base64),
    media_types: made.images.map((image) => image.mediaType),
    warnings: made.warnings,
    usage: made.usage,
    request_ids: made.responses.map((response) => response.headers["x-request-id"]),
    costs: made.responses.map((response) => response.headers["omixa-cost"]),
  };
}

await serve({ generate, edit: generate }, (error) => {
  const { statusCode, data, isRetryable } = error.lastError ?? error;
  return { status: statusCode, code: data?.error?.code, retryable: isRetryable, tries: error.errors?.length };
});

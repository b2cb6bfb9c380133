// LangChain's tool for OpenAI's pictures in JavaScript, as it is.
import { DallEAPIWrapper } from "@langchain/openai";
import { serve } from "../calls.mjs";

async function generate({ client, prompt, ...fields }) {
  const { base_url, api_key } = client;
  const tool = new DallEAPIWrapper({ apiKey: api_key, baseUrl: base_url, ...fields });
  const made = await tool.invoke(prompt);
  return { pictures: Array.isArray(made) ? made.map((part) => part.image_url) : [made] };
}

await serve({ generate }, ({ status, code, param }) => ({ status, code, param }));

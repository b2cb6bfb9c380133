// Reads calls of a client library as lines of JSON, makes one after the other, and answers each with a line of JSON.
import { createInterface } from "node:readline";

// What libraries print is not an answer.
console.log = console.info = console.error;

export async function serve(calls, describe) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, ...fields } = JSON.parse(line);
    let answer;
    try {
      answer = { made: await calls[call](fields) };
    } catch (error) {
      answer = { error: { name: error.name, message: error.message, ...describe(error) } };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

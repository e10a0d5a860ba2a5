// What is asked of every answer, good or bad.
import assert from "node:assert/strict";
import { WireFormat } from "@lodestar/api";

// An answer that holds an object of the fork: in the form asked for, named by the fork, and the very bytes or the very
// JSON that Lodestar's type writes of what it read. Gives the object.
export function written(answer, form, fork, type) {
  answer.assertOk();
  assert.equal(answer.status, 200);
  assert.equal(answer.wireFormat(), form);
  assert.equal(answer.headers.get("eth-consensus-version"), fork);
  assert.equal(answer.meta().version, fork);
  const value = answer.value();
  if (form === WireFormat.ssz) {
    assert.ok(Buffer.from(type.serialize(value)).equals(answer.ssz()), "other bytes than Lodestar writes");
  } else {
    assert.deepEqual(answer.json(), { version: fork, data: lowered(type.toJson(value)) });
  }
  return value;
}

// JSON with addresses as the relay writes them, which Lodestar writes with the capitals of their checksum (EIP-55).
export function lowered(json) {
  return JSON.parse(JSON.stringify(json), (_, value) =>
    typeof value === "string" && value.startsWith("0x") ? value.toLowerCase() : value,
  );
}

// A refusal: the status, and `{code, message}` that Lodestar can show. Gives the message.
export async function refusal(answer, status) {
  assert.equal(answer.status, status, await answer.errorBody());
  const { code, message, ...rest } = JSON.parse(await answer.errorBody());
  assert.deepEqual([code, rest], [status, {}]);
  assert.ok(typeof message === "string" && message !== "", "no message");
  assert.ok(answer.error().message.includes(message));
  return message;
}

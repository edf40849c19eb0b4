/**
 * Which sessions this browser's tabs use. A tab that is closed says nothing, and its session would keep its share of
 * the server until it is idle for long: the next page that opens one gives it back.
 * @module
 */
import { request, sessionPath } from "./api.js";

const KEY = "marotte.sessions";
const lock = (id) => `marotte.${id}`;
const known = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");

/** Say that this tab uses a session, until the tab is gone or `release` is called. @param {string} id */
export function hold(id) {
  if (!navigator.locks) return;
  localStorage.setItem(KEY, JSON.stringify([...new Set([...known(), id])].slice(-16)));
  navigator.locks.request(lock(id), { mode: "shared" }, () => new Promise((resolve) => held.set(id, resolve)));
}

/** @param {string} id */
export function release(id) {
  held.get(id)?.();
  held.delete(id);
}

/** End the sessions that no tab holds. */
export async function sweep() {
  if (!navigator.locks) return;
  const now = await navigator.locks.query();
  const used = new Set([...(now.held ?? []), ...(now.pending ?? [])].map(({ name }) => name));
  const left = known().filter((id) => !used.has(lock(id)));
  localStorage.setItem(KEY, JSON.stringify(known().filter((id) => used.has(lock(id)))));
  await Promise.allSettled(left.map((id) => request("DELETE", sessionPath(id))));
}

/** @type {Map<string, () => void>} */
const held = new Map();

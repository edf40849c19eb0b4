/**
 * The server's HTTP interface: requests with the token of the page's address, and its one-line errors as exceptions.
 * @module
 */

const token = new URLSearchParams(location.search).get("token");

/** A request that the server refused (status), or that did not reach it (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} reason */
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

/**
 * @param {string} path relative to the page
 * @returns {URL} with the token, where there is one
 */
export function address(path) {
  const url = new URL(path, document.baseURI);
  if (token) url.searchParams.set("token", token);
  return url;
}

/** @param {string} path @returns {URL} of a WebSocket */
export function socketAddress(path) {
  const url = address(path);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/** @param {string} id @param {string} [what] @returns {string} */
export const sessionPath = (id, what = "") => `v1/sessions/${encodeURIComponent(id)}${what}`;

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body] sent as JSON
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} the answer's JSON, null where it has none
 */
export async function request(method, path, body, signal) {
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) };
  const url = new URL(path, document.baseURI);
  let response;
  try {
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the server does not answer");
  }
  const text = await response.text();
  const answer = parsed(text);
  if (!response.ok) throw new ApiError(response.status, answer?.error ?? `the server says ${response.status}`);
  return answer;
}

/**
 * Send a file, and tell how far that is.
 * @param {string} path
 * @param {Blob} file
 * @param {(share: number) => void} progress called with 0 to 1
 * @param {AbortSignal} signal breaks it off
 * @returns {Promise<any>} the answer's JSON
 */
export function upload(path, file, progress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", new URL(path, document.baseURI));
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    if (token) sending.setRequestHeader("Authorization", `Bearer ${token}`);
    sending.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    sending.onabort = () => reject(signal.reason);
    sending.onerror = () => reject(new ApiError(0, "the file did not reach the server"));
    sending.onload = () => {
      const answer = parsed(sending.responseText);
      if (sending.status < 300) resolve(answer);
      else reject(new ApiError(sending.status, answer?.error ?? `the server says ${sending.status}`));
    };
    sending.send(file);
  });
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

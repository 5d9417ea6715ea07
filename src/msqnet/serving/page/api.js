/** Talks to the server. Addresses are relative, so that the page works below any path. */

const BASE = new URL("api/v1/", document.baseURI);
const POLL_MILLISECONDS = 400;

/** An error response of the server. */
export class ServerError extends Error {
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.limit = detail.limit ?? null;
  }
}

export function address(path) {
  return new URL(path, BASE).href;
}

const UNREACHABLE = {
  code: "unreachable",
  message: "The server cannot be reached. Check the connection and try again.",
};

function errorOf(status, text) {
  try {
    return new ServerError(status, JSON.parse(text).error);
  } catch {
    return new ServerError(status, {
      code: "unexpected",
      message: `The server responded with status ${status} and no explanation.`,
    });
  }
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, UNREACHABLE);
  }
  if (!response.ok) throw errorOf(response.status, await response.text());
  return response;
}

export async function getJson(path, signal = undefined) {
  return (await send(path, { signal })).json();
}

export async function signIn(token) {
  await send("session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

export async function takeExample(name, options) {
  const response = await send(`examples/${encodeURIComponent(name)}/predictions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(options),
  });
  return response.json();
}

export async function remove(id) {
  await send(`predictions/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Send a file; `onProgress` gets the share that was sent. Aborted by `signal`. */
export function upload(file, fields, onProgress, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address("predictions"));
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    request.onload = () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(errorOf(request.status, request.responseText));
    };
    request.onerror = () => reject(new ServerError(0, UNREACHABLE));
    request.onabort = () => reject(new DOMException("withdrawn", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export function pause(milliseconds, signal = undefined) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("withdrawn", "AbortError"));
    });
  });
}

/** Poll a prediction until it is finished; a lost connection is tried again. */
export async function follow(id, onStatus, signal) {
  for (let failures = 0; ; ) {
    try {
      const status = await getJson(`predictions/${encodeURIComponent(id)}`, signal);
      failures = 0;
      onStatus(status);
      if (status.state !== "queued" && status.state !== "running") return status;
    } catch (error) {
      if (error.status !== 0 || ++failures > 10) throw error;
    }
    await pause(POLL_MILLISECONDS * (1 + failures), signal);
  }
}

/** Request a file until it is made; `onStatus` gets the progress. */
export async function whenMade(path, onStatus, options = {}) {
  for (;;) {
    const response = await send(path, options);
    if (response.status !== 202) return response;
    onStatus(await response.json());
    await pause(POLL_MILLISECONDS, options.signal);
  }
}

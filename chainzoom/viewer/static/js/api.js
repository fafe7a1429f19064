// The server's HTTP API. Every failure becomes an Error with the server's one line and the status.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The viewer's server does not answer. Is it still running?", 0);
  }
  if (response.ok) return response;
  let text = response.statusText;
  try {
    const { detail } = await response.json();
    text = typeof detail === "string" ? detail : "The server did not understand this request.";
  } catch { /* no JSON: the status says enough */ }
  throw new ApiError(text, response.status);
}

export const get = async (path, options) => (await call(path, options)).json();

export const post = async (path, body) =>
  (await call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();

export async function upload(file) {
  return (await call(`/photos?name=${encodeURIComponent(file.name.slice(-150))}`, { method: "POST", body: file })).json();
}

// Uploads the file of an import straight to the bucket, with a progress bar. Without this script the
// page leads to a plain form.

const form = document.getElementById("upload");
const { prefix } = document.body.dataset;

async function ask(path, body, headers = {}) {
  const response = await fetch(prefix + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.code);
  return answer;
}

// Not `fetch`, which tells no progress of what it sends.
function put({ url, headers }, file, report) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) {
      if (name !== "Content-Length") request.setRequestHeader(name, value); // the browser's own
    }
    request.upload.addEventListener("progress", ({ loaded, total }) => report(loaded, total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve();
      else reject(new Error(`status ${request.status}`));
    });
    request.addEventListener("error", () => reject(new Error("no connection")));
    request.send(file);
  });
}

function show(title, percent) {
  document.getElementById("upload-progress").hidden = false;
  document.getElementById("upload-title").textContent = title;
  const shown = new Intl.NumberFormat(document.documentElement.lang, { style: "percent" });
  document.getElementById("upload-percent").textContent = shown.format(percent / 100);
  form.querySelector("progress").value = percent;
}

function fail(text) {
  document.getElementById("upload-progress").hidden = true;
  const notice = document.getElementById("upload-failed");
  notice.textContent = text;
  notice.hidden = false;
  form.querySelector("button").disabled = false;
}

async function upload(file) {
  const { uploading, starting } = form.dataset;
  show(uploading, 0);
  const { id, upload } = await ask("/v1/imports", { filename: file.name, size: file.size });
  await put(upload, file, (loaded, total) => show(uploading, Math.floor((loaded / total) * 100)));
  show(starting, 100);
  // The same key for every try: a lost answer must not lead to a second task.
  await ask(`/v1/imports/${id}/start`, {}, { "Idempotency-Key": id });
  location.assign(`${prefix}/imports/${id}`);
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  event.stopPropagation(); // the page's own script would wait for the next page
  const [file] = form.elements.file.files;
  document.getElementById("upload-failed").hidden = true;
  if (file.size > Number(form.dataset.maxBytes)) return fail(form.dataset.tooLarge);
  form.querySelector("button").disabled = true;
  try {
    await upload(file);
  } catch (error) {
    fail(error.message === "upload_too_large" ? form.dataset.tooLarge : form.dataset.failed);
  }
});
if (form) {
  form.hidden = false;
  document.getElementById("without-script").hidden = true;
}

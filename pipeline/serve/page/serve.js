"use strict";
// The page of dferc-serve: choose or record a file, upload it, watch the job, show the result. Text of others is only
// ever set as text.

const STEPS = {
  open: "Reading the file", transcript: "Transcript", text: "Words", visual: "Faces", audio: "Voice", emotions: "Emotions",
};
const FILES = {
  "emotions.json": "JSON", "emotions.csv": "CSV", "emotions.srt": "SRT", "emotions.vtt": "WebVTT", "emotions.eaf": "ELAN",
  "emotions.TextGrid": "Praat", "index.html": "Page",
};
const ARCHIVE = "results.zip";
const LANGUAGES = "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh";
const NOTHING = "Drop a video or a sound file here";
const POLL_MS = 400;

const element = (id) => document.getElementById(id);
const show = (id, visible = true) => { element(id).hidden = !visible; };
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const megabytes = (bytes) => (bytes < 1e3 ? `${bytes} bytes` : bytes < 1e6 ? `${number(bytes / 1e3, 1)} kB` : `${number(bytes / 1e6, bytes % 1e6 ? 1 : 0)} MB`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let limit = Infinity; // bytes of an upload
let order = []; // names of the steps of the model
let media = null; // the chosen or recorded file
let stopWork = null; // ends the upload or the job

function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole / 60) % 60).padStart(2, "0")} min`;
}

function report(message) {
  element("error").textContent = message;
  show("error", message !== "");
}

function inform(message) {
  element("news").textContent = message;
  show("news", message !== "");
}

// ------------------------------------------------------------------------------------------------- the file

function choose(file) {
  media = null;
  element("go").disabled = true;
  element("chosen").textContent = NOTHING;
  if (!file) return;
  if (file.size === 0) return report(`${file.name} is empty. Choose another file.`);
  if (file.size > limit) return report(`${file.name} has ${megabytes(file.size)}; at most ${megabytes(limit)} are accepted.`);
  report("");
  media = file;
  element("chosen").textContent = `${file.name} (${megabytes(file.size)})`;
  element("go").disabled = false;
}

function watchDrops() {
  const zone = element("drop");
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); zone.classList.toggle("over", depth > 0); };
  document.addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser would open the file
    depth = 0;
    over(0);
    if (!element("form").hidden && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
  element("media").addEventListener("change", (event) => choose(event.target.files[0]));
}

async function record() {
  report("");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true })
      .catch(() => navigator.mediaDevices.getUserMedia({ audio: true }));
  } catch (error) {
    return report(`No recording: ${error.message || error.name}. Allow this page to use camera and microphone, or choose a file.`);
  }
  const parts = [];
  const recorder = new MediaRecorder(stream);
  const preview = element("preview");
  preview.hidden = stream.getVideoTracks().length === 0;
  preview.srcObject = stream;
  preview.play().catch(() => {});
  show("camera");
  element("record").disabled = true;
  const begun = Date.now();
  const clock = setInterval(() => { element("clock").textContent = duration((Date.now() - begun) / 1000); }, 250);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    preview.srcObject = null;
    show("camera", false);
    element("record").disabled = false;
    const kind = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    choose(new File(parts, `recording.${kind}`, { type: recorder.mimeType }));
    element("go").focus();
  };
  recorder.start(1000);
  element("stop").onclick = () => recorder.stop();
  element("stop").focus();
}

// ------------------------------------------------------------------------------------------------- the work

function beginWork(name) {
  report("");
  inform("");
  show("form", false);
  show("work");
  element("steps").replaceChildren();
  element("work-title").textContent = name;
  element("work-title").focus();
}

function endWork(message = "", news = "") {
  stopWork = null;
  document.title = "Emotions of a video";
  history.replaceState(null, "", "/");
  show("work", false);
  show("result", false);
  show("start");
  show("form");
  element("page").removeAttribute("src");
  report(message);
  inform(news);
  element("main").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function announce(text) { // announced by screen readers, so only where it changes
  if (element("state").textContent !== text) element("state").textContent = text;
}

function drawSteps(steps) {
  const list = element("steps");
  while (list.children.length > steps.length) list.lastChild.remove();
  steps.forEach((step, index) => {
    let line = list.children[index];
    if (!line) {
      line = document.createElement("li");
      const bar = document.createElement("progress");
      bar.max = 1;
      line.append(document.createElement("span"), bar, document.createElement("span"));
      line.children[2].className = "time";
      list.append(line);
    }
    if (step.share === null) line.children[1].removeAttribute("value");
    else line.children[1].value = step.share;
    line.children[0].textContent = step.label;
    line.children[1].setAttribute("aria-label", step.label);
    line.classList.toggle("next", step.seconds === null);
    line.children[2].textContent =
      step.seconds === null ? "" : step.share === 1 ? duration(step.seconds) : step.left === null ? "…" : `${duration(step.left)} left`;
  });
}

function upload() {
  const form = new FormData();
  if (element("language").value) form.append("language", element("language").value);
  const transcript = element("transcript").files[0];
  if (transcript) form.append("transcript", transcript, transcript.name);
  form.append("media", media, media.name);
  beginWork(media.name);
  announce("Uploading");
  const request = new XMLHttpRequest(); // unlike fetch, it reports the progress of an upload
  const begun = Date.now();
  request.upload.onprogress = ({ loaded, total }) => {
    const seconds = (Date.now() - begun) / 1000;
    const share = total ? loaded / total : 0;
    drawSteps([{ label: "Upload", share, seconds, left: share ? (seconds * (1 - share)) / share : null }]);
  };
  request.onload = () => {
    const answer = parse(request.responseText);
    if (request.status !== 201) return endWork(answer.error || `The server refused the upload (${request.status}).`);
    history.pushState(null, "", `/jobs/${answer.id}`);
    watch(answer.id, { label: "Upload", share: 1, seconds: (Date.now() - begun) / 1000, left: 0 });
  };
  request.onerror = () => endWork("The upload was broken off: the server does not answer, or refused the file.");
  request.onabort = () => endWork("", "Cancelled. Nothing was kept.");
  stopWork = () => request.abort();
  request.open("POST", "/api/jobs");
  request.send(form);
}

function parse(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

async function watch(id, uploaded = null) {
  let gone = false;
  stopWork = async () => {
    gone = true;
    await fetch(`/api/jobs/${id}`, { method: "DELETE" }).catch(() => {});
    endWork("", "Cancelled. The upload was deleted.");
  };
  while (!gone) {
    const response = await fetch(`/api/jobs/${id}`).catch(() => null);
    if (gone) return;
    if (response === null) {
      announce("The server does not answer. If it was ended, everything is deleted; trying again …");
      await pause(2000);
      continue;
    }
    const job = parse(await response.text());
    if (!response.ok) return endWork(job.error);
    if (job.state === "failed") return endWork(job.message.includes(job.name) ? job.message : `${job.name}: ${job.message}`);
    if (job.state === "done") return showResult(job);
    if (element("work").hidden) beginWork(job.name);
    const steps = job.steps.map((step) => ({ label: STEPS[step.name] || step.name, share: step.seconds_left === null ? null : step.share, seconds: step.seconds, left: step.seconds_left }));
    const place = job.steps.length ? order.indexOf(job.steps.at(-1).name) : -1;
    const next = (job.steps.length && place < 0 ? [] : order.slice(place + 1)).map((name) => ({ label: STEPS[name], share: 0, seconds: null }));
    drawSteps([...(uploaded ? [uploaded] : []), ...steps, ...next]);
    const current = steps.at(-1);
    if (job.state === "waiting") announce(job.position === 1 ? "Waiting: next in the queue" : `Waiting: number ${job.position} in the queue`);
    else announce(current ? `Step ${steps.length} of ${steps.length + next.length}: ${current.label}` : "Starting");
    document.title = `${current ? `${current.label} ${number(100 * (current.share ?? 0))} %` : "Waiting"}: ${job.name}`;
    await pause(POLL_MS);
  }
}

// ------------------------------------------------------------------------------------------------- the result

function showResult(job) {
  stopWork = null;
  document.title = `Emotions of ${job.name}`;
  element("result-name").textContent = job.name;
  element("result-name").title = job.name;
  element("files").replaceChildren(...Object.keys(job.files).filter((name) => name !== ARCHIVE).map((name) => {
    const link = document.createElement("a");
    link.href = job.files[name];
    link.download = "";
    link.textContent = FILES[name] || name;
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  element("fetch").href = `${job.files[ARCHIVE]}?delete=true`;
  element("fetch").download = "";
  element("fetch").onclick = () => awaitDeletion(job.id);
  element("delete").onclick = async () => {
    await fetch(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
    endJob("Deleted: the upload and its result.");
  };
  const until = new Date(Date.now() + 1000 * job.seconds_to_deletion);
  element("until").textContent = `Will be deleted at ${until.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  element("page").title = `Emotions of ${job.name}`;
  element("page").src = `/jobs/${job.id}/page/index.html`;
  show("start", false);
  show("result");
  element("result-name").focus();
}

function endJob(news) {
  element("form").reset();
  choose(null);
  endWork("", news);
}

async function awaitDeletion(id) {
  for (let times = 0; times < 600; times++) {
    await pause(500);
    const response = await fetch(`/api/jobs/${id}`).catch(() => null);
    if (response && response.status === 404) return endJob("Downloaded, and deleted from the server.");
  }
}

// ------------------------------------------------------------------------------------------------- the start

async function start() {
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const unnamed = { ba: "Bashkir", bo: "Tibetan", jw: "Javanese" };  // not known to every browser, or by another code
  const languages = LANGUAGES.split(" ").map((code) => [unnamed[code] || names.of(code), code]);
  languages.sort(([one], [other]) => one.localeCompare(other));
  element("language").append(...languages.map(([name, code]) => new Option(name, code)));
  watchDrops();
  element("form").addEventListener("submit", (event) => { event.preventDefault(); if (media) upload(); });
  element("cancel").addEventListener("click", () => stopWork && stopWork());
  element("record").addEventListener("click", record);
  show("record", Boolean(navigator.mediaDevices && window.MediaRecorder)); // absent without https, but on localhost
  window.addEventListener("popstate", () => location.reload());
  const health = await fetch("/health").then((response) => response.json()).catch(() => null);
  if (!health) return report("The server does not answer. Was it ended?");
  order = ["open", "transcript", ...health.model.modalities, "emotions"];
  const id = location.pathname.match(/^\/jobs\/([\w-]+)$/);
  if (id) watch(id[1]);
  limit = health.limit_bytes;
  element("limit").textContent = `Up to ${megabytes(limit)}. Most formats of video and sound; also a transcript alone.`;
  element("keep").textContent = `${number(health.keep_minutes)} minutes`;
  element("model").textContent = ` · model ${health.model.name}, trained on ${health.model.corpus}`;
  show("speech", health.model.speech_problem !== "");
  const synthetic = health.model.synthetic;
  const sentences = synthetic.join("; ");
  element("synthetic").querySelector("span").textContent = `${sentences.charAt(0).toUpperCase()}${sentences.slice(1)}. Emotions of this model say nothing about real conversations.`;
  show("synthetic", synthetic.length > 0);
}

start();

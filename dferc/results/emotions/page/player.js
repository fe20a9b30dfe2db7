"use strict";
// Where the talk is: the position of the player, or one of our own where there is none or it cannot play.

const player = document.getElementById("player");
const trouble = document.getElementById("trouble");
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const watchers = []; // called with the seconds after each change

let seconds = 0;
let broken = !player;
const sources = [];

function tellWatchers() {
  for (const watch of watchers) watch(seconds);
}

/** Go to a time; a player that is not ready goes there once it is. */
function seek(time) {
  seconds = Math.min(Math.max(time, 0), LENGTH_S);
  if (!broken) player.currentTime = seconds;
  tellWatchers();
}

function playOrStop() {
  if (broken) return;
  if (player.paused) player.play().catch(() => {}); // refused where nobody has touched the page yet
  else player.pause();
}

/** The row that is spoken at a time, or the last one before it; -1 before the first. */
function rowAt(time) {
  let [low, high] = [0, TIMED.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (UTTERANCES[TIMED[middle]].start_s <= time + 0.001) low = middle + 1;
    else high = middle;
  }
  return low ? TIMED[low - 1] : -1;
}

function explain() {
  broken = true;
  trouble.hidden = false;
  trouble.textContent = `“${TALK.media.name}” cannot be played here: it is not beside this page, or this browser lacks its format. Timeline and transcript work without it.`;
  player.hidden = true;
}

if (player) {
  const embedded = document.getElementById("medium");
  if (embedded) {
    const bytes = Uint8Array.from(atob(embedded.textContent), (letter) => letter.charCodeAt(0));
    embedded.remove();
    player.src = URL.createObjectURL(new Blob([bytes], { type: embedded.dataset.kind }));
  }
  player.addEventListener("error", explain);
  if (player.error) explain();
  player.addEventListener("loadedmetadata", () => {
    if (seconds) player.currentTime = seconds;
    if (player.localName === "video" && !player.videoWidth) {
      trouble.hidden = false;
      trouble.textContent = `This browser plays the sound of “${TALK.media.name}”, but lacks the format of its picture.`;
    }
    if (player.videoWidth) player.style.setProperty("--shape", player.videoWidth / player.videoHeight);
  });
  const update = () => {
    seconds = player.currentTime;
    tellWatchers();
  };
  for (const event of ["timeupdate", "seeking"]) player.addEventListener(event, update);
  let drawing = 0; // the next frame, if there is one
  const frame = () => {
    drawing = 0;
    if (player.paused || STILL.matches) return;
    update();
    drawing = requestAnimationFrame(frame);
  };
  player.addEventListener("playing", () => {
    drawing ||= requestAnimationFrame(frame);
  });
}

"use strict";
// One rater's study. The server knows where the rater is; this page shows it and sends one action at a time.
const by = id => document.getElementById(id);
const here = location.pathname;
const low = [...document.querySelectorAll(".low")];
const panes = [...document.querySelectorAll(".pane")];
const MOST_ZOOM = 8;
let state = null, busy = true, started = false, since = 0, zoom = 0;

const address = (task, which) => `${here}${task}/${which}.png`;
const fetchEarly = task => ["left", "right", "lr"].forEach(which => { new Image().src = address(task, which); });

async function ask(path, options) {
  const answer = await fetch(here + path, options);
  const content = await answer.json();
  if (!answer.ok && !content.state) throw Object.assign(new Error(content.detail || answer.statusText), { final: answer.status < 500 });
  return content;
}

function tell(text) { by("message").textContent = text; }

// A whole number of screen pixels for each picture pixel, so that the browser invents none.
function fit() {
  const [width, height] = [by("left").naturalWidth, by("left").naturalHeight];
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  const room = Math.min((innerWidth / 2 - 24) * ratio / width, (innerHeight - 156) * ratio / height);
  const used = zoom || Math.max(1, Math.min(MOST_ZOOM, Math.floor(room)));
  document.querySelectorAll(".view img").forEach(image => {
    image.style.width = `${width * used / ratio}px`;
    image.style.height = `${height * used / ratio}px`;
  });
  by("zoom").textContent = `${used}×`;
  return used;
}

function enlarge(step) {
  zoom = Math.max(1, Math.min(MOST_ZOOM, fit() + step));
  fit();
}

async function show(next) {
  const moved = !state || state.task !== next.task || state.revision !== next.revision;
  state = next;
  document.title = by("question").textContent = state.question;
  by("progress").textContent = `${state.done} of ${state.total} answered`;
  by("filled").style.width = `${100 * state.done / Math.max(1, state.total)}%`;
  document.querySelectorAll(".ties").forEach(one => { one.hidden = !state.ties; });
  const ended = state.task === null, asked = !started && state.done === 0 && !ended;
  by("intro").hidden = !asked;
  by("end").hidden = !ended;
  by("stage").hidden = ended || asked;
  by("keys").hidden = asked;
  by("undo").disabled = state.undo === null;
  document.querySelectorAll("[data-choice], #hold").forEach(button => { button.disabled = ended; });
  if (!ended && moved) await load(state.task);
  busy = false;
}

async function load(task) {
  by("stage").classList.add("waiting");
  hold(false);
  by("left").src = address(task, "left");
  by("right").src = address(task, "right");
  low.forEach(image => { image.src = address(task, "lr"); });
  await Promise.all([by("left"), by("right"), ...low].map(image => image.decode()));
  fit();
  by("stage").classList.remove("waiting");
  since = performance.now();
  if (task + 1 < state.total) fetchEarly(task + 1);
}

async function act(choice) {
  if (busy || !state || (choice === "undo" ? state.undo === null : state.task === null || by("stage").hidden)) return;
  busy = true;
  const task = choice === "undo" ? state.undo : state.task;
  const seconds = choice === "undo" ? null : Math.round(performance.now() - since) / 1000;
  const id = [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, "0")).join("");
  const body = JSON.stringify({ id, revision: state.revision, task, choice, seconds });
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await ask("act", { method: "POST", headers: { "content-type": "application/json" }, body });
      tell(answer.message || "");
      return await show(answer.state || answer);
    } catch (error) {
      if (error.final) { busy = false; return tell(error.message); }
      tell(`Not stored yet (${error.message}). Trying again …`);
      await new Promise(done => setTimeout(done, Math.min(5000, 500 * 2 ** attempt)));
    }
  }
}

function hold(on) { by("stage").classList.toggle("showing-low", on); }

function start() {
  if (by("intro").hidden) return;
  started = true;
  since = performance.now();
  show(state).then(fit);
}

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", z: "undo", Z: "undo", Backspace: "undo" };
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "Enter" && !by("intro").hidden) { event.preventDefault(); return start(); }
  if (event.key === "l" || event.key === "L") return hold(true);
  if (event.key === "+" || event.key === "=") return enlarge(1);
  if (event.key === "-") return enlarge(-1);
  const choice = KEYS[event.key];
  if (!choice || (choice === "tie" && !state.ties)) return;
  event.preventDefault();
  act(choice);
});
addEventListener("keyup", event => { if (event.key === "l" || event.key === "L") hold(false); });
addEventListener("blur", () => hold(false));
addEventListener("resize", () => { if (state) fit(); });
document.querySelectorAll("[data-choice]").forEach(button => button.addEventListener("click", () => act(button.dataset.choice)));
by("undo").addEventListener("click", () => act("undo"));
by("start").addEventListener("click", start);
by("larger").addEventListener("click", () => enlarge(1));
by("smaller").addEventListener("click", () => enlarge(-1));
by("hold").addEventListener("pointerdown", () => hold(true));
["pointerup", "pointerleave", "pointercancel"].forEach(kind => by("hold").addEventListener(kind, () => hold(false)));
panes.forEach((pane, place) => pane.addEventListener("scroll", () => {
  panes[1 - place].scrollTo(pane.scrollLeft, pane.scrollTop);
}));
ask("state").then(show).catch(error => tell(error.message));

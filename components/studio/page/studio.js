"use strict";

// Sends a photo, asks for restorations, follows them, and shows what comes. `show` is slider.js's.
const at = (id) => document.getElementById(id);
const stage = document.querySelector(".stage");
const [left, right] = ["left", "right"].map((side) => document.querySelector(`select[data-side=${side}]`));
const PAUSE = 300; // ms between two questions how far a job is

let about = null; // what the server says of its model
let photo = null; // {id, width, height, name}
let job = null; // as the server last told
let chosen = null; // seed on the right
let turn = 0; // of uploads and jobs: what belongs to an older one is not shown

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer. Is `dp2o studio` still running?");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Error(told.message || `The studio answered with ${answer.status}.`);
  }
  return told;
}

function complain(error) {
  at("problem").textContent = error ? error.message : "";
  at("problem").hidden = !error;
}

async function begin() {
  about = await ask("/api/about");
  at("model").textContent = `model ${about.model} (${about.digest}), ${about.scale} times as wide and high`;
  at("seeds").max = about.most_seeds;
  at("dial").hidden = !(about.dial || about.base);
  if (!about.dial) {
    at("place").max = 1.5; // beyond 1 the alignment is exaggerated
  }
  at("format").replaceChildren(...about.formats.map((format) => new Option(format.slice(1).toUpperCase(), format)));
  moved();
}

function moved() {
  const value = Number(at("place").value);
  const aligned = about.dial ? "" : value === 1 ? ", as aligned" : value === 0 ? ", the base" : "";
  at("place-said").textContent = `${about.dial ? "preference" : "strength"} ${value.toFixed(2)}${aligned}`;
}

async function upload(file) {
  const mine = ++turn;
  complain(null);
  photo = null;
  at("go").disabled = true;
  at("told").textContent = `reading ${file.name} …`;
  showPreview(file);
  try {
    const told = await ask("/api/photos", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: file,
    });
    if (mine !== turn) {
      return;
    }
    photo = { ...told, name: file.name };
    const size = `${told.width} × ${told.height} px → ${told.width * about.scale} × ${told.height * about.scale} px`;
    at("told").textContent = `${file.name}: ${size}${told.was ? `, from ${told.was}` : ""}`;
    at("go").disabled = false;
  } catch (error) {
    if (mine === turn) {
      at("told").textContent = "";
      complain(error);
    }
  }
}

function showPreview(file) {
  const image = at("preview");
  URL.revokeObjectURL(image.src);
  image.onerror = () => (image.hidden = true); // a format that the browser does not know, and the studio may
  image.onload = () => (image.hidden = false);
  image.src = URL.createObjectURL(file);
}

async function restore() {
  const mine = ++turn;
  complain(null);
  const options = { photo: photo.id, seed: Number(at("seed").value), seeds: Number(at("seeds").value) };
  if (about.dial) {
    options.preference = Number(at("place").value);
  } else if (about.base) {
    options.strength = Number(at("place").value);
  }
  try {
    const headers = { "Content-Type": "application/json" };
    let told = await ask("/api/jobs", { method: "POST", headers, body: JSON.stringify(options) });
    clear();
    job = told;
    working(true);
    while (mine === turn && ["waiting", "running"].includes(told.state)) {
      follow(told);
      await new Promise((done) => setTimeout(done, PAUSE));
      told = await ask(`/api/jobs/${told.id}`);
    }
    if (mine === turn) {
      follow(told);
    }
  } catch (error) {
    if (mine === turn) {
      complain(error);
    }
  }
  if (mine === turn) {
    working(false);
  }
}

function working(now) {
  at("go").disabled = now || !photo;
  at("stop").hidden = !now;
  at("bar").hidden = !now;
}

function clear() {
  stage.querySelectorAll("img").forEach((image) => image.remove());
  at("variants").replaceChildren();
  at("note").textContent = "";
  at("result").hidden = true;
  chosen = null;
}

function follow(told) {
  job = { ...told, name: job.name || photo.name };
  at("bar").value = told.share;
  const over = { done: `restored in ${told.seconds} s`, cancelled: "stopped", failed: "" };
  at("doing").textContent = told.state in over ? over[told.state] : told.state === "waiting" ? "waiting" : told.doing;
  if (told.state === "failed") {
    complain(new Error(told.doing));
  }
  if (!told.seeds.length) {
    return;
  }
  at("result").hidden = false;
  at("note").textContent = told.note || ranking(told);
  variants();
  if (chosen === null || (told.state === "done" && told.rated.length && !at("variants").dataset.touched)) {
    choose(told.rated.length ? told.rated[0].seed : told.seeds[0]);
  }
  versions();
}

function ranking(told) {
  if (!told.rated.length) {
    return "";
  }
  const names = Object.keys(told.rated[0].scores).join(", ");
  return `Rewards are of these variants among each other, by ${names}, which need no HR; the best is first.`;
}

function variants() {
  const order = job.rated.length ? job.rated.map((one) => one.seed) : job.seeds;
  const box = at("variants");
  if (job.options.seeds === 1 || box.dataset.shown === `${job.id} ${order} ${job.rated.length}`) {
    return;
  }
  box.dataset.shown = `${job.id} ${order} ${job.rated.length}`;
  box.replaceChildren(...order.map(variant));
  mark();
}

function variant(seed) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.seed = seed;
  const image = document.createElement("img");
  image.src = `/api/jobs/${job.id}/thumbnail/${seed}`;
  image.alt = `seed ${seed}`;
  const rated = job.rated.find((one) => one.seed === seed);
  const said = document.createElement("span");
  said.className = "reward";
  said.textContent = rated ? `seed ${seed}: reward ${rated.reward.toFixed(3)}` : `seed ${seed}`;
  button.append(image, said);
  if (rated) {
    const scores = document.createElement("span");
    scores.className = "scores";
    scores.textContent = Object.entries(rated.scores).map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ");
    button.append(scores);
  }
  button.addEventListener("click", () => {
    at("variants").dataset.touched = "yes";
    choose(seed);
  });
  return button;
}

function mark() {
  for (const button of at("variants").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.seed) === chosen));
  }
}

// The versions that the slider compares: LR, base, and the chosen seed under the name "aligned".
function versions() {
  const present = { LR: "LR, bicubic", ...(job.base ? { base: "base" } : {}), aligned: "restored" };
  for (const [select, first] of [[left, "LR"], [right, "aligned"]]) {
    const value = select.value in present ? select.value : first;
    select.replaceChildren(...Object.entries(present).map(([name, said]) => new Option(said, name)));
    select.value = value;
  }
  for (const name of Object.keys(present)) {
    picture(name, `/api/jobs/${job.id}/view/${name === "aligned" ? chosen : name}`);
  }
  show(stage);
}

function picture(version, address) {
  let image = stage.querySelector(`img[data-version="${version}"]`);
  if (!image) {
    image = document.createElement("img");
    image.dataset.version = version;
    image.alt = version;
    image.draggable = false;
    image.addEventListener("load", sized);
    stage.prepend(image);
  }
  if (image.getAttribute("src") !== address) {
    image.src = address;
  }
}

function sized() {
  const image = stage.querySelector("img[data-version=aligned]");
  const full = at("zoom").value === "full";
  at("view").classList.toggle("full", full);
  const natural = image.naturalWidth / window.devicePixelRatio;
  const fitting = (window.innerHeight * 0.8 * image.naturalWidth) / image.naturalHeight;
  stage.style.width = full ? `${natural}px` : `min(100%, ${Math.min(fitting, Math.max(natural, 480))}px)`;
}

function choose(seed) {
  chosen = seed;
  mark();
  versions();
  offer();
}

// As a shell takes it.
function quoted(word) {
  return /^[\w.,:@/+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function offer() {
  const suffix = at("format").value;
  const stem = job.name.replace(/\.[^.]*$/, "");
  at("download").href = `/api/jobs/${job.id}/result/${chosen}${suffix}`;
  at("download").download = `${stem}-x${about.scale}${suffix}`;
  const { strength, preference } = job.options;
  const mixed = preference !== null ? ` --preference ${preference}` : strength !== 1 ? ` --strength ${strength}` : "";
  const model = about.usual ? "" : ` --model ${quoted(about.model)}`;
  const named = suffix === ".png" ? "" : ` -o ${quoted(`${stem}-x${about.scale}${suffix}`)}`;
  at("command").textContent = `dp2o upscale ${quoted(job.name)}${named}${model} --seed ${chosen}${mixed}`;
}

at("order").addEventListener("submit", (event) => {
  event.preventDefault();
  delete at("variants").dataset.touched;
  restore();
});
at("stop").addEventListener("click", () => ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(complain));
at("place").addEventListener("input", moved);
at("zoom").addEventListener("change", sized);
at("format").addEventListener("change", offer);
window.addEventListener("resize", () => job && chosen !== null && sized());
at("file").addEventListener("change", (event) => event.target.files.length && upload(event.target.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => at("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) {
    upload(event.dataTransfer.files[0]);
  }
});
begin().catch(complain);

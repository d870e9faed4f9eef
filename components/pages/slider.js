// Before/after sliders: the left version lies below, the right one above it, clipped at the line.
const stages = document.querySelectorAll(".stage");

function show(stage) {
  // An image without HR shows its LR instead, and its tag says so.
  const present = (version) => (stage.querySelector(`img[data-version="${version}"]`) ? version : "LR");
  const chosen = (side) => present(document.querySelector(`select[data-side=${side}]`).value);
  const [left, right] = [chosen("left"), chosen("right")];
  for (const image of stage.querySelectorAll("img")) {
    image.hidden = ![left, right].includes(image.dataset.version);
    image.classList.toggle("over", image.dataset.version === right && left !== right);
  }
  stage.querySelector(".tag.left").textContent = left;
  stage.querySelector(".tag.right").textContent = right;
}

for (const stage of stages) {
  const range = stage.querySelector("input");
  range.addEventListener("input", () => stage.style.setProperty("--at", `${range.value}%`));
  show(stage);
}
for (const select of document.querySelectorAll(".chooser select")) {
  select.addEventListener("change", () => stages.forEach(show));
}

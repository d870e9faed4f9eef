"use strict";

// Charts: the values under the pointer.
for (const plot of document.querySelectorAll(".plot")) {
  const { x, lines } = JSON.parse(plot.dataset.points);
  const svg = plot.querySelector("svg");
  const tip = plot.querySelector(".tip");
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", 12);
  cursor.setAttribute("y2", svg.viewBox.baseVal.height - 38);

  plot.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const nearest = (points) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
    const found = lines.map((line) => [line.name, nearest(line.points)]);
    const place = found[0][1][0];
    tip.textContent = "";
    tip.append(`${x} ${found[0][1][2]}`);
    for (const [name, point] of found) {
      tip.append(document.createElement("br"), `${name} ${point[3]}`);
    }
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    svg.append(cursor);
    tip.hidden = false;
    const left = (place / svg.viewBox.baseVal.width) * box.width;
    tip.style.left = left > box.width / 2 ? "auto" : `${left + 10}px`;
    tip.style.right = left > box.width / 2 ? `${box.width - left + 10}px` : "auto";
  });
  plot.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.remove();
  });
}

"use strict";
(() => {
  const map = document.getElementById("points");
  const image = document.getElementById("shown");
  const words = document.getElementById("words");
  const points = Array.from(map.querySelectorAll(".point"));
  let current = -1;

  const show = (number) => {
    if (number < 0 || number >= points.length) return;
    if (current >= 0) points[current].classList.remove("current");
    current = number;
    const point = points[current];
    point.classList.add("current");
    image.src = point.dataset.picture;
    words.textContent = point.dataset.words;
  };

  const nearest = (event) => {
    const box = map.getBoundingClientRect();
    let best = -1;
    let least = 24 * 24;
    points.forEach((point, number) => {
      const own = point.getBoundingClientRect();
      const x = own.left + own.width / 2 - event.clientX;
      const y = own.top + own.height / 2 - event.clientY;
      if (x * x + y * y < least) {
        least = x * x + y * y;
        best = number;
      }
    });
    return box.width ? best : -1;
  };

  map.addEventListener("pointermove", (event) => show(nearest(event)));
  map.addEventListener("pointerdown", (event) => show(nearest(event)));
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const step = steps[event.key];
    const start = current < 0 && step < 0 ? 0 : current;
    show((start + step + points.length) % points.length);
  });
})();

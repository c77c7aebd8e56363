// Sliders under histograms: how many rows would stay if a bound moved, from the counts that are in the page.
"use strict";

(() => {
  const told = JSON.parse(document.getElementById("answers").textContent);
  const format = new Intl.NumberFormat("en-US");

  function setUp(one) {
    const box = document.getElementById(one.id + "-box");
    const inputs = one.sliders.map((slider) => box.querySelector(`input[data-bound="${slider.bound}"]`));
    const answer = box.querySelector(".answer");
    const reset = box.querySelector("button");
    const drawing = box.querySelector("svg.plot");

    function stays(places) {
      let low = 0;
      let high = one.left.length;
      one.sliders.forEach((slider, i) => {
        if (slider.bound === "min") low = places[i];
        else high = places[i];
      });
      let sum = one.always;
      for (let bin = low; bin < high; bin += 1) sum += one.left[bin];
      return { low, high, sum };
    }

    const now = stays(one.sliders.map((slider) => slider.at));

    function draw({ low, high }) {
      const inside = drawing.querySelector(".inside");
      inside.setAttribute("x", one.x[low]);
      inside.setAttribute("width", Math.max(0, one.x[high] - one.x[low]));
      for (const [bound, edge] of [["min", low], ["max", high]]) {
        const line = drawing.querySelector(".now." + bound);
        if (line) {
          line.setAttribute("x1", one.x[edge]);
          line.setAttribute("x2", one.x[edge]);
        }
      }
    }

    function say(sum, moved) {
      answer.classList.toggle("moved", moved);
      const rows = format.format(one.rows);
      const kept = format.format(now.sum);
      const change = sum - now.sum;
      const sign = change > 0 ? "+" : "−";
      const difference = change === 0 ? "" : ` (${sign}${format.format(Math.abs(change))})`;
      answer.textContent = moved
        ? `${format.format(sum)} of ${rows} would stay; now ${kept}${difference}`
        : `${kept} of ${rows} stay with the bounds as they are`;
    }

    function update() {
      const places = inputs.map((input) => Number(input.value));
      const found = stays(places);
      const moved = one.sliders.some((slider, i) => slider.at !== places[i]);
      one.sliders.forEach((slider, i) => {
        const words = slider.words[places[i]];
        inputs[i].setAttribute("aria-valuetext", words);
        inputs[i].parentElement.querySelector("output").textContent = words;
      });
      const lines = one.sliders.map((slider, i) => {
        const setting = slider.settings[places[i]];
        return setting === "" ? `# no ${slider.setting}` : `${slider.setting} = ${setting}`;
      });
      box.querySelector("pre").textContent = [`[${one.table}]`, ...lines].join("\n");
      draw(found);
      say(found.sum, moved);
      reset.disabled = !moved;
    }

    inputs.forEach((input) => input.addEventListener("input", update));
    reset.addEventListener("click", () => {
      one.sliders.forEach((slider, i) => { inputs[i].value = slider.at; });
      update();
      inputs[0].focus();
    });
    one.sliders.forEach((slider, i) => { inputs[i].value = slider.at; });
    update();
    box.querySelector(".sliders").hidden = false;
  }

  told.forEach(setUp);

  // The contents of a phone fold away again once a line of them was followed.
  const contents = document.querySelector("details.toc");
  if (contents) contents.addEventListener("click", (event) => { if (event.target.closest("a")) contents.open = false; });

  // The line of the contents that is read now.
  const links = new Map([...document.querySelectorAll(".toc.wide a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      if (!link || !entry.isIntersecting) continue;
      links.forEach((other) => other.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -70% 0px" });
  document.querySelectorAll("main h2[id], main h3[id]").forEach((heading) => watch.observe(heading));
})();

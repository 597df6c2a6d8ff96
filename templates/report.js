// Unpacks plotly.js and draws the charts. Without it the page shows still pictures and the same numbers in words.
(async () => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  if (!figures.length || !window.DecompressionStream) return;
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();  // allowed by its hash in the page's policy
  document.head.append(script);
  const touch = window.matchMedia("(pointer: coarse)").matches;  // a finger scrolls the page, it does not zoom the chart
  for (const figure of figures) {
    const box = document.getElementById(figure.id);
    try {
      figure.layout.dragmode = touch ? false : "zoom";
      box.hidden = false;
      await Plotly.newPlot(box, figure.data, figure.layout, { responsive: true, displayModeBar: false });
      box.closest("figure").classList.add("drawn");
    } catch (error) {
      box.hidden = true;  // the still picture stays
    }
    await new Promise((next) => setTimeout(next));  // let the page breathe between two charts
  }
  document.documentElement.dataset.drawn = "yes";
})();

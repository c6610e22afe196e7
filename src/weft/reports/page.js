"use strict";
// Draw every chart of the page. Colours of text, grids and walls come from the style sheet, so that light, dark and
// print need no second drawing; the view box lets a printed drawing shrink to the paper.
const charts = JSON.parse(document.getElementById("charts").textContent);

function fit(holder) {
  const { width, height } = holder._fullLayout;
  holder.style.setProperty("--ratio", width / height);
  for (const drawing of holder.querySelectorAll(".main-svg")) drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
}

const fonts = getComputedStyle(document.body).fontFamily;
const drawn = [];
for (const holder of document.querySelectorAll(".plot")) {
  const chart = charts[holder.id];
  const layout = {
    autosize: true, dragmode: false, hovermode: "closest", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: fonts, size: 16 }, hoverlabel: { font: { family: fonts, size: 16 } }, ...chart.layout,
  };
  const settings = { responsive: true, displayModeBar: false, scrollZoom: false, doubleClick: false };
  drawn.push(Plotly.newPlot(holder, chart.traces, layout, settings).then(() => {
    fit(holder);
    holder.on("plotly_afterplot", () => fit(holder));
  }));
}
Promise.all(drawn).then(() => { document.body.dataset.drawn = drawn.length; });

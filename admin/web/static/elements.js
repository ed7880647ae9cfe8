// Formatting of values, and the elements that the dashboard is built of.
// Nothing that comes from the server is ever made into HTML: textContent and attributes only.

export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let timeZone;

// Times are shown in the importer's time zone, like those of the diagnosis, the command line and the log.
export function useTimeZone(name) {
  timeZone = name ?? undefined;
}

export const formatNumber = (value) => (value === null || value === undefined ? "" : value.toLocaleString("en").replaceAll(",", " "));

export const pluralize = (count, noun) => `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;

export function formatTime(text) {
  if (!text) return "";
  const zone = { timeZone };
  const time = new Date(text);
  const isToday = time.toLocaleDateString("en-GB", zone) === new Date().toLocaleDateString("en-GB", zone);
  return isToday ? time.toLocaleTimeString("en-GB", zone) : time.toLocaleString("en-GB", zone);
}

export function createElement(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function createBarChart(values, width, height, label) {
  const svg = document.createElementNS(SVG, "svg");
  const maximum = Math.max(1, ...values);
  const step = width / Math.max(values.length, 1);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, role: "img" })) {
    svg.setAttribute(name, value);
  }
  svg.setAttribute("aria-label", label);
  values.forEach((value, index) => {
    const barHeight = value ? Math.max(1, (value / maximum) * height) : 0;
    const bar = document.createElementNS(SVG, "rect");
    const geometry = { x: index * step, y: height - barHeight, width: Math.max(1, step - 1), height: barHeight };
    for (const [name, size] of Object.entries(geometry)) bar.setAttribute(name, size);
    svg.append(bar);
  });
  return svg;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

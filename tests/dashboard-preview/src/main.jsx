import { createRoot } from 'react-dom/client';
import { ThemeContext, createTheme, dateMath, dateTime } from '@grafana/data';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { annotationsFor, loadAnnotations } from './annotations.js';
import './fonts.css';
import { startGrafana } from './grafana.js';
import { Dashboard, place } from './layout.jsx';
import { loadPanel } from './panel-data.js';
import { panelTypes } from './panels/index.jsx';
import { describeAnnotation, describePanel } from './report.js';
import { Variables } from './variables.js';

const PANEL_PADDING = 16;
const SETTLE_MS = 800;

function timeRange({ dashboard, from, to }, timeZone) {
  const raw = { from: from ?? dashboard.time?.from ?? 'now-6h', to: to ?? dashboard.time?.to ?? 'now' };
  const parse = (text, roundUp) => {
    const time = /^\d+$/.test(text) ? dateTime(Number(text)) : dateMath.toDateTime(text, { roundUp, timezone: timeZone });
    if (!time?.isValid()) throw new Error(`not a time: ${text}`);
    return time;
  };
  const range = { from: parse(raw.from, false), to: parse(raw.to, true), raw };
  if (!(range.from.valueOf() < range.to.valueOf())) throw new Error(`the time range is empty: ${raw.from} to ${raw.to}`);
  return range;
}

async function load(item, context, annotations) {
  const { panel } = item;
  const { interpolate } = context.variables;
  const loaded = {
    ...item, context, title: interpolate(panel.title ?? ''), description: interpolate(panel.description),
    type: panelTypes[panel.type], annotations: annotationsFor(panel, annotations),
  };
  loaded.onError = (message) => { loaded.error = message; };
  if (panel.type === 'row') return loaded;
  if (!loaded.type) return { ...loaded, type: {}, error: `the panel type "${panel.type}" is not supported` };
  try {
    loaded.data = await loadPanel(panel, loaded.type, { ...context, points: Math.round(item.width - PANEL_PADDING) });
  } catch (error) {
    loaded.error = error.message;
  }
  return loaded;
}

async function preview() {
  const input = await (await fetch('/input.json')).json();
  const { dashboard, width } = input;
  const timeZone = dashboard.timezone || 'browser';
  const theme = createTheme({ colors: { mode: input.theme } });
  const range = timeRange(input, timeZone);
  await startGrafana({ range });
  const variables = new Variables(range);
  await variables.resolve(dashboard.templating?.list ?? [], input.variables);
  const context = { range, theme, timeZone, variables, scrapeInterval: input.scrapeInterval };
  const annotations = await loadAnnotations(dashboard.annotations?.list ?? [], context);
  const items = await Promise.all(place(dashboard.panels, width).map((item) => load(item, context, annotations)));

  const page = createRoot(document.getElementById('root'));
  page.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <PortalContainer />
      <Dashboard {...{ dashboard, width, items, variables, range }} />
    </ThemeContext.Provider>,
  );
  await new Promise((settled) => setTimeout(settled, SETTLE_MS));
  await document.fonts.ready;
  return {
    dashboard: dashboard.title,
    from: range.from.toISOString(),
    to: range.to.toISOString(),
    variables: Object.fromEntries([...variables.values.values()].map(({ name, text }) => [name, text])),
    annotations: annotations.map(describeAnnotation),
    panels: items.filter(({ panel }) => panel.type !== 'row').map(({ panel, title, type, data, error }) => ({ ...describePanel(panel, title, type, data, error), cut: cutTexts(panel) })),
  };
}

/** The texts of a drawn table that its columns cut, and the headings of columns that its panel cuts. */
function cutTexts({ id }) {
  return [...document.querySelectorAll(`[data-panel="${id}"] [role="grid"]`)].flatMap((grid) => {
    const right = grid.getBoundingClientRect().right + 1;
    const isCut = (cell) => cell.getBoundingClientRect().right > right || [cell, ...cell.querySelectorAll('*')].some((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1);
    return [...grid.querySelectorAll('[role="columnheader"], [role="gridcell"]')].filter(isCut).map((cell) => cell.textContent);
  });
}

/** The font must be there before the page is drawn: text is measured on a canvas. */
const fonts = Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
fonts.then(preview).then(
  (report) => { window.preview = { report }; },
  (error) => { console.error(error.stack); window.preview = { failure: error.message }; },
);
